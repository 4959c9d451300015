/* NCCL played by MPI, for ranks that train on the shim: as strict as the real one where a caller
 * can go wrong. Buffers must be device memory, two ranks may not have one device, and a call on a
 * communicator whose last call is in progress is refused. Threads: one a communicator. */
#ifndef CF_TESTS_CUDA_NCCL_FAKE_H
#define CF_TESTS_CUDA_NCCL_FAKE_H

#include <nccl.h>

/* This process's next look at a communicator meets `error`, as when a peer's connection breaks. */
void nccl_fake_break(ncclResult_t error);

#endif
