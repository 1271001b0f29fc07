/* Heat in a rod whose ends are kept at 0, explicitly in time. Input: diffusivity, cells, time. Output: temperature in the middle.
 * The first temperature is sin(pi x), so in the middle it must be exp(-pi^2 * diffusivity * time) at the end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    const double pi = acos(-1);
    double diffusivity, end;
    int cells;

    if (scanf("%lf %d %lf", &diffusivity, &cells, &end) != 3 || cells < 2) {
        fprintf(stderr, "heat: expected: diffusivity cells time\n");
        return 2;
    }
    double dx = 1.0 / cells, limit = 0.25 * dx * dx / diffusivity;
    long steps = (long)(end / limit) + 1;
    double dt = end / steps;
    double *old = malloc((cells + 1) * sizeof *old), *new = malloc((cells + 1) * sizeof *new);
    if (!old || !new)
        return 1;
    for (int i = 0; i <= cells; i++)
        old[i] = sin(pi * i * dx);
    old[0] = old[cells] = 0;
    for (long step = 0; step < steps; step++) {
        new[0] = new[cells] = 0;
        for (int i = 1; i < cells; i++)
            new[i] = old[i] + diffusivity * dt / (dx * dx) * (old[i - 1] - 2 * old[i] + old[i + 1]);
        memcpy(old, new, (cells + 1) * sizeof *old);
    }
    printf("%.8f\n", old[cells / 2]);
    free(old);
    free(new);
    return 0;
}
