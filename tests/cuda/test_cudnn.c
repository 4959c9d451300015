/* Plans of the real cuDNN for devices that are described, not there: an H100 and an A100. What a
 * plan computes is test_cudnn_run.c's matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <inttypes.h>

#include "kernels/base/log.h"
#include "kernels/cuda/cudnn_config.h"
#include "kernels/cuda/engines.h"

/* As cudnnBackendGetAttribute writes them, from the data sheets and CUDA's table of capabilities.
 */
#define DEVICE(name, version, sms, block_kib, ctas, mib, sm_khz, memory_khz, l2_mib)               \
    "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],"                   \
    "\"regsPerBlock\":65536,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"                    \
    "\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,"                           \
    "\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,\"isTccDriver\":0,"    \
    "\"supportCoopLaunch\":1,\"cudaDeviceId\":0,\"driverVer\":13000,\"deviceName\":\"" name        \
    "\",\"deviceVer\":" version ",\"multiProcessorCount\":" sms                                    \
    ",\"maxSharedMemoryPerBlockOptin\":" block_kib ",\"maxCtasPerSM\":" ctas                       \
    ",\"totalGlobalMem\":" mib ",\"smClockRateKHz\":" sm_khz ",\"memClockRateKHz\":" memory_khz    \
    ",\"l2CacheSize\":" l2_mib "}"
static const char H100[] = DEVICE("NVIDIA H100 80GB HBM3", "900", "132", "232448", "32",
                                  "85029158912", "1980000", "2619000", "52428800");
static const char A100[] = DEVICE("NVIDIA A100-SXM4-80GB", "800", "108", "166912", "32",
                                  "85049933824", "1410000", "1593000", "41943040");

enum { MOST = 8, N_SHAPES = 24 };
static const size_t ROOM = (size_t)256 << 20;

static cf_geometry square(int n, int h, int c, int k, int kernel, int stride, int groups,
                          cf_dtype dtype)
{
    int pad = kernel / 2, p = (h + 2 * pad - kernel) / stride + 1;
    return (cf_geometry){n, h, h, c, k, p, p, kernel, stride, pad, pad, groups, dtype};
}

/* Every convolution of ResNeXt-50 32x4d at 250x250, once. */
static int resnext50(int n, cf_dtype dtype, cf_geometry shapes[N_SHAPES])
{
    static const int WIDTH[4] = {128, 256, 512, 1024};
    int at = 0, h = 63, c = 64;
    shapes[at++] = square(n, 250, 4, 64, 7, 2, 1, dtype);
    for (int stage = 0; stage < 4; stage++) {
        int width = WIDTH[stage], out = 2 * width, stride = stage ? 2 : 1;
        shapes[at++] = square(n, h, c, width, 1, 1, 1, dtype);
        shapes[at++] = square(n, h, width, width, 3, stride, 32, dtype);
        shapes[at++] = square(n, h, c, out, 1, stride, 1, dtype);
        h = (h - 1) / stride + 1;
        shapes[at++] = square(n, h, width, out, 1, 1, 1, dtype);
        shapes[at++] = square(n, h, out, width, 1, 1, 1, dtype);
        if (stage) shapes[at++] = square(n, h, width, width, 3, 1, 32, dtype);
        c = out;
    }
    assert_int_equal(at, N_SHAPES);
    return at;
}

static cf_cudnn *open_device(const char *properties)
{
    cf_cudnn *c = NULL;
    cf_err err = cf_cudnn_create_for(properties, &c);
    if (err != CF_OK) print_error("%s\n", cf_err_text());
    assert_int_equal(err, CF_OK);
    return c;
}

static int find(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass, cf_cudnn_plan *plans[MOST])
{
    int n = 0;
    cf_err err = cf_cudnn_candidates(c, g, pass, true, ROOM, MOST, plans, &n);
    if (err != CF_OK) print_error("%s\n", cf_err_text());
    assert_int_equal(err, CF_OK);
    return n;
}

static void release(cf_cudnn_plan *plans[MOST], int n)
{
    for (int i = 0; i < n; i++) cf_cudnn_plan_destroy(plans[i]);
}

/* ---- plans for the whole network ---- */

/* The text is all that the file of choices keeps: it must give the very plan. */
static void assert_text_gives_the_plan(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass,
                                       const cf_cudnn_plan *plan)
{
    cf_cudnn_plan *again = NULL;
    char text[512], text_again[512];
    cf_cudnn_plan_text(plan, text, sizeof text);
    cf_err err = cf_cudnn_plan_of_text(c, g, pass, text, &again);
    if (err != CF_OK) print_error("%s\n", cf_err_text());
    assert_int_equal(err, CF_OK);
    cf_cudnn_plan_text(again, text_again, sizeof text_again);
    assert_string_equal(text, text_again);
    assert_int_equal(cf_cudnn_plan_workspace(plan), cf_cudnn_plan_workspace(again));
    cf_cudnn_plan_destroy(again);
}

static void assert_network_has_plans(const char *properties, cf_dtype dtype)
{
    cf_geometry shapes[N_SHAPES];
    cf_cudnn_plan *plans[MOST];
    cf_cudnn *c = open_device(properties);
    int n_shapes = resnext50(64, dtype, shapes), least = MOST, total = 0;
    for (int i = 0; i < n_shapes; i++)
        for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++) {
            int n = find(c, &shapes[i], (cf_conv_pass)pass, plans);
            if (n == 0) print_error("no plan: shape %d, pass %d\n", i, pass);
            assert_true(n > 0);
            for (int j = 0; j < n; j++) {
                assert_true(cf_cudnn_plan_workspace(plans[j]) <= ROOM);
                assert_text_gives_the_plan(c, &shapes[i], (cf_conv_pass)pass, plans[j]);
            }
            least = n < least ? n : least;
            total += n;
            release(plans, n);
        }
    print_message("%s: %d shapes, 3 passes: %d plans, at least %d each\n", cf_dtype_name(dtype),
                  n_shapes, total, least);
    cf_cudnn_destroy(c);
}

static void resnext50_has_deterministic_plans_in_fp32(void **state)
{
    (void)state;
    assert_network_has_plans(H100, CF_F32);
}
static void resnext50_has_deterministic_plans_in_bf16(void **state)
{
    (void)state;
    assert_network_has_plans(H100, CF_BF16);
}
static void resnext50_has_deterministic_plans_in_fp16(void **state)
{
    (void)state;
    assert_network_has_plans(H100, CF_F16);
}
static void resnext50_has_deterministic_plans_on_an_a100(void **state)
{
    (void)state;
    assert_network_has_plans(A100, CF_BF16);
}

/* ---- filters ---- */

static void cut(const char *text, int64_t *engine)
{
    assert_int_equal(sscanf(text, "engine %" SCNd64, engine), 1);
}

/* Engines that a heuristic names with a note, by asking with and without refusing it. */
static int engines_with(const char *properties, const cf_geometry *g, cf_conv_pass pass,
                        unsigned note, int64_t engines[64])
{
    cf_cudnn_device device = {NULL, NULL};
    cf_cudnn_graph graph;
    cf_cudnn_config *all = calloc(64, sizeof *all), *without = calloc(64, sizeof *without);
    int n_all = 0, n_without = 0, n = 0;
    assert_true(all && without);
    assert_int_equal(cf_cudnn_new(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &device.properties), CF_OK);
    assert_int_equal(cf_cudnn_set(device.properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                  CUDNN_TYPE_CHAR, (int64_t)strlen(properties), properties),
                     CF_OK);
    assert_int_equal(cf_cudnn_finalize(device.properties, "properties"), CF_OK);
    assert_int_equal(cf_cudnn_graph_init(&device, g, pass, g->dtype, &graph), CF_OK);
    assert_int_equal(cf_cudnn_suggest(&device, &graph, CUDNN_HEUR_MODE_A, 0, 64, all, &n_all),
                     CF_OK);
    assert_int_equal(
        cf_cudnn_suggest(&device, &graph, CUDNN_HEUR_MODE_A, note, 64, without, &n_without), CF_OK);
    for (int i = 0; i < n_all; i++) {
        bool kept = false;
        for (int j = 0; j < n_without; j++) kept = kept || without[j].engine == all[i].engine;
        if (!kept) engines[n++] = all[i].engine;
    }
    cf_cudnn_graph_fini(&graph);
    cf_cudnn_free(&device.properties);
    free(without);
    free(all);
    return n;
}

static void assert_none_has(const cf_geometry *g, cf_conv_pass pass, unsigned note)
{
    int64_t refused[64], engine = -1;
    cf_cudnn_plan *plans[MOST];
    int n_refused = engines_with(H100, g, pass, note, refused);
    cf_cudnn *c = open_device(H100);
    int n = find(c, g, pass, plans);
    assert_true(n_refused > 0); /* else this shows nothing */
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char text[512];
        cf_cudnn_plan_text(plans[i], text, sizeof text);
        cut(text, &engine);
        for (int j = 0; j < n_refused; j++) assert_true(engine != refused[j]);
    }
    release(plans, n);
    cf_cudnn_destroy(c);
}

static void fp32_is_not_rounded_to_tf32(void **state)
{
    (void)state;
    cf_geometry g = square(64, 63, 64, 128, 1, 1, 1, CF_F32);
    for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++)
        assert_none_has(&g, (cf_conv_pass)pass, CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_TENSOR_CORE));
}

static void sums_in_any_order_are_left_out(void **state)
{
    (void)state;
    cf_geometry g = square(64, 63, 64, 128, 1, 1, 1, CF_F32);
    assert_none_has(&g, CF_CONV_DATA, CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC));
    assert_none_has(&g, CF_CONV_WEIGHTS, CF_CUDNN_NOTE(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC));
}

static void workspace_is_limited(void **state)
{
    (void)state;
    cf_geometry g = square(64, 63, 64, 128, 1, 1, 1, CF_F32);
    cf_cudnn_plan *plans[MOST];
    cf_cudnn *c = open_device(H100);
    int n = find(c, &g, CF_CONV_FORWARD, plans), over = 0;
    for (int i = 0; i < n; i++) over += cf_cudnn_plan_workspace(plans[i]) > 4096;
    release(plans, n);
    assert_true(over > 0);
    assert_int_equal(cf_cudnn_candidates(c, &g, CF_CONV_FORWARD, true, 4096, MOST, plans, &n),
                     CF_OK);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) assert_true(cf_cudnn_plan_workspace(plans[i]) <= 4096);
    release(plans, n);
    cf_cudnn_destroy(c);
}

/* ---- shapes, texts, errors ---- */

static void padding_of_one_side_has_plans(void **state)
{
    (void)state;
    /* 62 rows by stride 2: behind kernel 3 one row of padding in front only, and behind kernel 1
     * a row that no window reaches. */
    const cf_geometry shapes[] = {{8, 62, 62, 64, 64, 31, 31, 3, 2, 1, 1, 1, CF_BF16},
                                  {8, 62, 62, 64, 64, 31, 31, 3, 2, 0, 0, 1, CF_BF16},
                                  {8, 62, 62, 64, 64, 31, 31, 1, 2, 0, 0, 1, CF_BF16}};
    cf_cudnn_plan *plans[MOST];
    cf_cudnn *c = open_device(H100);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++) {
            int n = find(c, &shapes[i], (cf_conv_pass)pass, plans);
            assert_true(n > 0);
            release(plans, n);
        }
    cf_cudnn_destroy(c);
}

static void impossible_shape_is_an_error_of_the_library(void **state)
{
    (void)state;
    cf_geometry g = {8, 62, 62, 64, 64, 31, 20, 3, 2, 1, 1, 1, CF_BF16}; /* 20 columns of 31 */
    cf_cudnn_plan *plans[MOST];
    int n = 7;
    cf_cudnn *c = open_device(H100);
    assert_int_equal(cf_cudnn_candidates(c, &g, CF_CONV_FORWARD, true, ROOM, MOST, plans, &n),
                     CF_E_DEVICE);
    assert_int_equal(n, 0);
    assert_non_null(strstr(cf_err_text(), "operation: cuDNN: cudnnBackendFinalize: CUDNN_STATUS_"));
    cf_cudnn_destroy(c);
}

static void text_of_no_plan_is_refused(void **state)
{
    (void)state;
    static const char *const DAMAGED[] = {"",
                                          "engine",
                                          "engine x knobs none",
                                          "engine 1 knobs",
                                          "engine 1",
                                          "engine 1 knobs 2",
                                          "engine 1 knobs 2=",
                                          "engine 1 knobs 2=1,",
                                          "engine 1 ",
                                          "engine 1 knobs none narrow and more"};
    cf_geometry g = square(8, 16, 64, 64, 3, 1, 1, CF_BF16);
    cf_cudnn *c = open_device(H100);
    cf_cudnn_plan *plan = NULL;
    for (size_t i = 0; i < sizeof DAMAGED / sizeof DAMAGED[0]; i++)
        assert_int_equal(cf_cudnn_plan_of_text(c, &g, CF_CONV_FORWARD, DAMAGED[i], &plan),
                         CF_E_DATA);
    assert_int_equal(
        cf_cudnn_plan_of_text(c, &g, CF_CONV_FORWARD, "engine 99999 knobs none", &plan),
        CF_E_DEVICE);
    assert_non_null(strstr(cf_err_text(), "cuDNN plan 'engine 99999 knobs none': engine"));
    assert_null(plan);
    cf_cudnn_destroy(c);
}

static void plan_for_a_described_device_does_not_run(void **state)
{
    (void)state;
    cf_geometry g = square(8, 16, 64, 64, 3, 1, 1, CF_BF16);
    cf_conv_call call = {.geometry = &g, .pass = CF_CONV_FORWARD};
    cf_cudnn_plan *plans[MOST];
    cf_cudnn *c = open_device(H100);
    int n = find(c, &g, CF_CONV_FORWARD, plans);
    assert_true(n > 0);
    assert_int_equal(cf_cudnn_run(c, plans[0], &call), CF_E_DEVICE);
    assert_non_null(strstr(cf_err_text(), "a plan for a device that is not here"));
    release(plans, n);
    cf_cudnn_destroy(c);
}

static void damaged_properties_are_named(void **state)
{
    (void)state;
    cf_cudnn *c = NULL;
    assert_int_equal(cf_cudnn_create_for("{}", &c), CF_E_DEVICE);
    assert_null(c);
    assert_non_null(strstr(cf_err_text(), "device properties: cuDNN: cudnnBackendFinalize"));
}

static void describes_itself(void **state)
{
    (void)state;
    char text[32], expected[32];
    snprintf(expected, sizeof expected, "cuDNN %d.%d.", CUDNN_MAJOR, CUDNN_MINOR);
    cf_cudnn_describe(text, sizeof text);
    assert_memory_equal(text, expected, strlen(expected));
}

/* By rule, engines take cuDNN where no own kernel is ahead; fp32 has none that is. */
static void engines_take_the_first_plan_in_fp32(void **state)
{
    (void)state;
    cf_geometry g = square(8, 16, 64, 64, 3, 1, 1, CF_F32);
    const cf_engine_context context = {0, false, false};
    const cf_engines_options o = {NULL, "an H100", false, true, ROOM};
    cf_engine_choice choice;
    cf_cudnn_plan *plans[MOST];
    cf_engines *e = NULL;
    char chosen[512], first[512];
    cf_cudnn *c = open_device(H100);
    int n = find(c, &g, CF_CONV_FORWARD, plans);
    assert_true(n > 0);
    assert_int_equal(cf_engines_create(c, NULL, &o, &e), CF_OK);
    assert_int_equal(cf_engines_choose(e, &g, CF_CONV_FORWARD, &context, &choice), CF_OK);
    cf_engine_choice_text(&choice, chosen, sizeof chosen);
    cf_cudnn_plan_text(plans[0], first, sizeof first);
    assert_memory_equal(chosen, "cudnn ", 6);
    assert_string_equal(chosen + 6, first);
    cf_engines_destroy(e);
    release(plans, n);
    cf_cudnn_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(damaged_properties_are_named),
        cmocka_unit_test(resnext50_has_deterministic_plans_in_fp32),
        cmocka_unit_test(resnext50_has_deterministic_plans_in_bf16),
        cmocka_unit_test(resnext50_has_deterministic_plans_in_fp16),
        cmocka_unit_test(resnext50_has_deterministic_plans_on_an_a100),
        cmocka_unit_test(fp32_is_not_rounded_to_tf32),
        cmocka_unit_test(sums_in_any_order_are_left_out),
        cmocka_unit_test(workspace_is_limited),
        cmocka_unit_test(padding_of_one_side_has_plans),
        cmocka_unit_test(impossible_shape_is_an_error_of_the_library),
        cmocka_unit_test(text_of_no_plan_is_refused),
        cmocka_unit_test(plan_for_a_described_device_does_not_run),
        cmocka_unit_test(engines_take_the_first_plan_in_fp32),
    };
    cf_log_setup(CF_LOG_QUIET, -1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
