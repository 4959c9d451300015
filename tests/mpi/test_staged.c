/* Sums of a fake device's memory, staged over MPI, on 1, 2 and 3 ranks. The device keeps every byte
 * inverted, so a sum that MPI or the comm took without the stage's functions is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/comm/comm_staged.h"
#include "kernels/comm/job.h"

typedef struct device {
    int n_host_blocks; /* pinned blocks not yet given back */
    int n_made;
} device;

static void flip(uint8_t *to, const uint8_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) to[i] = (uint8_t)~from[i];
}

static cf_err copy_out(void *ctx, void *host_dst, const void *src, size_t bytes)
{
    (void)ctx;
    flip(host_dst, src, bytes);
    return CF_OK;
}

static cf_err copy_in(void *ctx, void *dst, const void *host_src, size_t bytes)
{
    (void)ctx;
    flip(dst, host_src, bytes);
    return CF_OK;
}

static cf_err alloc_host(void *ctx, size_t bytes, void **out)
{
    device *d = ctx;
    d->n_host_blocks++;
    d->n_made++;
    *out = malloc(bytes);
    return *out != NULL ? CF_OK : CF_E_UNEXPECTED;
}

static void free_host(void *ctx, void *p)
{
    device *d = ctx;
    if (p != NULL) d->n_host_blocks--;
    free(p);
}

static cf_stage stage_of(device *d)
{
    return (cf_stage){d, copy_out, copy_in, alloc_host, free_host};
}

static void assert_on_all(const cf_job *job, bool mine)
{
    int ok = mine, all = 0;
    MPI_Allreduce(&ok, &all, 1, MPI_INT, MPI_MIN, job->data);
    if (!mine) print_error("rank %d: %s\n", job->rank, cf_err_text());
    assert_int_equal(all, 1);
}

static cf_comm *comm_of(const cf_job *job, device *d)
{
    cf_comm *host = NULL, *c = NULL;
    const cf_stage stage = stage_of(d);
    assert_on_all(job, cf_comm_mpi_create(job->data, 0, job->rank, &host) == CF_OK);
    assert_on_all(job, cf_comm_staged_create(host, &stage, &c) == CF_OK);
    return c;
}

/* A rank's element, and what all ranks' elements add up to. */
static int64_t element(int64_t i, int rank, int round)
{
    return (i * 1000003 + round * 77) * (rank + 1) - 5;
}

static int64_t total(int64_t i, int size, int round)
{
    int64_t sum = 0;
    for (int r = 0; r < size; r++) sum += element(i, r, round);
    return sum;
}

static void put(int64_t *device_memory, int64_t n, int rank, int round)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t value = element(i, rank, round);
        flip((uint8_t *)&device_memory[i], (uint8_t *)&value, sizeof value);
    }
}

static bool holds_total(const int64_t *device_memory, int64_t n, int size, int round)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t value;
        flip((uint8_t *)&value, (const uint8_t *)&device_memory[i], sizeof value);
        if (value != total(i, size, round)) return false;
    }
    return true;
}

static void a_sum_leaves_and_enters_the_device_through_the_stage(void **state)
{
    const cf_job *job = *state;
    static const int64_t sizes[] = {0, 1, 3, 1000};
    static int64_t buf[1000];
    device d = {0};
    cf_comm *c = comm_of(job, &d);
    assert_int_equal(c->ops->memory, CF_MEMORY_DEVICE);
    assert_null(c->ops->sum_start_after);
    for (int s = 0; s < 4; s++) {
        int ticket = -1;
        put(buf, sizes[s], job->rank, s);
        bool ok = c->ops->sum_start(c, buf, sizes[s], CF_SUM_I64, &ticket) == CF_OK &&
                  c->ops->progress(c) == CF_OK && c->ops->wait(c, ticket) == CF_OK;
        assert_on_all(job, ok && holds_total(buf, sizes[s], job->size, s));
    }
    c->ops->destroy(c);
    assert_int_equal(d.n_host_blocks, 0);
}

/* Two steps' sums travel at once; the one started last may be waited for first. */
static void sums_under_way_do_not_meet(void **state)
{
    const cf_job *job = *state;
    enum { N = 257, ROUNDS = 20 };
    static int64_t a[N], b[N];
    device d = {0};
    cf_comm *c = comm_of(job, &d);
    for (int round = 0; round < ROUNDS; round++) {
        int first = -1, second = -1;
        put(a, N, job->rank, round);
        put(b, N, job->rank, round + ROUNDS);
        bool ok = c->ops->sum_start(c, a, N, CF_SUM_I64, &first) == CF_OK &&
                  c->ops->sum_start(c, b, N, CF_SUM_I64, &second) == CF_OK && first != second &&
                  c->ops->wait(c, second) == CF_OK && c->ops->wait(c, first) == CF_OK;
        assert_on_all(job, ok && holds_total(a, N, job->size, round) &&
                               holds_total(b, N, job->size, round + ROUNDS));
    }
    assert_int_equal(d.n_made, 2); /* nothing is allocated on the step path */
    c->ops->destroy(c);
    assert_int_equal(d.n_host_blocks, 0);
}

static void host_values_pass_through(void **state)
{
    const cf_job *job = *state;
    device d = {0};
    cf_comm *c = comm_of(job, &d);
    int64_t word = job->rank == 0 ? 4711 : 0;
    int value = 0, rank = -1;
    bool ok = c->ops->broadcast(c, &word, sizeof word, 0) == CF_OK && word == 4711 &&
              c->ops->highest(c, job->rank % 2, &value, &rank) == CF_OK &&
              value == (job->size > 1) && rank == (job->size > 1) && c->ops->barrier(c) == CF_OK;
    assert_on_all(job, ok);
    c->ops->destroy(c);
}

static void a_ticket_that_was_never_given_is_refused(void **state)
{
    const cf_job *job = *state;
    device d = {0};
    cf_comm *c = comm_of(job, &d);
    assert_on_all(job, c->ops->wait(c, 0) == CF_E_UNEXPECTED &&
                           c->ops->wait(c, CF_COMM_MAX_PENDING) == CF_E_UNEXPECTED);
    c->ops->destroy(c);
}

int main(void)
{
    cf_job job;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(a_sum_leaves_and_enters_the_device_through_the_stage, &job),
        cmocka_unit_test_prestate(sums_under_way_do_not_meet, &job),
        cmocka_unit_test_prestate(host_values_pass_through, &job),
        cmocka_unit_test_prestate(a_ticket_that_was_never_given_is_refused, &job),
    };
    if (cf_job_init(&job) != CF_OK) {
        cf_log_error("%s", cf_err_text());
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (cf_job_fini(&job) != CF_OK) failed++;
    return failed;
}
