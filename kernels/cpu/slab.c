#include "kernels/cpu/slab.h"

#include <string.h>

#include "kernels/cpu/simd.h"

cf_slab cf_slab_plan(int64_t c, int64_t k, int groups, int kernel, int wanted)
{
    cf_slab s = {.k = k,
                 .area = (int64_t)kernel * kernel,
                 .c_group = c / groups,
                 .k_group = k / groups,
                 .merged = 1};
    if (groups == 1 || s.c_group >= wanted) return s;
    for (int width = wanted; width >= 16; width /= 2) {
        for (int m = 1; m <= groups; m++) {
            if (groups % m == 0 && m * s.c_group % width == 0 && m * s.c_group <= 2 * wanted) {
                s.merged = m;
                return s;
            }
        }
    }
    if (c <= 2 * wanted) s.merged = groups; /* odd counts: one dense convolution */
    return s;
}

int64_t cf_slab_elements(const cf_slab *s)
{
    return s->k * s->area * s->c_group * s->merged;
}

static void narrow(const float *in, int64_t n, uint16_t *out)
{
    int64_t i = 0;
    for (; i + CF_LANES <= n; i += CF_LANES)
        cf_vec_store(out, i, CF_BF16, cf_vec_load(in, i, CF_F32));
    if (i < n) {
        int lanes = (int)(n - i);
        cf_vec_store_part(out, i, CF_BF16, lanes, cf_vec_load_part(in, i, CF_F32, lanes));
    }
}

static void convert(const float *in, int64_t n, cf_dtype dtype, void *out, int64_t at)
{
    if (dtype == CF_BF16) {
        narrow(in, n, (uint16_t *)out + at);
    } else {
        memcpy((float *)out + at, in, (size_t)n * sizeof *in);
    }
}

void cf_slab_expand(const cf_slab *s, const float *filter, cf_dtype dtype, void *out)
{
    if (s->merged == 1) {
        int64_t row = s->area * s->c_group;
#pragma omp parallel for schedule(static) if (s->k * row > 1 << 16)
        for (int64_t k = 0; k < s->k; k++) convert(filter + k * row, row, dtype, out, k * row);
        return;
    }
    int64_t width = s->c_group * s->merged;
    memset(out, 0, (size_t)cf_slab_elements(s) * cf_dtype_bytes(dtype));
    for (int64_t k = 0; k < s->k; k++) {
        int64_t own = k / s->k_group % s->merged * s->c_group;
        for (int64_t i = k * s->area; i < (k + 1) * s->area; i++)
            convert(filter + i * s->c_group, s->c_group, dtype, out, i * width + own);
    }
}

void cf_slab_extract(const cf_slab *s, const float *expanded, float *filter)
{
    int64_t width = s->c_group * s->merged;
    for (int64_t k = 0; k < s->k; k++) {
        int64_t own = k / s->k_group % s->merged * s->c_group;
        for (int64_t i = k * s->area; i < (k + 1) * s->area; i++)
            memcpy(filter + i * s->c_group, expanded + i * width + own,
                   (size_t)s->c_group * sizeof *filter);
    }
}
