/* Which backends were built: the one file with an #if for CUDA. */
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cpu/cpu.h"
#if defined(CYTOFOLD_HAVE_CUDA) && CYTOFOLD_HAVE_CUDA
#include "kernels/cuda/cuda.h"
#define CUDA_BACKEND (&cf_cuda_backend)
#else
#define CUDA_BACKEND NULL
#endif

static bool is_present(const cf_backend_ops *ops)
{
    return ops != NULL && cf_backend_device_count(ops) > 0;
}

cf_err cf_backend_find(const char *name, const cf_backend_ops **out)
{
    const cf_backend_ops *cuda = CUDA_BACKEND;
    *out = NULL;
    if (strcmp(name, "auto") == 0) {
        *out = is_present(cuda) ? cuda : &cf_cpu_backend;
    } else if (strcmp(name, "cpu") == 0) {
        *out = &cf_cpu_backend;
    } else if (strcmp(name, "cuda") != 0) {
        return cf_fail(CF_E_DEVICE, "device %s: expected auto, cpu or cuda", name);
    } else if (cuda == NULL) {
        return cf_fail(CF_E_DEVICE, "device cuda: this program was built without it");
    } else if (!is_present(cuda)) {
        return cf_where(CF_E_DEVICE, "device cuda"); /* the reason was set by count */
    } else {
        *out = cuda;
    }
    return CF_OK;
}

int cf_backend_device_count(const cf_backend_ops *ops)
{
    return ops->count != NULL ? ops->count() : 1;
}
