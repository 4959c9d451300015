#include "kernels/nccl.h"

#if defined(CYTOFOLD_HAVE_CUDA) && CYTOFOLD_HAVE_CUDA
bool cf_nccl_is_built(void)
{
    return true;
}

cf_err cf_nccl_create(cf_comm *host, const cf_nccl_options *options, cf_comm **out)
{
    return cf_comm_nccl_create(host, options, out);
}
#else
bool cf_nccl_is_built(void)
{
    return false;
}

cf_err cf_nccl_create(cf_comm *host, const cf_nccl_options *options, cf_comm **out)
{
    (void)host, (void)options;
    *out = NULL;
    return cf_fail(CF_E_DEVICE, "NCCL: this program was built without it");
}
#endif
