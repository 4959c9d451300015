/* Images on their way into the network: augmentation from stored bytes, conversions.
 *
 * A thread makes one pixel and writes its channels together; the four neighbours it reads lie in
 * the cache that its block's neighbours fill. Formulas: kernels/math/augment.h. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/lanes.cuh"
#include "kernels/math/augment.h"

enum { THREADS = 256 };

/* Pixel `at` of [.., c_stored]: n values, then zeros. */
template <typename T>
__device__ static void store_pixel(T *out, int64_t at, int c_stored, const float *x, int n)
{
    if (c_stored == 4) {
        cf_lanes<T, 4> p;
        for (int c = 0; c < 4; c++) cf_from_float(c < n ? x[c] : 0.0f, &p.v[c]);
        *cf_lanes_of<4>(out, at) = p;
    } else {
        for (int c = 0; c < c_stored; c++)
            cf_from_float(c < n ? x[c] : 0.0f, &out[at * c_stored + c]);
    }
}

template <typename T>
__global__ static void __launch_bounds__(THREADS)
    augment_kernel(const cf_cuda_image *images, int n, cf_normalize normalize, int size,
                   int c_stored, T *out)
{
    int i = (int)(blockIdx.x * THREADS + threadIdx.x), slot = (int)blockIdx.y;
    if (i >= size * size) return;
    float pixel[3] = {0.0f, 0.0f, 0.0f};
    if (slot < n) {
        const cf_cuda_image *image = &images[slot];
        cf_augment t = image->augment;
        cf_augment_source s = cf_augment_source_of(image->pixels, image->height, image->width, &t);
        cf_augment_pixel(&s, &t, &normalize, i % size, i / size, pixel);
    }
    store_pixel(out, (int64_t)slot * size * size + i, c_stored, pixel, 3);
}

template <typename T>
static cf_err augment(cudaStream_t stream, const cf_cuda_image *images, int n, int n_slots,
                      const cf_normalize *normalize, int size, int c_stored, void *out)
{
    dim3 grid(cf_blocks((int64_t)size * size, THREADS), (unsigned)n_slots);
    CF_LAUNCH(augment_kernel<T>, grid, THREADS, 0, stream, images, n, *normalize, size, c_stored,
              static_cast<T *>(out));
    return cf_cuda_check(cudaGetLastError(), "augmentation");
}

cf_err cf_cuda_augment(cudaStream_t stream, const cf_cuda_image *images, int n, int n_slots,
                       const cf_normalize *normalize, int size, cf_dtype dtype, int c_stored,
                       void *out)
{
    if (n_slots == 0) return CF_OK;
    return CF_BY_DTYPE(dtype, augment, stream, images, n, n_slots, normalize, size, c_stored, out);
}

template <typename T>
__global__ static void __launch_bounds__(THREADS)
    convert_kernel(const float *in, int64_t rows, int c, int c_stored, T *out)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c_stored == 4) { /* a row each */
        if (i >= rows) return;
        float x[4];
        for (int k = 0; k < 4; k++) x[k] = k < c ? in[i * c + k] : 0.0f;
        store_pixel(out, i, 4, x, 4);
    } else if (i < rows * c_stored) {
        int64_t row = i / c_stored, k = i % c_stored;
        cf_from_float(k < c ? in[row * c + k] : 0.0f, &out[i]);
    }
}

template <typename T>
static cf_err convert(cudaStream_t stream, const float *in, int64_t rows, int c, int c_stored,
                      void *out)
{
    int64_t work = c_stored == 4 ? rows : rows * c_stored;
    CF_LAUNCH(convert_kernel<T>, cf_blocks(work, THREADS), THREADS, 0, stream, in, rows, c,
              c_stored, static_cast<T *>(out));
    return cf_cuda_check(cudaGetLastError(), "conversion of images");
}

cf_err cf_cuda_convert(cudaStream_t stream, const float *in, int64_t rows, int c, cf_dtype dtype,
                       int c_stored, void *out)
{
    if (rows == 0) return CF_OK;
    return CF_BY_DTYPE(dtype, convert, stream, in, rows, c, c_stored, out);
}

template <typename T>
__global__ static void __launch_bounds__(THREADS) widen_kernel(const T *in, int64_t n, float *out)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) out[i] = cf_to_float(in[i]);
}

template <typename T>
static cf_err widen(cudaStream_t stream, const void *in, int64_t n, float *out)
{
    CF_LAUNCH(widen_kernel<T>, cf_blocks(n, THREADS), THREADS, 0, stream,
              static_cast<const T *>(in), n, out);
    return cf_cuda_check(cudaGetLastError(), "widening");
}

cf_err cf_cuda_widen(cudaStream_t stream, cf_dtype dtype, const void *in, int64_t n, float *out)
{
    if (n == 0) return CF_OK;
    return CF_BY_DTYPE(dtype, widen, stream, in, n, out);
}
