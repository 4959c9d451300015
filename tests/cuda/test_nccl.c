/* The NCCL comm over a fake NCCL, on 1, 2 and 3 ranks with a device of the shim each
 * (CF_SHIM_DEVICES): sums, events, errors and deadlines. What the real library does with them needs
 * cards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/comm/comm_nccl.h"
#include "kernels/comm/job.h"
#include "tests/cuda/nccl_fake.h"

enum { N = 1001 };

static void assert_on_all(const cf_job *job, bool mine)
{
    int ok = mine, all = 0;
    MPI_Allreduce(&ok, &all, 1, MPI_INT, MPI_MIN, job->data);
    if (!mine) print_error("rank %d: %s\n", job->rank, cf_err_text());
    assert_int_equal(all, 1);
}

static cf_comm *host_comm(const cf_job *job)
{
    cf_comm *host = NULL;
    assert_on_all(job, cf_comm_mpi_create(job->data, 0, job->rank, &host) == CF_OK);
    return host;
}

static cf_comm *comm_of(const cf_job *job, cudaStream_t queue, int64_t deadline_ns)
{
    cf_comm *c = NULL, *host = host_comm(job);
    const cf_nccl_options options = {.queue = queue, .deadline_ns = deadline_ns};
    assert_int_equal(cudaSetDevice(job->rank), cudaSuccess);
    assert_on_all(job, cf_comm_nccl_create(host, &options, &c) == CF_OK);
    return c;
}

/* A rank's element, and what all ranks' elements add up to: beyond 32 bits, small enough for 63. */
static int64_t element(int64_t i, int rank)
{
    return ((int64_t)1 << 40) * (i - 500) + (rank + 1) * i;
}

static int64_t *fill(int rank)
{
    static int64_t host[N];
    int64_t *device = NULL;
    for (int64_t i = 0; i < N; i++) host[i] = element(i, rank);
    assert_int_equal(cudaMalloc((void **)&device, sizeof host), cudaSuccess);
    assert_int_equal(cudaMemcpy(device, host, sizeof host, cudaMemcpyHostToDevice), cudaSuccess);
    return device;
}

/* Elements [first, n) are sums, those before it are this rank's own. */
static bool is_summed(const int64_t *device, const cf_job *job, int64_t first)
{
    static int64_t host[N];
    if (cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost) != cudaSuccess) return false;
    for (int64_t i = 0; i < N; i++) {
        int64_t expected = element(i, job->rank);
        for (int r = 0; i >= first && r < job->size; r++)
            if (r != job->rank) expected += element(i, r);
        if (host[i] != expected) return false;
    }
    return true;
}

static void integer_sums_are_exact(void **state)
{
    const cf_job *job = *state;
    cudaStream_t queue = NULL;
    assert_int_equal(cudaStreamCreate(&queue), cudaSuccess);
    cf_comm *c = comm_of(job, queue, 0);
    int64_t *buf = fill(job->rank);
    int ticket = -1;
    bool ok = c->ops->sum_start(c, buf, N, CF_SUM_I64, &ticket) == CF_OK &&
              c->ops->progress(c) == CF_OK && c->ops->wait(c, ticket) == CF_OK;
    assert_on_all(job, ok && is_summed(buf, job, 0));
    c->ops->destroy(c);
    cudaFree(buf);
    cudaStreamDestroy(queue);
}

/* Ranges from the end to the start, as a backward pass finishes them; one rank has computed nothing
 * and so has no event. */
static void ranges_travel_after_their_events(void **state)
{
    const cf_job *job = *state;
    cudaStream_t queue = NULL;
    cudaEvent_t event = NULL;
    assert_int_equal(cudaStreamCreate(&queue), cudaSuccess);
    assert_int_equal(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    cf_comm *c = comm_of(job, queue, 0);
    int64_t *buf = fill(job->rank);
    static const int64_t cuts[] = {N, 700, 300, 0};
    int tickets[3];
    bool ok = cudaEventRecord(event, queue) == cudaSuccess;
    for (int i = 0; i < 3; i++) {
        int64_t *at = buf + cuts[i + 1], n = cuts[i] - cuts[i + 1];
        cf_err err = job->rank == 1
                         ? c->ops->sum_start(c, at, n, CF_SUM_I64, &tickets[i])
                         : c->ops->sum_start_after(c, at, n, CF_SUM_I64, event, &tickets[i]);
        ok = ok && err == CF_OK;
        if (i == 0) ok = ok && is_summed(buf, job, 700);
    }
    for (int i = 0; i < 3; i++) ok = ok && c->ops->wait(c, tickets[i]) == CF_OK;
    assert_on_all(job, ok && is_summed(buf, job, 0));
    c->ops->destroy(c);
    cudaFree(buf);
    cudaEventDestroy(event);
    cudaStreamDestroy(queue);
}

static void float_sums_add_every_rank_once(void **state)
{
    const cf_job *job = *state;
    cf_comm *c = comm_of(job, NULL, 0);
    float mine = (float)(1 << job->rank), *device = NULL;
    int ticket = -1;
    assert_int_equal(cudaMalloc((void **)&device, sizeof mine), cudaSuccess);
    assert_int_equal(cudaMemcpy(device, &mine, sizeof mine, cudaMemcpyHostToDevice), cudaSuccess);
    bool ok = c->ops->sum_start(c, device, 1, CF_SUM_F32, &ticket) == CF_OK &&
              c->ops->wait(c, ticket) == CF_OK;
    assert_int_equal(cudaMemcpy(&mine, device, sizeof mine, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_on_all(job, ok && mine == (float)((1 << job->size) - 1));
    c->ops->destroy(c);
    cudaFree(device);
}

static void ranks_on_one_device_are_refused(void **state)
{
    const cf_job *job = *state;
    cf_comm *c = NULL, *host = host_comm(job);
    const cf_nccl_options options = {0};
    char who[32];
    assert_int_equal(cudaSetDevice(0), cudaSuccess);
    cf_err err = cf_comm_nccl_create(host, &options, &c);
    snprintf(who, sizeof who, "rank %d on host", job->rank);
    if (job->size == 1)
        assert_int_equal(err, CF_OK);
    else
        assert_on_all(job, err == CF_E_DEVICE && strstr(cf_err_text(), who) != NULL &&
                               strstr(cf_err_text(), "invalid usage") != NULL && c == NULL);
    if (c != NULL)
        c->ops->destroy(c);
    else
        host->ops->destroy(host);
}

static void a_broken_connection_ends_the_communicator(void **state)
{
    const cf_job *job = *state;
    cf_comm *c = comm_of(job, NULL, 0);
    int ticket = -1;
    nccl_fake_break(ncclRemoteError);
    assert_on_all(job, c->ops->progress(c) == CF_E_DEVICE &&
                           strstr(cf_err_text(), "network error") != NULL);
    assert_on_all(job, c->ops->sum_start(c, c, 1, CF_SUM_I64, &ticket) == CF_E_DEVICE &&
                           strstr(cf_err_text(), "given up") != NULL);
    assert_on_all(job, c->ops->progress(c) == CF_E_DEVICE);
    c->ops->destroy(c);
}

/* The last test: rank 0's sum stays under way, since rank 1 never comes. */
static void a_peer_that_never_comes_is_a_hang(void **state)
{
    const cf_job *job = *state;
    cf_comm *c = comm_of(job, NULL, 50 * 1000000);
    int64_t *buf = fill(job->rank);
    int ticket = -1;
    bool ok = true;
    if (job->rank == 0 && job->size > 1)
        ok = c->ops->sum_start(c, buf, N, CF_SUM_I64, &ticket) == CF_E_HANG &&
             strstr(cf_err_text(), "rank 0 on host") != NULL;
    assert_on_all(job, ok);
    c->ops->destroy(c);
}

int main(void)
{
    cf_job job;
    if (cf_job_init(&job) != CF_OK) {
        cf_log_error("%s", cf_err_text());
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(integer_sums_are_exact, &job),
        cmocka_unit_test_prestate(ranges_travel_after_their_events, &job),
        cmocka_unit_test_prestate(float_sums_add_every_rank_once, &job),
        cmocka_unit_test_prestate(ranks_on_one_device_are_refused, &job),
        cmocka_unit_test_prestate(a_broken_connection_ends_the_communicator, &job),
        cmocka_unit_test_prestate(a_peer_that_never_comes_is_a_hang, &job),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (cf_job_fini(&job) != CF_OK) failed++;
    return failed;
}
