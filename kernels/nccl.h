/* NCCL's comm where this program was built with it: for comms what the registry is for backends.
 * Threads: any. Read first: cf_nccl_is_built. */
#ifndef CF_KERNELS_NCCL_H
#define CF_KERNELS_NCCL_H

#include <stdbool.h>

#include "kernels/comm/comm_nccl.h"

bool cf_nccl_is_built(void);
/* cf_comm_nccl_create; CF_E_DEVICE in a program that was built without it. */
CF_CHECKED cf_err cf_nccl_create(cf_comm *host, const cf_nccl_options *options, cf_comm **out);

#endif
