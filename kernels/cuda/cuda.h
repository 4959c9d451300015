/* The GPU backend: cuDNN and own kernels on one CUDA device.
 *
 * Work is issued to one stream of the backend and returns before it is done; `sync`, copies to the
 * host and `fault` wait. Threads: one caller a backend. Read first: kernels/backend.h. */
#ifndef CF_KERNELS_CUDA_CUDA_H
#define CF_KERNELS_CUDA_CUDA_H

#include "kernels/backend.h"

extern const cf_backend_ops cf_cuda_backend;

#endif
