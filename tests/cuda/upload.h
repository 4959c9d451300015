/* Arrays to the pretended device and back, for tests that include cmocka before this.
 * Read first: upload. */
#ifndef CF_TESTS_CUDA_UPLOAD_H
#define CF_TESTS_CUDA_UPLOAD_H

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/kernels.h"
#include "kernels/math/half.h"

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != CF_OK) fail_msg("%s: %s", #expr, cf_err_text());                             \
    } while (0)
#define CUDA_OK(expr) assert_int_equal((expr), cudaSuccess)

/* Device memory, owned by the caller (cudaFree). host NULL: NaN patterns. */
static inline void *upload(const void *host, size_t bytes)
{
    void *device = NULL;
    CUDA_OK(cudaMalloc(&device, bytes == 0 ? 1 : bytes));
    if (host != NULL) CUDA_OK(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
    return device;
}

static inline void download(void *host, const void *device, size_t bytes)
{
    CUDA_OK(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
}

static inline void *reserve(size_t bytes)
{
    void *p = calloc(1, bytes == 0 ? 1 : bytes);
    assert_non_null(p);
    return p;
}

/* x as an element of `dtype`, at element i of p. */
static inline void store_as(cf_dtype dtype, void *p, int64_t i, float x)
{
    if (dtype == CF_F32) {
        ((float *)p)[i] = x;
    } else {
        ((uint16_t *)p)[i] = dtype == CF_BF16 ? cf_bf16_from_float(x) : cf_f16_from_float(x);
    }
}

static inline float load_as(cf_dtype dtype, const void *p, int64_t i)
{
    if (dtype == CF_F32) return ((const float *)p)[i];
    uint16_t bits = ((const uint16_t *)p)[i];
    return dtype == CF_BF16 ? cf_bf16_to_float(bits) : cf_f16_to_float(bits);
}

#endif
