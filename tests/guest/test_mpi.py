"""Open MPI: two ranks in one machine."""

PROGRAM = r"""
#include <mpi.h>
#include <stdio.h>
int main(int argc, char **argv) {
    int rank, size, sum = 0; static double buffer[100000];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank); MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = 0; i < 100; i++) {
        if (rank == 0) { buffer[7] = i; MPI_Send(buffer, 100000, MPI_DOUBLE, 1, 0, MPI_COMM_WORLD); }
        else if (rank == 1) { MPI_Recv(buffer, 100000, MPI_DOUBLE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
                              sum += buffer[7]; }
    }
    int total; MPI_Reduce(&sum, &total, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) printf("size %d total %d\n", size, total);
    MPI_Finalize(); return 0;
}
"""


def test_two_ranks(run_guest, job):
    (job / "m.c").write_text(PROGRAM)
    run_guest("mpicc", "-o", "m", "m.c", check=True)
    done = run_guest("mpirun", "--oversubscribe", "--allow-run-as-root", "-np", "2", "./m", timeout=180,
                     env={"OMPI_MCA_rmaps_base_oversubscribe": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "size 2 total 4950\n"


def test_a_failing_rank_fails_the_run(run_guest):
    done = run_guest("mpirun", "--oversubscribe", "--allow-run-as-root", "-np", "2", "sh", "-c",
                     "exit $OMPI_COMM_WORLD_RANK", timeout=180)
    assert done.returncode == 1
