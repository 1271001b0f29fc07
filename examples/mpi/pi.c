/* Pi by the midpoint rule, each rank its share of the intervals. */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    const long intervals = 1000000;
    int rank, ranks;
    double part = 0, pi;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (long i = rank; i < intervals; i += ranks) {
        double x = (i + 0.5) / intervals;
        part += 4 / (1 + x * x) / intervals;
    }
    MPI_Reduce(&part, &pi, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("pi is %.10f, by %d ranks\n", pi, ranks);
    MPI_Finalize();
    return 0;
}
