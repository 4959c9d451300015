/* What plans of cuDNN compute, on a device: beside the reference, twice, recorded, and timed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "conv_reference.h"
#include "kernels/base/file.h"
#include "kernels/cuda/engines.h"

enum { MOST = 8 };
static const size_t ROOM = (size_t)256 << 20;

static cf_cudnn *cudnn;
static cudaStream_t stream;
static const cf_cudnn_plan *plan; /* what run_plan runs */

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != CF_OK) fail_msg("%s: %s", #expr, cf_err_text());                             \
    } while (0)

static int open_library(void **state)
{
    (void)state;
    if (cudaStreamCreate(&stream) != cudaSuccess) return -1;
    return cf_cudnn_create(stream, &cudnn) == CF_OK ? 0 : -1;
}

static int close_library(void **state)
{
    (void)state;
    cf_cudnn_destroy(cudnn);
    return stream == NULL || cudaStreamDestroy(stream) == cudaSuccess ? 0 : -1;
}

/* ---- a plan in the clothes of a kernel, for conv_check ---- */

static bool supports_all(const cf_geometry *g, cf_conv_pass pass)
{
    (void)g, (void)pass;
    return true;
}

static int64_t one_part(const cf_geometry *g, cf_conv_pass pass)
{
    (void)g, (void)pass;
    return 1;
}

/* The harness has copied its data on the legacy stream, which ours waits for. */
static cf_err run_plan(cudaStream_t unused, const cf_conv_call *call)
{
    cf_conv_call own = *call;
    (void)unused;
    if (cudaMalloc(&own.workspace, cf_cudnn_plan_workspace(plan) + 256) != cudaSuccess)
        return cf_fail(CF_E_DEVICE, "no memory for the workspace");
    cf_err err = cf_cudnn_run(cudnn, plan, &own);
    if (err == CF_OK) err = cf_cuda_check(cudaStreamSynchronize(stream), "plan");
    (void)cudaFree(own.workspace);
    return err;
}

static const cf_conv_kernel PLAYED = {"plan", false, supports_all, one_part, run_plan};

static int find(const cf_geometry *g, cf_conv_pass pass, cf_cudnn_plan *plans[MOST])
{
    int n = 0;
    OK(cf_cudnn_candidates(cudnn, g, pass, true, ROOM, MOST, plans, &n));
    assert_true(n > 0);
    return n;
}

static void release(cf_cudnn_plan *plans[MOST], int n)
{
    for (int i = 0; i < n; i++) cf_cudnn_plan_destroy(plans[i]);
}

/* ---- values ---- */

/* fp32: sums of up to 2,304 products, the bound. 16 bits: one rounding of the result, at
 * most half a unit of the last place (2^-9, 2^-12) of each element; twice that. */
static double bound(cf_dtype dtype)
{
    return dtype == CF_F32 ? 1e-5 : dtype == CF_BF16 ? 1.0 / 256 : 1.0 / 2048;
}

static void assert_plans_are_right(cf_dtype dtype)
{
    const cf_geometry shapes[] = {
        conv_geometry(2, 29, 31, 4, 64, 7, 2, 3, 1, dtype),     /* images */
        conv_geometry(3, 15, 13, 128, 128, 3, 1, 1, 32, dtype), /* 4 channels a group */
        conv_geometry(2, 16, 17, 256, 256, 3, 2, 1, 32, dtype),
        conv_geometry(1, 8, 8, 1024, 1024, 3, 1, 1, 32, dtype),
        conv_geometry(2, 13, 11, 64, 256, 1, 1, 0, 1, dtype),
        conv_geometry(2, 14, 13, 256, 64, 1, 2, 0, 1, dtype),
        conv_geometry(2, 9, 10, 256, 72, 3, 1, 1, 1, dtype)};
    cf_cudnn_plan *plans[MOST];
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++) {
            int n = find(&shapes[i], (cf_conv_pass)pass, plans);
            for (int j = 0; j < n; j++) {
                char text[512];
                double sums = 0.0;
                plan = plans[j];
                double distance =
                    conv_check(&PLAYED, &shapes[i], (cf_conv_pass)pass, false, CF_ACT_NONE, &sums);
                cf_cudnn_plan_text(plan, text, sizeof text);
                if (!(distance <= bound(dtype)))
                    print_error("shape %zu, pass %d, %s: %g\n", i, pass, text, distance);
                assert_true(distance <= bound(dtype));
            }
            release(plans, n);
        }
}

static void every_plan_is_right_in_fp32(void **state)
{
    (void)state;
    assert_plans_are_right(CF_F32);
}
static void every_plan_is_right_in_bf16(void **state)
{
    (void)state;
    assert_plans_are_right(CF_BF16);
}
static void every_plan_is_right_in_fp16(void **state)
{
    (void)state;
    assert_plans_are_right(CF_F16);
}

/* ---- runs ---- */

static size_t result_bytes(const conv_device *v)
{
    const cf_geometry *g = v->call.geometry;
    size_t item = cf_dtype_bytes(g->dtype);
    if (v->call.pass == CF_CONV_FORWARD) return (size_t)conv_outputs(g) * item;
    if (v->call.pass == CF_CONV_DATA) return (size_t)conv_inputs(g) * item;
    return (size_t)cf_geometry_filter(g) * sizeof(float);
}

static void *result_of(const conv_device *v)
{
    if (v->call.pass == CF_CONV_FORWARD) return v->call.y;
    return v->call.pass == CF_CONV_DATA ? v->call.gin : (void *)v->call.gradient;
}

/* Runs the plan once, issued or as a recorded graph; the bits are the caller's to free. */
static void *bits_of(conv_device *v, bool recorded)
{
    size_t n = result_bytes(v);
    void *bits = calloc(1, n);
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    assert_non_null(bits);
    assert_int_equal(cudaMemset(result_of(v), 0xFF, n), cudaSuccess);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    if (recorded) {
        assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                         cudaSuccess);
        OK(cf_cudnn_run(cudnn, plan, &v->call));
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaSuccess);
        assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
        assert_int_equal(cudaGraphLaunch(exec, stream), cudaSuccess);
    } else {
        OK(cf_cudnn_run(cudnn, plan, &v->call));
    }
    assert_int_equal(cudaStreamSynchronize(stream), cudaSuccess);
    assert_int_equal(cudaMemcpy(bits, result_of(v), n, cudaMemcpyDeviceToHost), cudaSuccess);
    if (exec) (void)cudaGraphExecDestroy(exec);
    if (graph) (void)cudaGraphDestroy(graph);
    return bits;
}

static void plan_gives_the_same_bits_again_and_recorded(void **state)
{
    (void)state;
    static const cf_dtype DTYPES[] = {CF_F32, CF_BF16, CF_F16};
    cf_cudnn_plan *plans[MOST];
    for (int d = 0; d < 3; d++)
        for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++) {
            cf_geometry g = conv_geometry(8, 31, 31, 128, 128, 3, 1, 1, 32, DTYPES[d]);
            int n = find(&g, (cf_conv_pass)pass, plans);
            conv_data data;
            conv_device v;
            conv_data_init(&data, &g, false, CF_ACT_NONE);
            conv_device_init(&v, &g, (cf_conv_pass)pass, &data, 1, false);
            assert_int_equal(cudaMalloc(&v.call.workspace, ROOM), cudaSuccess);
            for (int i = 0; i < n; i++) {
                plan = plans[i];
                void *first = bits_of(&v, false), *again = bits_of(&v, false);
                void *recorded = bits_of(&v, true);
                assert_memory_equal(first, again, result_bytes(&v));
                assert_memory_equal(first, recorded, result_bytes(&v));
                free(recorded);
                free(again);
                free(first);
            }
            assert_int_equal(cudaFree(v.call.workspace), cudaSuccess);
            conv_device_fini(&v);
            conv_data_fini(&data);
            release(plans, n);
        }
}

/* ---- timing ---- */

static cf_engines *open_engines(const char *path, bool may_tune)
{
    const cf_engines_options o = {path, "this device", may_tune, true, ROOM};
    cf_engines *e = NULL;
    OK(cf_engines_create(cudnn, stream, &o, &e));
    return e;
}

static void timed_choice_is_the_same_when_read(void **state)
{
    (void)state;
    char folder[] = "/tmp/cytofold-test-cudnn-XXXXXX", path[CF_PATH_MAX];
    const cf_engine_context context = {1 << 20, true, true};
    const cf_geometry shapes[] = {conv_geometry(8, 31, 31, 128, 128, 3, 1, 1, 32, CF_BF16),
                                  conv_geometry(8, 31, 31, 128, 256, 1, 1, 0, 1, CF_F16),
                                  conv_geometry(8, 31, 31, 64, 64, 3, 2, 1, 1, CF_F32)};
    char timed[512], read[512];
    assert_non_null(mkdtemp(folder));
    OK(cf_path_join(path, sizeof path, folder, "engines"));
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++) {
            cf_engine_choice choice;
            cf_engines *e = open_engines(path, true);
            OK(cf_engines_choose(e, &shapes[i], (cf_conv_pass)pass, &context, &choice));
            cf_engine_choice_text(&choice, timed, sizeof timed);
            OK(cf_engines_save(e));
            cf_engines_destroy(e);
            e = open_engines(path, false);
            OK(cf_engines_choose(e, &shapes[i], (cf_conv_pass)pass, &context, &choice));
            cf_engine_choice_text(&choice, read, sizeof read);
            cf_engines_destroy(e);
            assert_string_equal(timed, read);
            print_message("shape %zu, pass %d: %s\n", i, pass, timed);
        }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* One case by its name, or all. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_plan_is_right_in_fp32),
        cmocka_unit_test(every_plan_is_right_in_bf16),
        cmocka_unit_test(every_plan_is_right_in_fp16),
        cmocka_unit_test(plan_gives_the_same_bits_again_and_recorded),
        cmocka_unit_test(timed_choice_is_the_same_when_read),
    };
    size_t n = sizeof tests / sizeof tests[0], i = 0;
    while (argc > 1 && i < n && strcmp(tests[i].name, argv[1]) != 0) i++;
    if (i == n) {
        (void)fprintf(stderr, "%s: no case is called that\n", argv[1]);
        return 2;
    }
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_library, close_library);
}
