/* A micro-batch's tensors into the step's sum, and the flat weights into a program's copy. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernels/cpu/sums.h"
#include "kernels/cuda/kernels.h"
#include "upload.h"

enum { SEED = 22, RUNS = 8, MANY_PARTS = 16, TAIL = 5 /* elements after the tensor: the flag */ };

typedef struct tensor {
    int64_t n_parts, rows, c, c_stored, offset;
    cf_reduce reduce;
    int bits;
    float scale; /* 0: none */
} tensor;

static float spread(cf_rng *rng)
{
    return (cf_rng_uniform(rng) - 0.5f) * (cf_rng_below(rng, 4) == 0 ? 1e-6f : 3.0f);
}

/* The parts of one element in the order that sums.cu names. */
static float joined(const tensor *t, const float *values, int64_t stored, int64_t i)
{
    int64_t runs = t->n_parts >= MANY_PARTS ? RUNS : 1, each = (t->n_parts + runs - 1) / runs;
    float total = 0.0f;
    for (int64_t r = 0; r < runs; r++) {
        float run = 0.0f;
        for (int64_t p = r * each; p < (r + 1) * each && p < t->n_parts; p++)
            run += values[p * stored + i];
        total = r == 0 ? run : total + run;
    }
    return t->scale != 0.0f ? total / t->scale : total;
}

typedef struct job {
    const tensor *t;
    int64_t n, stored, total; /* elements: of the tensor, with padding, of the sums */
    size_t bytes;             /* of the sums */
    float *values;            /* host, [n_parts][stored]; padding is NaN */
    void *sums;               /* host, [total] */
    cf_rng rng;
} job;

static job job_of(const tensor *t)
{
    job j = {.t = t, .n = t->rows * t->c, .stored = t->rows * t->c_stored};
    j.rng = cf_rng_at(SEED, 0, 0, (uint32_t)t->n_parts, CF_PURPOSE_TEST);
    j.total = t->offset + j.n + TAIL;
    j.bytes = (size_t)j.total * (t->reduce == CF_REDUCE_EXACT ? 8 : 4);
    j.values = reserve((size_t)(t->n_parts * j.stored) * 4);
    j.sums = reserve(j.bytes);
    for (int64_t i = 0; i < t->n_parts * j.stored; i++)
        j.values[i] = i % t->c_stored < t->c ? spread(&j.rng) : NAN;
    for (int64_t i = 0; i < j.total; i++) {
        if (t->reduce == CF_REDUCE_EXACT) {
            ((int64_t *)j.sums)[i] = (int64_t)cf_rng_u32(&j.rng) << 8;
        } else {
            ((float *)j.sums)[i] = spread(&j.rng);
        }
    }
    return j;
}

/* What the CPU makes of the joined parts, on a copy of the sums; owned by the caller. */
static void *expected_sums(const job *j)
{
    void *sums = reserve(j->bytes);
    float *flat = reserve((size_t)j->n * 4);
    memcpy(sums, j->sums, j->bytes);
    for (int64_t i = 0; i < j->stored; i++) {
        int64_t row = i / j->t->c_stored, c = i % j->t->c_stored;
        if (c < j->t->c) flat[row * j->t->c + c] = joined(j->t, j->values, j->stored, i);
    }
    assert_true(cf_sums_add(sums, j->t->reduce, j->t->bits, j->t->offset, j->n, flat));
    free(flat);
    return sums;
}

/* Adds j's values on the device; *fault: before, and after. */
static void add_on_device(job *j, int32_t *fault, int32_t number)
{
    const tensor *t = j->t;
    void *values = upload(j->values, (size_t)(t->n_parts * j->stored) * 4);
    void *sums = upload(j->sums, j->bytes), *scale = upload(&t->scale, 4);
    cf_cuda_fault *first = upload(fault, sizeof *fault);
    cf_cuda_sum s = {.values = values,
                     .n_parts = t->n_parts,
                     .n_stored = j->stored,
                     .n = j->n,
                     .c = t->c,
                     .c_stored = t->c_stored,
                     .scale = t->scale != 0.0f ? scale : NULL,
                     .sums = sums,
                     .offset = t->offset,
                     .flag = j->total - 1,
                     .reduce = t->reduce,
                     .bits = t->bits,
                     .fault = first,
                     .number = number};
    OK(cf_cuda_sums_add(NULL, &s));
    download(j->sums, sums, j->bytes);
    download(fault, first, sizeof *fault);
    CUDA_OK(cudaFree(values));
    CUDA_OK(cudaFree(sums));
    CUDA_OK(cudaFree(scale));
    CUDA_OK(cudaFree(first));
}

static void check(const tensor *t)
{
    job j = job_of(t);
    void *expected = expected_sums(&j);
    int32_t fault = INT32_MAX;
    add_on_device(&j, &fault, 1);
    assert_int_equal(fault, INT32_MAX);
    if (memcmp(j.sums, expected, j.bytes) != 0)
        fail_msg("%d parts of %d x %d (stored %d) at %d, reduce %d: other bits than the CPU's",
                 (int)t->n_parts, (int)t->rows, (int)t->c, (int)t->c_stored, (int)t->offset,
                 (int)t->reduce);
    free(expected);
    free(j.values);
    free(j.sums);
}

/* Elements before and after the tensor are compared too. */
static void sums_have_the_bits_of_the_cpu(void **state)
{
    (void)state;
    static const int64_t parts[] = {1, 3, 15, 16, 37};
    static const int64_t shapes[][3] = {{1, 1, 1}, {5, 3, 4}, {64, 8, 8}, {333, 1, 1}, {9, 5, 8}};
    for (int reduce = CF_REDUCE_EXACT; reduce <= CF_REDUCE_FAST; reduce++)
        for (int p = 0; p < 5; p++)
            for (int s = 0; s < 5; s++)
                for (int64_t offset = 0; offset < 3; offset++) {
                    tensor t = {parts[p],
                                shapes[s][0],
                                shapes[s][1],
                                shapes[s][2],
                                offset,
                                (cf_reduce)reduce,
                                offset == 2 ? CF_EXACT_STATE_BITS : CF_EXACT_GRAD_BITS,
                                offset == 1   ? 1024.0f
                                : offset == 2 ? 0.125f
                                              : 0.0f};
                    check(&t);
                }
}

/* Enough elements for wide loads, in few and in many parts; odd offsets forbid them. */
static void large_tensors_have_the_bits_of_the_cpu(void **state)
{
    (void)state;
    for (int reduce = CF_REDUCE_EXACT; reduce <= CF_REDUCE_FAST; reduce++)
        for (int64_t offset = 0; offset < 5; offset += 2) {
            tensor t = {offset == 0 ? 17 : 2, 1057, 128, 128, offset, (cf_reduce)reduce,
                        CF_EXACT_GRAD_BITS,   0.0f};
            check(&t);
        }
}

/* `value` at stored element `at` of the last part. */
static void check_fault(const tensor *t, int64_t at, float value, int32_t before, int32_t after)
{
    job j = job_of(t);
    void *expected = expected_sums(&j);
    j.values[(t->n_parts - 1) * j.stored + at] = value;
    size_t each = j.bytes / (size_t)j.total, skipped = (size_t)(t->offset + at) * each;
    memcpy((char *)expected + skipped, (char *)j.sums + skipped, each);
    if (t->reduce == CF_REDUCE_EXACT) {
        ((int64_t *)expected)[j.total - 1] = 1;
    } else {
        ((float *)expected)[j.total - 1] = 1.0f;
    }
    int32_t fault = before;
    add_on_device(&j, &fault, 7);
    assert_int_equal(fault, after);
    assert_memory_equal(j.sums, expected, j.bytes); /* the bad element is left as it was */
    free(expected);
    free(j.values);
    free(j.sums);
}

static void bad_values_raise_the_flag_and_are_left_out(void **state)
{
    (void)state;
    for (int reduce = CF_REDUCE_EXACT; reduce <= CF_REDUCE_FAST; reduce++) {
        tensor t = {1, 100, 3, 3, 1, (cf_reduce)reduce, CF_EXACT_GRAD_BITS, 0.0f};
        check_fault(&t, 299, NAN, INT32_MAX, 7);
        check_fault(&t, 0, -INFINITY, INT32_MAX, 7);
        check_fault(&t, 17, nextafterf(CF_EXACT_GRAD_LIMIT, INFINITY), 12, 7);
        check_fault(&t, 17, -9000.0f, 3, 3); /* something earlier had gone wrong before */
        t.bits = CF_EXACT_STATE_BITS;
        check_fault(&t, 17, 3e6f, INT32_MAX, 7);
        t.n_parts = 20;
        check_fault(&t, 5, NAN, INT32_MAX, 7);
    }
}

static void values_at_the_limit_are_added(void **state)
{
    (void)state;
    tensor t = {1, 10, 1, 1, 0, CF_REDUCE_EXACT, CF_EXACT_GRAD_BITS, 0.0f};
    job j = job_of(&t);
    j.values[4] = CF_EXACT_GRAD_LIMIT;
    j.values[5] = -CF_EXACT_GRAD_LIMIT;
    void *expected = expected_sums(&j);
    int32_t fault = INT32_MAX;
    add_on_device(&j, &fault, 1);
    assert_int_equal(fault, INT32_MAX);
    assert_memory_equal(j.sums, expected, j.bytes);
    free(expected);
    free(j.values);
    free(j.sums);
}

enum { SHORTS = 500, TARGETS = 1300 };

/* Values to targets 2 i + 3, or one after the other; every seventh belongs to the next tensor. */
static void check_scatter(cf_reduce reduce, bool targets, int bad)
{
    tensor t = {1, TARGETS, 1, 1, 0, reduce, CF_EXACT_STATE_BITS, 0.0f};
    job j = job_of(&t);
    int64_t to[SHORTS];
    int32_t numbers[SHORTS], fault = INT32_MAX;
    float values[SHORTS], scale = 4.0f;
    void *expected = reserve(j.bytes);
    memcpy(expected, j.sums, j.bytes);
    for (int i = 0; i < SHORTS; i++) {
        to[i] = targets ? 2 * i + 3 : 5 + i;
        numbers[i] = 10 + i / 7;
        values[i] = i == bad ? NAN : spread(&j.rng);
        float x = values[i] / scale;
        if (i != bad) assert_true(cf_sums_add(expected, reduce, t.bits, to[i], 1, &x));
    }
    if (bad >= 0 && reduce == CF_REDUCE_EXACT) ((int64_t *)expected)[j.total - 1] = 1;
    if (bad >= 0 && reduce == CF_REDUCE_FAST) ((float *)expected)[j.total - 1] = 1.0f;
    void *d[] = {upload(values, sizeof values),   upload(to, sizeof to),
                 upload(numbers, sizeof numbers), upload(&scale, sizeof scale),
                 upload(j.sums, j.bytes),         upload(&fault, sizeof fault)};
    cf_cuda_scatter s = {d[0], SHORTS, targets ? d[1] : NULL, 5,      d[2],
                         d[3], d[4],   j.total - 1,           reduce, t.bits,
                         d[5]};
    OK(cf_cuda_sums_scatter(NULL, &s));
    download(j.sums, d[4], j.bytes);
    download(&fault, d[5], sizeof fault);
    assert_int_equal(fault, bad < 0 ? INT32_MAX : 10 + bad / 7);
    assert_memory_equal(j.sums, expected, j.bytes);
    for (size_t i = 0; i < sizeof d / sizeof *d; i++) CUDA_OK(cudaFree(d[i]));
    free(expected);
    free(j.values);
    free(j.sums);
}

static void scattered_values_have_the_bits_of_the_cpu(void **state)
{
    (void)state;
    for (int reduce = CF_REDUCE_EXACT; reduce <= CF_REDUCE_FAST; reduce++) {
        check_scatter((cf_reduce)reduce, true, -1);
        check_scatter((cf_reduce)reduce, false, -1);
        check_scatter((cf_reduce)reduce, true, 499);
    }
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_have_the_bits_of_the_cpu),
        cmocka_unit_test(large_tensors_have_the_bits_of_the_cpu),
        cmocka_unit_test(bad_values_raise_the_flag_and_are_left_out),
        cmocka_unit_test(values_at_the_limit_are_added),
        cmocka_unit_test(scattered_values_have_the_bits_of_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
