/* Choosing among engines that are played here: kernels and plans that say what they support, fail
 * when told to, and look at what they are given. Real ones have tests of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/cuda/engines.h"
#include "kernels/math/half.h"

static char folder[] = "/tmp/cytofold-test-engines-XXXXXX";

/* ---- players ---- */

typedef struct player {
    bool supports, fails, looks;
    int runs;
} player;

static struct {
    player slab, gemm, direct, plans[3];
    int n_plans, plans_alive;
    size_t plan_workspace;
    cf_conv_call last;
} play;

static void assert_usable(const void *device, cf_dtype dtype, int n)
{
    unsigned char host[4 * 4096];
    size_t element = cf_dtype_bytes(dtype);
    assert_true(n <= 4096);
    assert_non_null(device);
    assert_int_equal(cudaMemcpy(host, device, (size_t)n * element, cudaMemcpyDeviceToHost),
                     cudaSuccess);
    for (int i = 0; i < n; i++) {
        float x = 0.0f;
        uint16_t bits = 0;
        memcpy(dtype == CF_F32 ? (void *)&x : (void *)&bits, host + (size_t)i * element, element);
        if (dtype == CF_BF16) x = cf_bf16_to_float(bits);
        if (dtype == CF_F16) x = cf_f16_to_float(bits);
        assert_true(isfinite(x) && x != 0.0f && fabsf(x) <= 1.0f);
    }
}

/* What a fused call is to hold, seen from inside the run: the buffers are gone afterwards. */
static void look(const cf_conv_call *call)
{
    const cf_geometry *g = call->geometry;
    int n_x = g->n * g->h * g->w * g->c, n_y = g->n * g->p * g->q * g->k;
    if (call->pass != CF_CONV_DATA) {
        assert_usable(call->x.x, g->dtype, n_x);
        assert_usable(call->x.scale, CF_F32, g->c);
        assert_usable(call->x.shift, CF_F32, g->c);
    }
    if (call->pass != CF_CONV_WEIGHTS) {
        assert_usable(call->weights, g->dtype, (int)cf_geometry_filter(g));
        assert_non_null(call->partials);
        assert_int_equal(cudaMemset(call->partials, 0, 5 * 2 * 16 * sizeof(double)), cudaSuccess);
    }
    if (call->pass == CF_CONV_FORWARD) return;
    assert_usable(call->gy.g, g->dtype, n_y);
    assert_usable(call->gy.y, g->dtype, n_y);
    assert_usable(call->gy.a, CF_F32, g->k);
    assert_usable(call->gy.d, CF_F32, g->k);
    if (call->pass == CF_CONV_WEIGHTS) {
        size_t bytes = 5 * (size_t)cf_geometry_filter(g) * sizeof(float);
        assert_int_equal(cudaMemset(call->gradient, 0, bytes), cudaSuccess);
        return;
    }
    assert_non_null(call->gin);
    assert_usable(call->input_view.x, g->dtype, n_x);
    assert_usable(call->input_mean, CF_F32, g->c);
}

static cf_err play_run(player *p, const char *name, const cf_conv_call *call)
{
    p->runs++;
    play.last = *call;
    if (p->looks) look(call);
    if (p->fails) return cf_fail(CF_E_DEVICE, "%s was told to fail", name);
    return CF_OK;
}

#define PLAYER(name, is_fused, n_parts)                                                            \
    static bool name##_supports(const cf_geometry *g, cf_conv_pass pass)                           \
    {                                                                                              \
        (void)g, (void)pass;                                                                       \
        return play.name.supports;                                                                 \
    }                                                                                              \
    static int64_t name##_parts(const cf_geometry *g, cf_conv_pass pass)                           \
    {                                                                                              \
        (void)g, (void)pass;                                                                       \
        return n_parts;                                                                            \
    }                                                                                              \
    static cf_err name##_run(cudaStream_t s, const cf_conv_call *call)                             \
    {                                                                                              \
        (void)s;                                                                                   \
        return play_run(&play.name, #name, call);                                                  \
    }                                                                                              \
    const cf_conv_kernel cf_conv_##name = {#name, is_fused, name##_supports, name##_parts,         \
                                           name##_run}
PLAYER(slab, true, 3);
PLAYER(gemm, true, 5);
PLAYER(direct, false, 1);

struct cf_cudnn {
    int unused;
};
struct cf_cudnn_plan {
    int number;
};
static cf_cudnn the_cudnn;

static cf_err make_plan(int number, cf_cudnn_plan **out)
{
    *out = calloc(1, sizeof **out);
    assert_non_null(*out);
    (*out)->number = number;
    play.plans_alive++;
    return CF_OK;
}
cf_err cf_cudnn_candidates(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass, bool deterministic,
                           size_t workspace, int most, cf_cudnn_plan **plans, int *n)
{
    (void)c, (void)g, (void)pass, (void)deterministic, (void)workspace;
    for (*n = 0; *n < most && *n < play.n_plans; ++*n) CF_TRY(make_plan(*n, &plans[*n]));
    return CF_OK;
}
cf_err cf_cudnn_plan_of_text(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass, const char *text,
                             cf_cudnn_plan **out)
{
    int number = -1;
    (void)c, (void)g, (void)pass;
    *out = NULL;
    if (sscanf(text, "engine %d knobs none", &number) != 1 || number >= play.n_plans)
        return cf_fail(CF_E_DEVICE, "no such plan: %s", text);
    return make_plan(number, out);
}
void cf_cudnn_plan_destroy(cf_cudnn_plan *p)
{
    if (p) play.plans_alive--;
    free(p);
}
void cf_cudnn_plan_text(const cf_cudnn_plan *p, char *text, size_t n)
{
    snprintf(text, n, "engine %d knobs none", p->number);
}
size_t cf_cudnn_plan_workspace(const cf_cudnn_plan *p)
{
    (void)p;
    return play.plan_workspace;
}
cf_err cf_cudnn_run(cf_cudnn *c, const cf_cudnn_plan *p, const cf_conv_call *call)
{
    (void)c;
    return play_run(&play.plans[p->number], "plan", call);
}

/* ---- helpers ---- */

static const cf_geometry SHAPE = {2, 9, 7, 8, 16, 5, 4, 3, 2, 1, 1, 1, CF_BF16};
static const cf_geometry SHAPE_F32 = {2, 9, 7, 8, 16, 5, 4, 3, 2, 1, 1, 1, CF_F32};
static const cf_engine_context PLAIN = {0, false, false};
static const cf_engine_context FUSED = {0, true, true};

static int reset(void **state)
{
    (void)state;
    memset(&play, 0, sizeof play);
    return 0;
}

static const char *in_folder(const char *name)
{
    static char path[CF_PATH_MAX];
    assert_int_equal(cf_path_join(path, sizeof path, folder, name), CF_OK);
    return path;
}

static cf_engines *open_engines(const char *path, bool may_tune)
{
    cf_engines *e = NULL;
    cf_engines_options o = {path, "H100, cuDNN 9.19.0", may_tune, true, 1 << 20};
    assert_int_equal(cf_engines_create(&the_cudnn, NULL, &o, &e), CF_OK);
    return e;
}

static void assert_chosen(cf_engines *e, const cf_geometry *g, cf_conv_pass pass,
                          const cf_engine_context *context, const char *expected)
{
    cf_engine_choice choice;
    char text[256];
    cf_err err = cf_engines_choose(e, g, pass, context, &choice);
    if (err != CF_OK) print_error("%s\n", cf_err_text());
    assert_int_equal(err, CF_OK);
    cf_engine_choice_text(&choice, text, sizeof text);
    assert_string_equal(text, expected);
}

static void write_file(const char *path, const char *text)
{
    assert_int_equal(cf_file_save(path, text, strlen(text)), CF_OK);
}

static void assert_content(const char *path, const char *expected)
{
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(cf_file_read(path, 1 << 20, &text, &n), CF_OK);
    assert_string_equal(text, expected);
    free(text);
}

/* ---- rule ---- */

static void rule_is_own_tensor_core_kernel_then_plan_then_direct(void **state)
{
    (void)state;
    cf_engines *e = open_engines(NULL, false);
    play.direct.supports = true;
    assert_chosen(e, &SHAPE_F32, CF_CONV_FORWARD, &PLAIN, "direct");
    play.n_plans = 2;
    assert_chosen(e, &SHAPE, CF_CONV_FORWARD, &PLAIN, "cudnn engine 0 knobs none");
    play.gemm.supports = true;
    assert_chosen(e, &SHAPE, CF_CONV_DATA, &PLAIN, "gemm");
    play.slab.supports = true;
    assert_chosen(e, &SHAPE, CF_CONV_WEIGHTS, &PLAIN, "slab");
    cf_engines_destroy(e);
    assert_int_equal(play.plans_alive, 0);
}

static void shape_without_engine_is_named(void **state)
{
    (void)state;
    cf_engine_choice choice;
    cf_engines *e = open_engines(NULL, false);
    assert_int_equal(cf_engines_choose(e, &SHAPE, CF_CONV_DATA, &PLAIN, &choice), CF_E_DEVICE);
    assert_string_equal(cf_err_text(),
                        "no engine for the data pass of a convolution 9x7x8 -> 5x4x16, kernel 3, "
                        "stride 2, groups 1, batch 2, bf16");
    cf_engines_destroy(e);
}

static void same_question_gets_the_same_plan(void **state)
{
    (void)state;
    cf_engine_choice first, again;
    cf_engines *e = open_engines(NULL, false);
    play.n_plans = 1;
    play.plan_workspace = 4096;
    assert_int_equal(cf_engines_choose(e, &SHAPE, CF_CONV_WEIGHTS, &PLAIN, &first), CF_OK);
    assert_int_equal(cf_engines_choose(e, &SHAPE, CF_CONV_WEIGHTS, &PLAIN, &again), CF_OK);
    assert_ptr_equal(first.plan, again.plan);
    assert_int_equal(first.parts, 1);
    assert_int_equal(first.workspace, 4096);
    assert_int_equal(play.plans_alive, 1);
    cf_engines_destroy(e);
    assert_int_equal(play.plans_alive, 0);
}

/* ---- time ---- */

static void candidate_that_fails_is_dropped(void **state)
{
    (void)state;
    cf_engines *e = open_engines(NULL, true);
    play.slab.supports = play.gemm.supports = true;
    play.slab.fails = play.gemm.fails = play.plans[0].fails = true;
    play.n_plans = 2;
    assert_chosen(e, &SHAPE, CF_CONV_FORWARD, &PLAIN, "cudnn engine 1 knobs none");
    assert_int_equal(play.plans_alive, 1);
    assert_true(play.slab.runs > 0 && play.gemm.runs > 0 && play.plans[0].runs > 0);
    cf_engines_destroy(e);
}

static void all_failing_is_an_error_with_the_last_text(void **state)
{
    (void)state;
    cf_engine_choice choice;
    cf_engines *e = open_engines(NULL, true);
    play.slab.supports = play.gemm.supports = true;
    play.slab.fails = play.gemm.fails = true;
    assert_int_equal(cf_engines_choose(e, &SHAPE, CF_CONV_FORWARD, &PLAIN, &choice), CF_E_DEVICE);
    assert_non_null(strstr(cf_err_text(), "gemm was told to fail"));
    assert_non_null(strstr(cf_err_text(), "9x7x8 -> 5x4x16"));
    cf_engines_destroy(e);
}

/* 10^15 bytes take hours at any rate, so the clock cannot decide otherwise. */
static void engine_that_cannot_fuse_pays_for_the_extra_passes(void **state)
{
    (void)state;
    const cf_engine_context dear = {(size_t)1000000000000000, true, true};
    cf_engines *e = open_engines(NULL, true);
    play.n_plans = 3;
    play.gemm.supports = true;
    assert_chosen(e, &SHAPE, CF_CONV_FORWARD, &dear, "gemm");
    assert_true(play.plans[0].runs > 5 && play.plans[2].runs > 5);
    cf_engines_destroy(e);
    assert_int_equal(play.plans_alive, 0);
}

static void direct_kernel_is_timed_in_fp32_only(void **state)
{
    (void)state;
    cf_engines *e = open_engines(NULL, true);
    play.n_plans = 1;
    play.direct.supports = true;
    assert_chosen(e, &SHAPE, CF_CONV_FORWARD, &PLAIN, "cudnn engine 0 knobs none");
    assert_int_equal(play.direct.runs, 0);
    play.plans[0].fails = true;
    assert_chosen(e, &SHAPE_F32, CF_CONV_FORWARD, &PLAIN, "direct");
    assert_true(play.direct.runs > 5);
    cf_engines_destroy(e);
}

static void fused_engine_is_timed_with_all_that_it_fuses(void **state)
{
    (void)state;
    static const cf_dtype DTYPES[] = {CF_BF16, CF_F16};
    for (int d = 0; d < 2; d++)
        for (int pass = CF_CONV_FORWARD; pass <= CF_CONV_WEIGHTS; pass++) {
            cf_geometry g = SHAPE;
            cf_engines *e = open_engines(NULL, true);
            g.dtype = DTYPES[d];
            reset(NULL);
            play.slab.supports = play.gemm.supports = true;
            play.gemm.looks = true;
            play.slab.fails = true; /* two candidates, so that there is something to time */
            assert_chosen(e, &g, (cf_conv_pass)pass, &FUSED, "gemm");
            assert_true(play.gemm.runs > 5);
            assert_int_equal(play.last.pass, pass);
            cf_engines_destroy(e);
        }
}

/* ---- file ---- */

static void tuned_choice_is_read_back(void **state)
{
    (void)state;
    const char *path = in_folder("engines");
    const char *expected = "cytofold engines 1\nH100, cuDNN 9.19.0\tforward view sums\tbf16\t"
                           "2 9 7 8 16 5 4 3 2 1 1 1\tcudnn engine 0 knobs none\n";
    cf_engines *e = open_engines(path, true);
    play.slab.supports = true;
    play.slab.fails = true;
    play.n_plans = 1;
    assert_chosen(e, &SHAPE, CF_CONV_FORWARD, &FUSED, "cudnn engine 0 knobs none");
    assert_int_equal(cf_engines_save(e), CF_OK);
    cf_engines_destroy(e);
    assert_content(path, expected);
    play.slab.runs = play.plans[0].runs = 0;
    e = open_engines(path, false); /* the rule would say slab */
    assert_chosen(e, &SHAPE, CF_CONV_FORWARD, &FUSED, "cudnn engine 0 knobs none");
    assert_chosen(e, &SHAPE, CF_CONV_FORWARD, &PLAIN, "slab"); /* by rule: not written */
    assert_int_equal(cf_engines_save(e), CF_OK);
    assert_content(path, expected);
    cf_engines_destroy(e);
    assert_int_equal(play.slab.runs + play.plans[0].runs, 0);
    assert_int_equal(play.plans_alive, 0);
}

static void lines_of_others_are_kept(void **state)
{
    (void)state;
    const char *path = in_folder("shared");
    const char *other = "A100\tdata\tfp16\t1 2 3 4 5 6 7 8 9 10 11 1\tkernel slab\n";
    char text[1024];
    cf_engines *first = open_engines(path, true), *second = open_engines(path, true);
    play.gemm.supports = true;
    assert_chosen(first, &SHAPE, CF_CONV_FORWARD, &PLAIN, "gemm");
    assert_chosen(second, &SHAPE, CF_CONV_DATA, &PLAIN, "gemm");
    snprintf(text, sizeof text, "cytofold engines 1\n%s", other);
    write_file(path, text);
    assert_int_equal(cf_engines_save(second), CF_OK);
    assert_int_equal(cf_engines_save(first), CF_OK);
    snprintf(text, sizeof text,
             "cytofold engines 1\n%s"
             "H100, cuDNN 9.19.0\tdata\tbf16\t2 9 7 8 16 5 4 3 2 1 1 1\tkernel gemm\n"
             "H100, cuDNN 9.19.0\tforward\tbf16\t2 9 7 8 16 5 4 3 2 1 1 1\tkernel gemm\n",
             other);
    assert_content(path, text);
    cf_engines_destroy(second);
    cf_engines_destroy(first);
}

static void damaged_file_is_named_with_its_line(void **state)
{
    (void)state;
#define GOOD "D\tdata\tbf16\t" ONES "\tkernel slab\n"
#define HEAD "cytofold engines 1\n"
#define ONES "1 2 3 4 5 6 7 8 9 10 11 1"
    static const struct {
        const char *text, *message;
    } CASES[] = {
        {"", ":1: the line is cut off"},
        {"cytofold engines 2\n", ":1: 'cytofold engines 2', expected 'cytofold engines 1'"},
        {HEAD GOOD GOOD, ":3: the same shape as in line 2"},
        {HEAD "D\tdata\tbf16\t1 2 3\tkernel slab\n", ":2: the fourth field is not a shape"},
        {HEAD "D\tdata\tbf16\t1 2 3 4 5 6 7 8 9 10 11 x\tkernel slab\n", ":2: the fourth field"},
        {HEAD GOOD "D\tdata\tbf16\t1 2 3 4 5 6 7 8 9 10 12 1\tkern", ":3: the line is cut off"},
        {HEAD "D\tdata\tbf17\t1 2 3 4 5 6 7 8 9 10 11 1\tkernel slab\n", ":2: the third field"},
        {HEAD "D\tdate\tbf16\t1 2 3 4 5 6 7 8 9 10 11 1\tkernel slab\n", ":2: the second field"},
        {HEAD "D\tdata\tbf16\t1 2 3 4 5 6 7 8 9 10 11 1\tfast\n", ":2: the fifth field"},
        {HEAD "\n", ":2: expected five fields"},
        {HEAD "\tdata\tbf16\t1 2 3 4 5 6 7 8 9 10 11 1\tkernel slab\n", ":2: a field is empty"},
    };
    const char *path = in_folder("damaged");
    cf_engines_options o = {path, "D", false, true, 0};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cf_engines *e = NULL;
        char expected[CF_PATH_MAX + 128];
        write_file(path, CASES[i].text);
        assert_int_equal(cf_engines_create(NULL, NULL, &o, &e), CF_E_DATA);
        assert_null(e);
        snprintf(expected, sizeof expected, "%s%s", path, CASES[i].message);
        if (!strstr(cf_err_text(), expected)) print_error("case %zu: %s\n", i, cf_err_text());
        assert_non_null(strstr(cf_err_text(), expected));
    }
}

static void assert_refused(const char *engine, cf_err code, const char *message)
{
    const char *path = in_folder("refused");
    cf_engine_choice choice;
    char text[512];
    snprintf(text, sizeof text,
             "cytofold engines 1\n"
             "H100, cuDNN 9.19.0\tforward\tbf16\t2 9 7 8 16 5 4 3 2 1 1 1\t%s\n",
             engine);
    write_file(path, text);
    cf_engines *e = open_engines(path, true);
    assert_int_equal(cf_engines_choose(e, &SHAPE, CF_CONV_FORWARD, &PLAIN, &choice), code);
    assert_non_null(strstr(cf_err_text(), "refused:2: "));
    assert_non_null(strstr(cf_err_text(), message));
    cf_engines_destroy(e);
    assert_int_equal(play.plans_alive, 0);
}

/* A run's bits hang on the choice: one that cannot be had again must not be replaced silently. */
static void written_choice_that_cannot_be_had_is_an_error(void **state)
{
    (void)state;
    play.direct.supports = true;
    play.n_plans = 1;
    assert_refused("kernel slab", CF_E_DATA, "kernel 'slab' does not support this shape");
    assert_refused("kernel fast", CF_E_DATA, "kernel 'fast', expected slab, gemm or direct");
    assert_refused("cudnn engine 9 knobs none", CF_E_DEVICE, "no such plan");
    play.plan_workspace = 1 << 21;
    assert_refused("cudnn engine 0 knobs none", CF_E_DEVICE,
                   "takes 2097152 bytes of workspace, expected at most 1048576");
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"engines", "shared", "damaged", "refused"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) (void)unlink(in_folder(NAMES[i]));
    return rmdir(folder);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        TEST(rule_is_own_tensor_core_kernel_then_plan_then_direct),
        TEST(shape_without_engine_is_named),
        TEST(same_question_gets_the_same_plan),
        TEST(candidate_that_fails_is_dropped),
        TEST(all_failing_is_an_error_with_the_last_text),
        TEST(engine_that_cannot_fuse_pays_for_the_extra_passes),
        TEST(direct_kernel_is_timed_in_fp32_only),
        TEST(fused_engine_is_timed_with_all_that_it_fuses),
        TEST(tuned_choice_is_read_back),
        TEST(lines_of_others_are_kept),
        TEST(damaged_file_is_named_with_its_line),
        TEST(written_choice_that_cannot_be_had_is_an_error),
    };
    cf_log_setup(CF_LOG_QUIET, -1);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
