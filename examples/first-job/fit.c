/* Fits T(t) = ambient + excess * exp(-rate * t) to a table of times and temperatures by least squares (Gauss-Newton).
 * usage: fit TABLE */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 100000, UNKNOWNS = 3 };

static double time_of[MOST], degrees[MOST];

static int read_table(const char *name)
{
    char line[256];
    int n = 0;
    FILE *table = fopen(name, "r");
    if (!table) {
        perror(name);
        exit(1);
    }
    while (n < MOST && fgets(line, sizeof line, table))
        n += line[0] != '#' && sscanf(line, "%lf %lf", &time_of[n], &degrees[n]) == 2;
    fclose(table);
    return n;
}

/* Solves a * x = b for three unknowns by elimination; leaves x in b. */
static void solve(double a[UNKNOWNS][UNKNOWNS], double b[UNKNOWNS])
{
    for (int column = 0; column < UNKNOWNS; column++)
        for (int row = 0; row < UNKNOWNS; row++) {
            if (row == column)
                continue;
            double factor = a[row][column] / a[column][column];
            for (int k = 0; k < UNKNOWNS; k++)
                a[row][k] -= factor * a[column][k];
            b[row] -= factor * b[column];
        }
    for (int row = 0; row < UNKNOWNS; row++)
        b[row] /= a[row][row];
}

int main(int argc, char **argv)
{
    int n = argc == 2 ? read_table(argv[1]) : 0;
    if (n <= UNKNOWNS) {
        fprintf(stderr, "usage: fit TABLE (of more than %d lines)\n", UNKNOWNS);
        return 1;
    }
    double ambient = degrees[n - 1], excess = degrees[0] - ambient, rate = 3 / (time_of[n - 1] - time_of[0]);
    double sum = 0;
    for (int round = 0; round < 50; round++) {
        double normal[UNKNOWNS][UNKNOWNS] = {{0}}, right[UNKNOWNS] = {0};
        sum = 0;
        for (int i = 0; i < n; i++) {
            double decay = exp(-rate * time_of[i]);
            double slope[UNKNOWNS] = {1, decay, -excess * time_of[i] * decay};
            double residual = degrees[i] - ambient - excess * decay;
            sum += residual * residual;
            for (int j = 0; j < UNKNOWNS; j++) {
                right[j] += slope[j] * residual;
                for (int k = 0; k < UNKNOWNS; k++)
                    normal[j][k] += slope[j] * slope[k];
            }
        }
        solve(normal, right);
        ambient += right[0];
        excess += right[1];
        rate += right[2];
    }
    printf("points %d\nambient %.3f\nexcess %.3f\nrate %.5f\nrms %.3f\n", n, ambient, excess, rate, sqrt(sum / n));
    return 0;
}
