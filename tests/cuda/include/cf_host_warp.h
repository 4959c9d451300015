/* The warp-wide instructions of kernels/cuda/warp.cuh for fibers; the layouts are written there. */
#ifndef CF_TESTS_CUDA_HOST_WARP_H
#define CF_TESTS_CUDA_HOST_WARP_H

#include "kernels/cuda/device.cuh"

namespace cf_host {
struct product {
    float *c;
    const uint32_t *a, *b;
};
void combine_product_bf16(void *const operands[32], uint32_t mask);
void combine_product_f16(void *const operands[32], uint32_t mask);

struct matrix_rows {
    uint32_t *r;
    const void *row;
};
void combine_rows(void *const operands[32], uint32_t mask);
void combine_rows_trans(void *const operands[32], uint32_t mask);
void load_rows(uint32_t r[4], const void *row, bool trans);

/* Copies are put off until the thread waits for their group, and what they will replace is
 * poisoned at once: a missing wait, or a reader that has not finished, shows as NaN. */
void copy_later(void *to, const void *from, bool valid);
void copy_commit();
void copy_wait(int n);
} // namespace cf_host

/* Products are exact; the sixteen of them and c are added in double and rounded once to fp32. The
 * device's tensor cores truncate on the way: compare with a tolerance. */
template <typename T>
static inline void cf_mma(float c[4], const uint32_t a[4], const uint32_t b[2]);

template <> inline void cf_mma<cf_bf16>(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    cf_host::product p = {c, a, b};
    cf_host::meet("mma bf16", 0xFFFFFFFFu, &p, cf_host::combine_product_bf16);
}

template <> inline void cf_mma<cf_f16>(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    cf_host::product p = {c, a, b};
    cf_host::meet("mma fp16", 0xFFFFFFFFu, &p, cf_host::combine_product_f16);
}

static inline void cf_ldmatrix_x4(uint32_t r[4], const void *row)
{
    cf_host::load_rows(r, row, false);
}

static inline void cf_ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
    cf_host::load_rows(r, row, true);
}

static inline void cf_copy_async_16(void *to, const void *from, bool valid)
{
    cf_host::copy_later(to, from, valid);
}
static inline void cf_copy_commit()
{
    cf_host::copy_commit();
}
template <int N> static inline void cf_copy_wait()
{
    cf_host::copy_wait(N);
}

#endif
