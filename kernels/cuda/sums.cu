/* A micro-batch's tensors into the step's sum.
 *
 * A tensor that came in many parts has few elements (a filter of a thin layer), so parts are cut
 * into ROWS runs, one a row of the block: each run is added up in order, then the runs are. The cut
 * follows from n_parts alone. Formulas: kernels/math/fixed.h. */
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/lanes.cuh"
#include "kernels/math/fixed.h"

enum { THREADS = 256, ROWS = 8, MANY_PARTS = 16 };

/* Sum of this row's run of parts, stored elements V i .. V i + V - 1. */
template <int V> __device__ static cf_lanes<float, V> run_sum(const cf_cuda_sum &t, int64_t i)
{
    int64_t each = (t.n_parts + blockDim.y - 1) / blockDim.y, first = threadIdx.y * each;
    int64_t end = first + each < t.n_parts ? first + each : t.n_parts;
    cf_lanes<float, V> sum = {};
#pragma unroll 8
    for (int64_t p = first; p < end; p++) {
        cf_lanes<float, V> x = *cf_lanes_of<V>(t.values + p * t.n_stored, i);
        for (int k = 0; k < V; k++) sum.v[k] += x.v[k];
    }
    return sum;
}

/* Adds V values to elements `at` and following. A value that does not fit is left out, so the sum
 * stays what it was. Returns whether all fitted. */
template <int V>
__device__ static bool add_values(const cf_cuda_sum &t, int64_t at, const float x[V], float limit,
                                  double scale)
{
    bool fits = true;
    if (t.reduce == CF_REDUCE_EXACT) {
        auto *to = cf_lanes_of<V>(static_cast<int64_t *>(t.sums) + at, 0);
        cf_lanes<int64_t, V> sum = *to;
        for (int k = 0; k < V; k++) {
            bool ok = cf_fixed_fits(x[k], limit);
            sum.v[k] += ok ? cf_fixed_of_float(x[k], scale) : 0;
            fits = fits && ok;
        }
        *to = sum;
    } else {
        auto *to = cf_lanes_of<V>(static_cast<float *>(t.sums) + at, 0);
        cf_lanes<float, V> sum = *to;
        for (int k = 0; k < V; k++) {
            bool ok = cf_fixed_fits(x[k], limit);
            sum.v[k] += ok ? x[k] : 0.0f;
            fits = fits && ok;
        }
        *to = sum;
    }
    return fits;
}

__device__ static void raise_fault(const cf_cuda_sum &t)
{
    if (t.reduce == CF_REDUCE_EXACT) {
        static_cast<int64_t *>(t.sums)[t.flag] = 1;
    } else {
        static_cast<float *>(t.sums)[t.flag] = 1.0f;
    }
    atomicMin(&t.fault->first, t.number);
}

/* Where stored element i stands in the flat buffer; -1: padding. */
__device__ static int64_t flat_of(const cf_cuda_sum &t, int64_t i)
{
    if (t.c == t.c_stored) return i;
    int64_t row = i / t.c_stored, c = i % t.c_stored;
    return c < t.c ? row * t.c + c : -1;
}

/* V > 1 needs c == c_stored and aligned addresses. */
template <int V>
__global__ static void __launch_bounds__(THREADS)
    sums_kernel(cf_cuda_sum t, float limit, double scale)
{
    __shared__ cf_lanes<float, V> runs[THREADS];
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    bool mine = V * i < t.n_stored;
    cf_lanes<float, V> sum = {};
    if (mine) sum = run_sum<V>(t, i);
    if (blockDim.y > 1) {
        runs[threadIdx.y * blockDim.x + threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.y > 0) return;
        for (unsigned r = 1; r < blockDim.y; r++)
            for (int k = 0; k < V; k++) sum.v[k] += runs[r * blockDim.x + threadIdx.x].v[k];
    }
    int64_t at = mine ? flat_of(t, V * i) : -1;
    if (at < 0) return;
    float by = t.scale != nullptr ? *t.scale : 1.0f;
    for (int k = 0; k < V; k++) sum.v[k] /= by;
    if (!add_values<V>(t, t.offset + at, sum.v, limit, scale)) raise_fault(t);
}

template <int V>
static void launch_sums(cudaStream_t stream, const cf_cuda_sum *t, float limit, double scale)
{
    dim3 block(THREADS);
    if (t->n_parts >= MANY_PARTS) block = dim3(THREADS / ROWS, ROWS);
    CF_LAUNCH(sums_kernel<V>, cf_blocks(t->n_stored, V * (int64_t)block.x), block, 0, stream, *t,
              limit, scale);
}

cf_err cf_cuda_sums_add(cudaStream_t stream, const cf_cuda_sum *t)
{
    if (t->n_stored == 0) return CF_OK;
    float limit = t->bits == CF_EXACT_GRAD_BITS ? CF_EXACT_GRAD_LIMIT : CF_EXACT_STATE_LIMIT;
    double scale = ldexp(1.0, t->bits);
    bool exact = t->reduce == CF_REDUCE_EXACT;
    bool wide = t->c == t->c_stored && t->n_stored % 4 == 0 && t->offset % (exact ? 2 : 4) == 0 &&
                cf_lanes_fit(t->values, 16) && cf_lanes_fit(t->sums, 16);
    /* Narrow loads for few elements: more threads read at once. */
    if (wide && t->n_stored >= 4 * 132 * THREADS) {
        launch_sums<4>(stream, t, limit, scale);
    } else {
        launch_sums<1>(stream, t, limit, scale);
    }
    return cf_cuda_check(cudaGetLastError(), "sums");
}
