/* The CPU backend: oneDNN for convolutions, own OpenMP kernels for everything else.
 *
 * Activations are NHWC in fp32 or bf16. Images are cut into chunks that fit the second-level cache;
 * each thread takes its chunks through as many passes as their data allow (normalise, convolve,
 * take statistics) before it goes on. Results repeat bit for bit at the same number of threads.
 * Threads: one caller for each backend object. Read first: kernels/backend.h, program.h. */
#ifndef CF_KERNELS_CPU_CPU_H
#define CF_KERNELS_CPU_CPU_H

#include "kernels/backend.h"

extern const cf_backend_ops cf_cpu_backend;

#endif
