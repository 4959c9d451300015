/* Tensors in device memory for kernel tests: random ones, poisoned ones, and their values.
 *
 * Everything is freed by tensors_fini, which also finds writes past an end (the shim's cudaFree
 * reports them). Read first: tensor_random. */
#ifndef CF_TESTS_CUDA_TENSORS_H
#define CF_TESTS_CUDA_TENSORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/kernels.h"
#include "kernels/math/half.h"
#include "kernels/math/philox.h"

enum { TENSORS_SEED = 31, TENSORS_MOST = 64 };

/* Device memory of one case. */
typedef struct tensors {
    void *memory[TENSORS_MOST];
    int n;
} tensors;

#define assert_cuda(call) assert_int_equal(call, cudaSuccess)

/* A message says more than a code. */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        cf_err assert_ok_ = (call);                                                                \
        if (assert_ok_ != CF_OK) fail_msg("%s: %s", #call, cf_err_text());                         \
    } while (0)

/* Room filled with bytes 0xFF: NaN in every type, all bits set in a mask. */
static inline void *tensor_room(tensors *t, size_t bytes)
{
    void *p = NULL;
    assert_true(t->n < TENSORS_MOST);
    assert_cuda(cudaMalloc(&p, bytes));
    assert_cuda(cudaMemset(p, 0xFF, bytes));
    t->memory[t->n++] = p;
    return p;
}

static inline void *tensor_copy(tensors *t, const void *from, size_t bytes)
{
    void *p = tensor_room(t, bytes);
    assert_cuda(cudaMemcpy(p, from, bytes, cudaMemcpyHostToDevice));
    return p;
}

static inline void tensors_fini(tensors *t)
{
    while (t->n > 0) assert_cuda(cudaFree(t->memory[--t->n]));
}

static inline float tensor_rounded(cf_dtype dtype, float x)
{
    if (dtype == CF_BF16) return cf_bf16_to_float(cf_bf16_from_float(x));
    return dtype == CF_F16 ? cf_f16_to_float(cf_f16_from_float(x)) : x;
}

/* Values as `dtype` stores them; `from` [n] becomes what was stored. */
static inline void *tensor_store(tensors *t, cf_dtype dtype, float *from, int64_t n)
{
    size_t bytes = (size_t)n * cf_dtype_bytes(dtype);
    for (int64_t i = 0; i < n; i++) from[i] = tensor_rounded(dtype, from[i]);
    if (dtype == CF_F32) return tensor_copy(t, from, bytes);
    uint16_t *bits = malloc(bytes);
    assert_non_null(bits);
    for (int64_t i = 0; i < n; i++)
        bits[i] = dtype == CF_BF16 ? cf_bf16_from_float(from[i]) : cf_f16_from_float(from[i]);
    void *p = tensor_copy(t, bits, bytes);
    free(bits);
    return p;
}

/* Device memory as numbers; the caller frees. */
static inline float *tensor_load(cf_dtype dtype, const void *from, int64_t n)
{
    float *out = malloc((size_t)n * sizeof *out);
    assert_non_null(out);
    size_t bytes = (size_t)n * cf_dtype_bytes(dtype);
    assert_cuda(cudaMemcpy(out, from, bytes, cudaMemcpyDeviceToHost));
    if (dtype == CF_F32) return out;
    for (int64_t i = n - 1; i >= 0; i--) { /* from the end: the halves lie in front */
        uint16_t bits;
        memcpy(&bits, (const char *)out + 2 * i, sizeof bits);
        out[i] = dtype == CF_BF16 ? cf_bf16_to_float(bits) : cf_f16_to_float(bits);
    }
    return out;
}

static inline void *tensor_bytes(const void *from, size_t bytes)
{
    void *out = malloc(bytes);
    assert_non_null(out);
    assert_cuda(cudaMemcpy(out, from, bytes, cudaMemcpyDeviceToHost));
    return out;
}

/* Host memory: uniform in [low, high). The caller frees. */
static inline float *tensor_random(uint32_t draw, int64_t n, float low, float high)
{
    cf_rng rng = cf_rng_at(TENSORS_SEED, 0, 0, draw, CF_PURPOSE_TEST);
    float *out = malloc((size_t)n * sizeof *out);
    assert_non_null(out);
    for (int64_t i = 0; i < n; i++) out[i] = low + (high - low) * cf_rng_uniform(&rng);
    return out;
}

/* Rounding of one stored value, relative: half a unit of the last place. */
static inline double tensor_unit(cf_dtype dtype)
{
    return dtype == CF_F32 ? 1.0 / 16777216.0 : dtype == CF_BF16 ? 1.0 / 256.0 : 1.0 / 2048.0;
}

/* The shim's order of threads, warps and blocks for the launches to come; 0 .. 2. A device ignores
 * it. Results must not depend on it. */
static inline void tensors_order(int i)
{
    static const char *const orders[] = {"forward", "reverse", "shuffle"};
    assert_int_equal(setenv("CF_SHIM_ORDER", orders[i], 1), 0);
}

static inline void assert_near(double found, double expected, double tolerance, const char *what,
                               int64_t at)
{
    double off = found - expected;
    if (!(off <= tolerance && -off <= tolerance))
        fail_msg("%s[%lld]: found %.9g, expected %.9g within %.3g (seed %d)", what, (long long)at,
                 found, expected, tolerance, TENSORS_SEED);
}

#endif
