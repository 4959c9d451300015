#include "kernels/cuda/kernels.h"

cf_err cf_cuda_check(cudaError_t code, const char *what)
{
    if (code == cudaSuccess) return CF_OK;
    return cf_fail(CF_E_DEVICE, "%s: %s (%s)", what, cudaGetErrorString(code),
                   cudaGetErrorName(code));
}
