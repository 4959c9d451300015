/* kernels/cuda/cudnn.h where there is no cuDNN: a handle that has no plan for anything. */
#include "kernels/cuda/cudnn.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

struct cf_cudnn {
    cudaStream_t stream;
};

cf_err cf_cudnn_create(cudaStream_t stream, cf_cudnn **out)
{
    CF_TRY(cf_new(out, 1, sizeof **out));
    (*out)->stream = stream;
    return CF_OK;
}

void cf_cudnn_destroy(cf_cudnn *c)
{
    free(c);
}

void cf_cudnn_describe(char *text, size_t n)
{
    (void)snprintf(text, n, "no cuDNN");
}

cf_err cf_cudnn_candidates(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass, bool deterministic,
                           size_t workspace, int most, cf_cudnn_plan **plans, int *n)
{
    (void)c, (void)g, (void)pass, (void)deterministic, (void)workspace, (void)most, (void)plans;
    *n = 0;
    return CF_OK;
}

cf_err cf_cudnn_plan_of_text(cf_cudnn *c, const cf_geometry *g, cf_conv_pass pass, const char *text,
                             cf_cudnn_plan **out)
{
    (void)c, (void)g, (void)pass;
    *out = NULL;
    return cf_fail(CF_E_DEVICE, "plan \"%s\": there is no cuDNN on the host", text);
}

void cf_cudnn_plan_destroy(cf_cudnn_plan *p)
{
    (void)p;
}

void cf_cudnn_plan_text(const cf_cudnn_plan *p, char *text, size_t n)
{
    (void)p;
    (void)snprintf(text, n, "none");
}

size_t cf_cudnn_plan_workspace(const cf_cudnn_plan *p)
{
    (void)p;
    return 0;
}

cf_err cf_cudnn_run(cf_cudnn *c, const cf_cudnn_plan *p, const cf_conv_call *call)
{
    (void)c, (void)p, (void)call;
    return cf_fail(CF_E_DEVICE, "a plan of cuDNN cannot run on the host");
}
