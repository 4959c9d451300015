/* A graph into a program, and what this backend refuses. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/program.h"

static bool refuse(char *why, size_t n_why, const char *reason)
{
    snprintf(why, n_why, "%s", reason);
    return false;
}

bool cf_cuda_supports(const cf_backend *b, const cf_node *node, const cf_compile_options *o,
                      char *why, size_t n_why)
{
    enum { MAX_WINDOW = 15 }; /* kernel * kernel winners fit into a byte */
    (void)b;
    (void)o;
    if (node->op == CF_OP_MAXPOOL && node->conv.kernel > MAX_WINDOW)
        return refuse(why, n_why, "max-pool kernel above 15");
    if (node->op == CF_OP_CONV && node->conv.act == CF_ACT_LEAKY &&
        !(node->conv.slope >= 0.0f && node->conv.slope <= 1.0f))
        return refuse(why, n_why, "slope of the activation outside of 0 to 1");
    return true;
}

static cf_err check_graph(const cf_backend *b, const cf_graph *g, const cf_memory_plan *plan,
                          const cf_compile_options *o)
{
    if (plan->mode != o->mode || plan->dtype != o->dtype || plan->n_nodes != g->n_nodes)
        return cf_fail(CF_E_UNEXPECTED, "memory plan and compile options differ");
    for (int i = 0; i < g->n_nodes; i++) {
        char why[160];
        if (!cf_cuda_supports(b, &g->nodes[i], o, why, sizeof why))
            return cf_fail(CF_E_DEVICE, "node %s: %s", g->nodes[i].name, why);
    }
    return cf_graph_check_tail(g, "CUDA");
}

static cf_err build(cf_program *p)
{
    char device[256], library[64];
    int runtime = 0;
    cf_cudnn_describe(library, sizeof library);
    CF_TRY(cf_cuda_check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion"));
    snprintf(device, sizeof device, "%s sm_%d CUDA %d.%d %s", p->backend->name,
             p->backend->capability, runtime / 1000, runtime % 1000 / 10, library);
    cf_engines_options options = {.path = p->options.engines,
                                  .device = device,
                                  .may_tune = p->options.may_tune,
                                  .deterministic = p->options.deterministic,
                                  .workspace = CF_CUDA_WORKSPACE};
    CF_TRY(cf_engines_create(p->backend->cudnn, p->backend->stream, &options, &p->engines));
    CF_TRY(cf_cuda_choose(p));
    CF_TRY(cf_engines_save(p->engines));
    CF_TRY(cf_cuda_place(p));
    if (p->options.timed) CF_TRY(cf_cuda_timer_create(&p->timer));
    p->may_record = !p->options.timed;
    return cf_cuda_set_scale(p, 1.0f);
}

cf_err cf_cuda_compile(cf_backend *b, const cf_graph *g, const cf_memory_plan *plan,
                       const cf_compile_options *o, cf_program **out)
{
    *out = NULL;
    CF_TRY(check_graph(b, g, plan, o));
    CF_TRY(cf_cuda_use(b));
    cf_program *p = NULL;
    CF_TRY(cf_new(&p, 1, sizeof *p));
    p->backend = b;
    p->graph = g;
    p->options = *o;
    cf_err err = cf_new(&p->nodes, (size_t)g->n_nodes, sizeof *p->nodes);
    if (err == CF_OK) err = build(p);
    if (err != CF_OK) {
        cf_cuda_release(p);
        return err;
    }
    *out = p;
    return CF_OK;
}

void cf_cuda_release(cf_program *p)
{
    if (p == NULL) return;
    if (cf_cuda_use(p->backend) == CF_OK) {
        (void)cudaDeviceSynchronize();
        for (int i = 0; i < p->n_recordings; i++) (void)cudaGraphExecDestroy(p->recordings[i].exec);
        cf_cuda_timer_destroy(p->timer);
        cf_cuda_unplace(p);
        cf_engines_destroy(p->engines);
    }
    cf_memory_plan_fini(&p->plan);
    free(p->nodes);
    free(p);
}
