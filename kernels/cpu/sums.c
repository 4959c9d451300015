#include "kernels/cpu/sums.h"

#include <math.h>

#include "kernels/cpu/simd.h"
#include "kernels/math/fixed.h"

typedef double dvec __attribute__((vector_size(64)));
typedef int64_t lvec __attribute__((vector_size(64)));
typedef float fvec __attribute__((vector_size(32)));
enum { HALF = 8, PART = 1 << 15 };

/* The vector form of cf_fixed_of_float: to the nearest even integer. */
CF_INLINE lvec round_to_int(dvec x)
{
#ifdef __AVX512DQ__
    return (lvec)_mm512_cvtpd_epi64((__m512d)x);
#else
    lvec out;
    for (int i = 0; i < HALF; i++) out[i] = llrint(x[i]);
    return out;
#endif
}

/* Elements i .. i+15; the mask gets the lanes that are out of range. */
CF_INLINE cf_ivec add_exact(int64_t *sums, const float *values, int64_t i, double scale,
                            float limit)
{
    cf_vec g = cf_vec_load(values, i, CF_F32);
    fvec half[2];
    memcpy(half, &g, sizeof half);
    for (int h = 0; h < 2; h++) {
        lvec sum, add = round_to_int(__builtin_convertvector(half[h], dvec) * scale);
        memcpy(&sum, sums + i + h * HALF, sizeof sum);
        sum += add;
        memcpy(sums + i + h * HALF, &sum, sizeof sum);
    }
    return ~((g <= limit) & (g >= -limit)); /* a NaN compares false */
}

static bool exact_part(int64_t *sums, const float *values, int64_t n, double scale, float limit)
{
    cf_ivec bad = {0};
    int64_t i = 0;
    for (; i + CF_LANES <= n; i += CF_LANES) bad |= add_exact(sums, values, i, scale, limit);
    bool ok = true;
    for (int l = 0; l < CF_LANES; l++) ok = ok && bad[l] == 0;
    for (; i < n; i++) {
        if (!cf_fixed_fits(values[i], limit)) return false;
        sums[i] += cf_fixed_of_float(values[i], scale);
    }
    return ok;
}

static bool fast_part(float *sums, const float *values, int64_t n, float limit)
{
    int bad = 0;
    for (int64_t i = 0; i < n; i++) {
        bad |= !cf_fixed_fits(values[i], limit);
        sums[i] += values[i];
    }
    return !bad;
}

bool cf_sums_add(void *sums, cf_reduce reduce, int bits, int64_t offset, int64_t n,
                 const float *values)
{
    float limit = bits == CF_EXACT_GRAD_BITS ? CF_EXACT_GRAD_LIMIT : CF_EXACT_STATE_LIMIT;
    double scale = ldexp(1.0, bits);
    int bad = 0;
#pragma omp parallel for schedule(static) reduction(| : bad) if (n > PART)
    for (int64_t p = 0; p < (n + PART - 1) / PART; p++) {
        int64_t at = p * PART, count = n - at < PART ? n - at : PART;
        bool ok = reduce == CF_REDUCE_EXACT
                      ? exact_part((int64_t *)sums + offset + at, values + at, count, scale, limit)
                      : fast_part((float *)sums + offset + at, values + at, count, limit);
        bad |= !ok;
    }
    return !bad;
}
