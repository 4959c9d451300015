/* Time by kind of work: an event behind every pass, read when the micro-batch has ended. Costs a
 * wait for each micro-batch, so it is for benchmarks. */
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/program.h"

enum { CF_CUDA_MARKS = 4096 };

typedef struct cf_cuda_timer {
    cudaEvent_t events[CF_CUDA_MARKS];
    cf_phase phases[CF_CUDA_MARKS]; /* of what lies between event i-1 and i */
    int n_events, n;                /* created; used in this micro-batch */
    int64_t ns[CF_N_PHASES];
} cf_cuda_timer;

cf_err cf_cuda_timer_create(cf_cuda_timer **out)
{
    return cf_new(out, 1, sizeof **out);
}

void cf_cuda_timer_destroy(cf_cuda_timer *t)
{
    if (t == NULL) return;
    for (int i = 0; i < t->n_events; i++) (void)cudaEventDestroy(t->events[i]);
    free(t);
}

/* A micro-batch has some 700 marks; past the last, phases fall short of the whole. */
static cf_err mark(cf_program *p, cf_phase phase)
{
    cf_cuda_timer *t = p->timer;
    if (t->n == CF_CUDA_MARKS) return CF_OK;
    if (t->n == t->n_events) {
        CF_TRY(cf_cuda_check(cudaEventCreate(&t->events[t->n]), "cudaEventCreate"));
        t->n_events++;
    }
    t->phases[t->n] = phase;
    return cf_cuda_check(cudaEventRecord(t->events[t->n++], p->backend->stream), "cudaEventRecord");
}

cf_err cf_cuda_mark(cf_program *p, cf_phase phase)
{
    return p->timer != NULL ? mark(p, phase) : CF_OK;
}

cf_err cf_cuda_timer_start(cf_program *p)
{
    if (p->timer == NULL) return CF_OK;
    p->timer->n = 0;
    return mark(p, CF_PHASE_INPUT);
}

cf_err cf_cuda_timer_stop(cf_program *p)
{
    cf_cuda_timer *t = p->timer;
    if (t == NULL) return CF_OK;
    CF_TRY(cf_cuda_check(cudaStreamSynchronize(p->backend->stream), "the device"));
    for (int i = 1; i < t->n; i++) {
        float ms = 0.0f;
        CF_TRY(cf_cuda_check(cudaEventElapsedTime(&ms, t->events[i - 1], t->events[i]),
                             "cudaEventElapsedTime"));
        t->ns[t->phases[i]] += (int64_t)((double)ms * 1e6);
    }
    return CF_OK;
}

int cf_cuda_phases(const cf_program *p, const char *const **names, const int64_t **ns)
{
    static const char *const text[CF_N_PHASES] = {
        [CF_PHASE_INPUT] = "images",        [CF_PHASE_FORWARD] = "convolution",
        [CF_PHASE_DATA] = "input gradient", [CF_PHASE_WEIGHTS] = "filter gradient",
        [CF_PHASE_NORM] = "normalisation",  [CF_PHASE_POOL] = "pool, dense, loss",
        [CF_PHASE_SUMS] = "exact sums",     [CF_PHASE_PACK] = "weight packing"};
    if (p->timer == NULL) return 0;
    *names = text;
    *ns = p->timer->ns;
    return CF_N_PHASES;
}
