/* How long a sum over ranks takes, alone: mpirun -n N sum_rate ELEMENTS REPEATS. Rank 0 prints one
 * JSON object: seconds of the slowest rank for a sum of that many int64 and for one of a single
 * element a rank, median and range. For tests/bench/scaling.py. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/comm_mpi.h"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of each of `n_runs` sums, sorted; the first, which allocates, is left out. */
static cf_err measure(cf_comm *c, int64_t *buf, int64_t n, int n_runs, double *seconds)
{
    for (int i = -1; i < n_runs; i++) {
        int ticket = 0, rank = 0, us = 0;
        CF_TRY(c->ops->barrier(c));
        int64_t start = cf_clock_ns();
        CF_TRY(c->ops->sum_start(c, buf, n, CF_SUM_I64, &ticket));
        CF_TRY(c->ops->wait(c, ticket));
        CF_TRY(c->ops->highest(c, (int)((cf_clock_ns() - start) / 1000), &us, &rank));
        if (i >= 0) seconds[i] = 1e-6 * us;
    }
    qsort(seconds, (size_t)n_runs, sizeof *seconds, by_value);
    return CF_OK;
}

static void print(const char *name, const double *seconds, int n, const char *end)
{
    printf("\"%s\": {\"median\": %.6f, \"min\": %.6f, \"max\": %.6f}%s", name, seconds[n / 2],
           seconds[0], seconds[n - 1], end);
}

static cf_err run(int64_t n, int n_runs)
{
    cf_comm *c = NULL;
    int64_t *buf = NULL;
    double *large = NULL, *small = NULL;
    cf_err err = CF_OK;
    CF_TRY(cf_comm_mpi_create(MPI_COMM_WORLD, 0, 0, &c));
    CF_TRY_GOTO(cf_new(&buf, (size_t)n, sizeof *buf), out);
    CF_TRY_GOTO(cf_new(&large, (size_t)n_runs, sizeof *large), out);
    CF_TRY_GOTO(cf_new(&small, (size_t)n_runs, sizeof *small), out);
    CF_TRY_GOTO(measure(c, buf, n, n_runs, large), out);
    CF_TRY_GOTO(measure(c, buf, c->size, n_runs, small), out);
    if (c->rank == 0) {
        printf("{\"ranks\": %d, \"bytes\": %lld, ", c->size, (long long)n * 8);
        print("sum", large, n_runs, ", ");
        print("latency", small, n_runs, "}\n");
    }
out:
    c->ops->destroy(c);
    free(buf);
    free(large);
    free(small);
    return err;
}

int main(int argc, char **argv)
{
    long long n = argc == 3 ? atoll(argv[1]) : 0;
    int n_runs = argc == 3 ? atoi(argv[2]) : 0;
    if (n < 4096 || n_runs < 1 || n_runs > 100000) {
        fprintf(stderr, "usage: sum_rate ELEMENTS REPEATS; at least 4096 elements and one run\n");
        return 2;
    }
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) return CF_E_DEVICE;
    cf_err err = run(n, n_runs);
    if (err != CF_OK) fprintf(stderr, "sum_rate: %s\n", cf_err_text());
    if (err != CF_OK) MPI_Abort(MPI_COMM_WORLD, (int)err);
    MPI_Finalize();
    return err;
}
