/* The NCCL comm over the real library, one rank: NCCL takes no second one on the same card. Without
 * a card it must say so, and soon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>
#include <string.h>

#include "kernels/comm/comm_nccl.h"

enum { N = 100003 };

static bool has_device(void)
{
    int n = 0;
    return cudaGetDeviceCount(&n) == cudaSuccess && n > 0;
}

static void without_a_card_the_comm_names_rank_host_and_reason(void **state)
{
    (void)state;
    cf_comm *host = NULL, *c = NULL;
    const cf_nccl_options options = {0};
    if (has_device()) skip();
    assert_int_equal(cf_comm_self_create(&host), CF_OK);
    assert_int_equal(cf_comm_nccl_create(host, &options, &c), CF_E_DEVICE);
    assert_null(c);
    if (strstr(cf_err_text(), "rank 0 on host ") == NULL || strstr(cf_err_text(), "CUDA") == NULL)
        fail_msg("no rank and reason in: %s", cf_err_text());
    host->ops->destroy(host);
}

static int64_t element(int64_t i)
{
    return ((int64_t)1 << 40) * (i - N / 2) + i;
}

/* The sum over one rank is what it has; the second half sets out behind an event. */
static void a_sum_of_one_rank_keeps_its_values(void **state)
{
    (void)state;
    static int64_t values[N], after[N];
    int64_t *device = NULL;
    int first = -1, second = -1;
    cudaStream_t queue = NULL;
    cudaEvent_t event = NULL;
    cf_comm *host = NULL, *c = NULL;
    if (!has_device()) skip();
    for (int64_t i = 0; i < N; i++) values[i] = element(i);
    assert_int_equal(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    assert_int_equal(cudaMalloc((void **)&device, sizeof values), cudaSuccess);
    assert_int_equal(cf_comm_self_create(&host), CF_OK);
    const cf_nccl_options options = {.queue = queue};
    if (cf_comm_nccl_create(host, &options, &c) != CF_OK) fail_msg("%s", cf_err_text());
    assert_int_equal(cudaMemcpyAsync(device, values, sizeof values, cudaMemcpyHostToDevice, queue),
                     cudaSuccess);
    assert_int_equal(cudaEventRecord(event, queue), cudaSuccess);
    const int64_t half = N / 2;
    cf_err err = c->ops->sum_start_after(c, device + half, N - half, CF_SUM_I64, event, &second);
    assert_int_equal(err, CF_OK);
    assert_int_equal(c->ops->sum_start(c, device, half, CF_SUM_I64, &first), CF_OK);
    assert_int_equal(c->ops->progress(c), CF_OK);
    assert_int_equal(c->ops->wait(c, second), CF_OK);
    assert_int_equal(c->ops->wait(c, first), CF_OK);
    assert_int_equal(cudaMemcpy(after, device, sizeof after, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_memory_equal(after, values, sizeof values);
    c->ops->destroy(c);
    cudaFree(device);
    cudaEventDestroy(event);
    cudaStreamDestroy(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_card_the_comm_names_rank_host_and_reason),
        cmocka_unit_test(a_sum_of_one_rank_keeps_its_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
