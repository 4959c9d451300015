/* Short tensors into the step's sum, many in one launch: a network has some 200 of them, and each
 * launch costs more than all their values. Formulas: kernels/math/fixed.h. */
#include <math.h>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/math/fixed.h"

enum { THREADS = 128 };

__global__ static void __launch_bounds__(THREADS)
    scatter_kernel(cf_cuda_scatter t, float limit, double scale)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= t.n) return;
    int64_t at = t.targets != nullptr ? t.targets[i] : t.first + i;
    float x = t.scale != nullptr ? t.values[i] / *t.scale : t.values[i];
    bool exact = t.reduce == CF_REDUCE_EXACT;
    int64_t *integers = static_cast<int64_t *>(t.sums);
    float *floats = static_cast<float *>(t.sums);
    if (!cf_fixed_fits(x, limit)) {
        if (exact)
            integers[t.flag] = 1;
        else
            floats[t.flag] = 1.0f;
        atomicMin(&t.fault->first, t.numbers[i]);
    } else if (exact) {
        integers[at] += cf_fixed_of_float(x, scale);
    } else {
        floats[at] += x;
    }
}

cf_err cf_cuda_sums_scatter(cudaStream_t s, const cf_cuda_scatter *t)
{
    if (t->n == 0) return CF_OK;
    float limit = t->bits == CF_EXACT_GRAD_BITS ? CF_EXACT_GRAD_LIMIT : CF_EXACT_STATE_LIMIT;
    CF_LAUNCH(scatter_kernel, dim3((unsigned)((t->n + THREADS - 1) / THREADS)), dim3(THREADS), 0, s,
              *t, limit, ldexp(1.0, t->bits));
    return cf_cuda_check(cudaGetLastError(), "sums");
}
