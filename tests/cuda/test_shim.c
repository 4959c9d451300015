/* The shim itself: what kernels may rely on, and mistakes that it must find. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/math/half.h"
#include "test_shim_kernels.h"

#define GOOD(expr) assert_int_equal((expr), cudaSuccess)

static void *device(size_t bytes)
{
    void *p = NULL;
    GOOD(cudaMalloc(&p, bytes));
    return p;
}

static void put(void *to, const void *from, size_t bytes)
{
    GOOD(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice));
}

static void get(void *to, const void *from, size_t bytes)
{
    GOOD(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost));
}

static float *counting(int n)
{
    float host[4096], *p = device((size_t)n * sizeof *p);
    for (int i = 0; i < n; i++) host[i] = (float)i;
    put(p, host, (size_t)n * sizeof *host);
    return p;
}

static void threads_meet_at_barriers(void **state)
{
    (void)state;
    float *in = counting(1024), *out = device(4096), host[1024];
    shim_reverse(NULL, in, out, 1024, true);
    GOOD(cudaGetLastError());
    get(host, out, sizeof host);
    for (int i = 0; i < 1024; i++) assert_true(host[i] == (float)(1023 - i));
    GOOD(cudaFree(in));
    GOOD(cudaFree(out));
}

/* Half of the values are read before they are written, whatever the order. */
static void missing_barrier_shows(void **state)
{
    (void)state;
    float *in = counting(64), *out = device(256), host[64];
    int wrong = 0;
    shim_reverse(NULL, in, out, 64, false);
    GOOD(cudaGetLastError());
    get(host, out, sizeof host);
    for (int i = 0; i < 64; i++) wrong += !(host[i] == (float)(63 - i));
    assert_in_range(wrong, 1, 64);
    GOOD(cudaFree(in));
    GOOD(cudaFree(out));
}

static void sums_through_warps_and_shared_memory(void **state)
{
    (void)state;
    float *in = counting(4096), *out = device(64), host[16];
    shim_sum(NULL, in, out, 16);
    GOOD(cudaGetLastError());
    get(host, out, sizeof host);
    for (int b = 0; b < 16; b++) assert_true(host[b] == (float)(256 * (256 * b) + 255 * 128));
    GOOD(cudaFree(in));
    GOOD(cudaFree(out));
}

static void shuffles_follow_the_manual(void **state)
{
    (void)state;
    int *out = device(32 * 9 * sizeof *out), host[32][9];
    shim_shuffles(NULL, out);
    GOOD(cudaGetLastError());
    get(host, out, sizeof host);
    for (int lane = 0; lane < 32; lane++) {
        const int *x = host[lane];
        assert_int_equal(x[0], lane ^ 5);
        assert_int_equal(x[1], lane + 3 < 32 ? lane + 3 : lane);
        assert_int_equal(x[2], lane % 8 >= 4 ? lane - 4 : lane);
        assert_int_equal(x[3], 17);
        assert_int_equal(x[4], lane / 8 * 8 + 2);
        assert_int_equal((unsigned)x[5], 0x49249249u);
        assert_int_equal(x[6], 1);
        assert_int_equal(x[7], 1);
        assert_int_equal(x[8], lane < 16 ? (lane ^ 8 ^ 1) : (lane ^ 8));
    }
    GOOD(cudaFree(out));
}

static uint16_t narrow(bool fp16, float x)
{
    return fp16 ? cf_f16_from_float(x) : cf_bf16_from_float(x);
}

/* Small integers: every product and sum is exact. */
static void check_product(bool fp16, bool by_ldmatrix)
{
    uint16_t a[16][16], b[16][8];
    float c[16][8], expected[16][8];
    for (int m = 0; m < 16; m++) {
        for (int n = 0; n < 8; n++) {
            c[m][n] = expected[m][n] = (float)(m - n);
            for (int k = 0; k < 16; k++) {
                int x = (3 * m + 5 * k) % 11 - 5, y = (7 * k + 2 * n) % 13 - 6;
                a[m][k] = narrow(fp16, (float)x);
                b[k][n] = narrow(fp16, (float)y);
                expected[m][n] += (float)(x * y);
            }
        }
    }
    uint16_t *da = device(sizeof a), *db = device(sizeof b);
    float *dc = device(sizeof c);
    put(da, a, sizeof a);
    put(db, b, sizeof b);
    put(dc, c, sizeof c);
    shim_product(NULL, da, db, dc, fp16, by_ldmatrix);
    GOOD(cudaGetLastError());
    get(c, dc, sizeof c);
    assert_memory_equal(c, expected, sizeof c);
    GOOD(cudaFree(da));
    GOOD(cudaFree(db));
    GOOD(cudaFree(dc));
}

static void tensor_core_product_is_the_plain_one(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) check_product(i % 2 == 1, i / 2 == 1);
}

static void asynchronous_copies_arrive_when_waited_for(void **state)
{
    (void)state;
    float *in = counting(8 * 128), *out = device(8 * 512), host[8 * 128];
    for (int valid = 20; valid <= 32; valid += 12) {
        shim_copies(NULL, in, out, 8, valid, true);
        GOOD(cudaGetLastError());
        get(host, out, sizeof host);
        for (int i = 0; i < 8 * 128; i++)
            assert_true(host[i] == (i % 128 < valid * 4 ? (float)i : 0.0f) + 1.0f);
    }
    shim_copies(NULL, in, out, 8, 32, false);
    GOOD(cudaGetLastError());
    get(host, out, sizeof host);
    assert_true(isnan(host[0])); /* read before it arrived */
    GOOD(cudaFree(in));
    GOOD(cudaFree(out));
}

static void every_thread_of_a_grid_runs_once(void **state)
{
    (void)state;
    enum { N = 3 * 5 * 2 * 4 * 7 * 3 };
    int *out = device(N * sizeof *out), host[N];
    shim_indices(NULL, out, (dim3){3, 5, 2}, (dim3){4, 7, 3});
    GOOD(cudaGetLastError());
    get(host, out, sizeof host);
    for (int i = 0; i < N; i++) assert_int_equal(host[i], i);
    GOOD(cudaFree(out));
}

static void expect_launch(cudaError_t code, dim3 grid, dim3 block, size_t shared_bytes)
{
    shim_nothing(NULL, grid, block, shared_bytes);
    assert_int_equal(cudaPeekAtLastError(), code);
    assert_int_equal(cudaGetLastError(), code);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
}

static void launch_limits_are_the_devices(void **state)
{
    (void)state;
    dim3 one = {1, 1, 1}, zero = {1, 0, 1}, tall = {1, 65536, 1}, most = {1024, 1, 1};
    dim3 wide = {1025, 1, 1}, cube = {11, 10, 10};
    expect_launch(cudaSuccess, one, most, 48 * 1024);
    expect_launch(cudaErrorInvalidConfiguration, zero, one, 0);
    expect_launch(cudaErrorInvalidConfiguration, tall, one, 0);
    expect_launch(cudaErrorInvalidConfiguration, one, wide, 0);
    expect_launch(cudaErrorInvalidConfiguration, one, cube, 0);
    expect_launch(cudaErrorInvalidValue, one, one, 48 * 1024 + 16);
    assert_int_equal(shim_nothing_allow(228 * 1024), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    GOOD(shim_nothing_allow(227 * 1024));
    expect_launch(cudaSuccess, one, one, 227 * 1024);
    expect_launch(cudaErrorInvalidValue, one, one, 227 * 1024 + 16);
}

static void mistakes_of_kernels_are_found(void **state)
{
    (void)state;
    static const struct {
        shim_mistake mistake;
        const char *text;
    } all[] = {
        {SHIM_BARRIER_LEFT, "wait at a barrier, the others have left"},
        {SHIM_SHUFFLE_LEFT, "wait in __shfl_xor_sync for lanes 00000008"},
        {SHIM_MIXED, "of its warp wait in __shfl"},
        {SHIM_NOT_IN_MASK, "lacks its caller"},
        {SHIM_SHARED_END, "past its 240 bytes of shared memory"},
        {SHIM_ROW_NOT_ALIGNED, "ldmatrix of a row"},
        {SHIM_COPY_NOT_ALIGNED, "asynchronous copy"},
        {SHIM_BARRIER_IN_SHUFFLE, "00000001 wait at a barrier"},
    };
    int *out = device(256);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        shim_wrong(NULL, out, all[i].mistake);
        assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure);
        assert_non_null(strstr(cf_shim_fault(), "kernel wrong"));
        if (strstr(cf_shim_fault(), all[i].text) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", cf_shim_fault(), all[i].text);
    }
    GOOD(cudaFree(out));
}

static void kernels_take_no_host_memory(void **state)
{
    (void)state;
    float host[64] = {0};
    shim_scale(NULL, host, 64, 2.0f);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    assert_true(host[0] == 0.0f);
    float *p = device(sizeof host);
    assert_int_equal(cudaMemcpy(host, host + 1, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(p, p + 1, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    GOOD(cudaFree(p));
    assert_int_equal(cudaFree(p), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
}

static void fresh_memory_is_not_a_number(void **state)
{
    (void)state;
    float *p = device(64 * sizeof *p), host[64];
    get(host, p, sizeof host);
    for (int i = 0; i < 64; i++) assert_true(isnan(host[i]));
    GOOD(cudaFree(p));
}

static void memory_runs_out(void **state)
{
    (void)state;
    size_t free_bytes = 0, total = 0, now = 0;
    void *p = NULL, *q = NULL;
    setenv("CF_SHIM_MEMORY", "3", 1);
    GOOD(cudaMemGetInfo(&free_bytes, &total));
    assert_int_equal(total, 3 << 20);
    GOOD(cudaMalloc(&p, 2 << 20));
    GOOD(cudaMemGetInfo(&now, &total));
    assert_int_equal(free_bytes - now, 2 << 20);
    assert_int_equal(cudaMalloc(&q, 2 << 20), cudaErrorMemoryAllocation);
    assert_null(q);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    unsetenv("CF_SHIM_MEMORY");
    GOOD(cudaFree(p));
}

static void devices_are_as_many_as_asked(void **state)
{
    (void)state;
    int n = 0;
    char bus[2][16];
    setenv("CF_SHIM_DEVICES", "2", 1);
    GOOD(cudaGetDeviceCount(&n));
    assert_int_equal(n, 2);
    for (int i = 0; i < 2; i++) GOOD(cudaDeviceGetPCIBusId(bus[i], 16, i));
    assert_string_not_equal(bus[0], bus[1]);
    assert_int_equal(cudaSetDevice(2), cudaErrorInvalidDevice);
    setenv("CF_SHIM_DEVICES", "0", 1);
    assert_int_equal(cudaGetDeviceCount(&n), cudaErrorNoDevice);
    assert_int_equal(cudaGetLastError(), cudaErrorNoDevice);
    unsetenv("CF_SHIM_DEVICES");
}

/* ---- streams and graphs -----------------------------------------------------------------------
 */

typedef struct pipe {
    cudaStream_t main, side;
    cudaEvent_t fork, join, outside;
    float *x; /* [64] */
    float host[64];
} pipe;

static void pipe_init(pipe *p)
{
    GOOD(cudaStreamCreateWithFlags(&p->main, cudaStreamNonBlocking));
    GOOD(cudaStreamCreateWithFlags(&p->side, cudaStreamNonBlocking));
    GOOD(cudaEventCreateWithFlags(&p->fork, cudaEventDisableTiming));
    GOOD(cudaEventCreateWithFlags(&p->join, cudaEventDisableTiming));
    GOOD(cudaEventCreate(&p->outside));
    p->x = device(sizeof p->host);
}

static void pipe_fini(pipe *p)
{
    GOOD(cudaFree(p->x));
    GOOD(cudaEventDestroy(p->fork));
    GOOD(cudaEventDestroy(p->join));
    GOOD(cudaEventDestroy(p->outside));
    GOOD(cudaStreamDestroy(p->side));
    GOOD(cudaStreamDestroy(p->main));
}

static void graph_runs_when_launched(void **state)
{
    (void)state;
    pipe p;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    pipe_init(&p);
    GOOD(cudaMemset(p.x, 0, sizeof p.host));
    memset(p.host, 0, sizeof p.host);
    GOOD(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeThreadLocal));
    shim_scale(p.main, p.x, 64, 3.0f);
    GOOD(cudaGetLastError());
    GOOD(cudaEventRecord(p.fork, p.main));
    GOOD(cudaStreamWaitEvent(p.side, p.fork, 0));
    shim_scale(p.side, p.x, 64, 2.0f);
    GOOD(cudaEventRecordWithFlags(p.outside, p.side, cudaEventRecordExternal));
    GOOD(cudaEventRecord(p.join, p.side));
    GOOD(cudaStreamWaitEvent(p.main, p.join, 0));
    GOOD(cudaMemcpyAsync(p.host, p.x, sizeof p.host, cudaMemcpyDeviceToHost, p.main));
    GOOD(cudaStreamEndCapture(p.main, &graph));
    GOOD(cudaGraphInstantiate(&exec, graph, 0));
    GOOD(cudaGraphDestroy(graph));
    assert_true(p.host[5] == 0.0f); /* nothing has run */
    float expected = 0.0f;
    for (int i = 0; i < 3; i++) {
        GOOD(cudaGraphLaunch(exec, p.main));
        expected = (expected * 3.0f + 1.0f) * 2.0f + 1.0f;
        assert_true(p.host[5] == expected && p.host[63] == expected);
        GOOD(cudaEventSynchronize(p.outside));
    }
    GOOD(cudaStreamSynchronize(p.main));
    GOOD(cudaGraphExecDestroy(exec));
    pipe_fini(&p);
}

static void expect_spoilt(pipe *p, const char *what)
{
    cudaGraph_t graph = NULL;
    if (cudaStreamEndCapture(p->main, &graph) != cudaErrorStreamCaptureInvalidated)
        fail_msg("%s left the capture valid", what);
    assert_null(graph);
    (void)cudaGetLastError();
}

static void capture_refuses_what_the_device_refuses(void **state)
{
    (void)state;
    pipe p;
    void *more = NULL;
    cudaGraph_t graph = NULL;
    pipe_init(&p);
    GOOD(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeGlobal));
    assert_int_equal(cudaMalloc(&more, 64), cudaErrorStreamCaptureUnsupported);
    expect_spoilt(&p, "cudaMalloc");
    GOOD(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeGlobal));
    assert_int_equal(cudaMemcpy(p.host, p.x, 4, cudaMemcpyDeviceToHost),
                     cudaErrorStreamCaptureImplicit);
    expect_spoilt(&p, "cudaMemcpy");
    GOOD(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeThreadLocal));
    assert_int_equal(cudaStreamSynchronize(p.main), cudaErrorStreamCaptureUnsupported);
    expect_spoilt(&p, "cudaStreamSynchronize");
    GOOD(cudaEventRecord(p.outside, p.side));
    GOOD(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeThreadLocal));
    assert_int_equal(cudaStreamWaitEvent(p.main, p.outside, 0), cudaErrorStreamCaptureUnsupported);
    expect_spoilt(&p, "an event from outside");
    GOOD(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeThreadLocal));
    GOOD(cudaEventRecord(p.fork, p.main));
    GOOD(cudaStreamWaitEvent(p.side, p.fork, 0));
    shim_scale(p.side, p.x, 64, 2.0f);
    assert_int_equal(cudaStreamEndCapture(p.main, &graph), cudaErrorStreamCaptureUnjoined);
    assert_int_equal(cudaEventQuery(p.fork), cudaErrorCapturedEvent);
    (void)cudaGetLastError();
    pipe_fini(&p);
}

static void writing_past_an_allocation_is_found(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* the sanitizer finds it first, and ends the process */
#endif
    float *p = device(63 * sizeof *p);
    GOOD(cudaMemset(p, 0, 63 * sizeof *p));
    shim_scale(NULL, p, 64, 2.0f);
    GOOD(cudaGetLastError());
    assert_int_equal(cudaFree(p), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_meet_at_barriers),
        cmocka_unit_test(missing_barrier_shows),
        cmocka_unit_test(sums_through_warps_and_shared_memory),
        cmocka_unit_test(shuffles_follow_the_manual),
        cmocka_unit_test(tensor_core_product_is_the_plain_one),
        cmocka_unit_test(asynchronous_copies_arrive_when_waited_for),
        cmocka_unit_test(every_thread_of_a_grid_runs_once),
        cmocka_unit_test(launch_limits_are_the_devices),
        cmocka_unit_test(mistakes_of_kernels_are_found),
        cmocka_unit_test(kernels_take_no_host_memory),
        cmocka_unit_test(fresh_memory_is_not_a_number),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(devices_are_as_many_as_asked),
        cmocka_unit_test(graph_runs_when_launched),
        cmocka_unit_test(capture_refuses_what_the_device_refuses),
        cmocka_unit_test(writing_past_an_allocation_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
