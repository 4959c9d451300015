#include "worker/adapt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/math/philox.h"

/* Sums are read out and started again after so many micro-batches: fixed point holds more. */
enum { CHUNK = 256 };

void cf_adapt_order(int64_t n, int64_t seed, int64_t *order)
{
    cf_rng rng = cf_rng_at((uint64_t)seed, 0, 0, 0, CF_PURPOSE_ADAPT);
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) { /* Fisher and Yates */
        int64_t j = (int64_t)cf_rng_below(&rng, (uint32_t)(i + 1));
        int64_t held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}

typedef struct adapter {
    cf_engine *e;                  /* borrowed */
    const cf_adapt_images *images; /* borrowed */
    int64_t n_micro;
    int batch;
    int *labels;   /* owned, [batch] zeros: a loss has to have some */
    double *total; /* owned, [n_state] */
    char *moments; /* owned, [n_state] elements of the sums */
    void *sums;    /* owned, backend memory */
} adapter;

static cf_err adapter_init(adapter *a, cf_engine *e, const cf_adapt_images *images)
{
    size_t n_state = (size_t)e->graph->n_state, element = cf_engine_sum_bytes(e);
    a->e = e;
    a->images = images;
    a->batch = (int)e->config->train_micro_batch;
    a->n_micro = (images->n + a->batch - 1) / a->batch;
    CF_TRY(cf_new(&a->labels, (size_t)a->batch, sizeof *a->labels));
    CF_TRY(cf_new(&a->total, n_state, sizeof *a->total));
    CF_TRY(cf_new(&a->moments, n_state, element));
    return e->ops->alloc(e->backend, (size_t)cf_engine_sums_count(e) * element, &a->sums);
}

static void adapter_fini(adapter *a)
{
    if (a->sums != NULL) a->e->ops->free(a->e->backend, a->sums);
    free(a->moments);
    free(a->total);
    free(a->labels);
}

/* A backend that works behind its caller says only now that something was not finite. */
static cf_err check_flag(const adapter *a)
{
    const cf_engine *e = a->e;
    size_t element = cf_engine_sum_bytes(e);
    int64_t flag = 0; /* zero bits in either type when all is well */
    const char *last = (const char *)a->sums + (size_t)(cf_engine_sums_count(e) - 1) * element;
    CF_TRY(e->ops->copy_out(e->backend, &flag, last, element));
    if (flag == 0) return CF_OK;
    if (e->ops->fault != NULL) CF_TRY(e->ops->fault(e->train));
    return cf_fail(CF_E_NUMERIC, "a value that is not finite");
}

/* total += the moments in the sums, which start again at zero. */
static cf_err take_moments(adapter *a)
{
    const cf_engine *e = a->e;
    const cf_graph *g = e->graph;
    size_t element = cf_engine_sum_bytes(e);
    CF_TRY(check_flag(a));
    const char *from = (const char *)a->sums + (size_t)g->n_weights * element;
    CF_TRY(e->ops->copy_out(e->backend, a->moments, from, (size_t)g->n_state * element));
    for (int64_t i = 0; i < g->n_state; i++) {
        if (e->config->train_reduce == CF_REDUCE_FAST) {
            float value;
            memcpy(&value, a->moments + (size_t)i * element, sizeof value);
            a->total[i] += (double)value;
        } else {
            int64_t value;
            memcpy(&value, a->moments + (size_t)i * element, sizeof value);
            a->total[i] += ldexp((double)value, -CF_EXACT_STATE_BITS);
        }
    }
    return e->ops->zero(e->backend, a->sums, (size_t)cf_engine_sums_count(e) * element);
}

static cf_err pass_images(adapter *a, cf_loader *loader)
{
    const cf_engine *e = a->e;
    const cf_adapt_images *images = a->images;
    for (int64_t micro = 0; micro < a->n_micro; micro++) {
        cf_request r = {.images = images->order + micro * a->batch,
                        .n_images = a->batch,
                        .stains = images->stains};
        CF_TRY(cf_loader_request(loader, &r));
    }
    for (int64_t micro = 0; micro < a->n_micro; micro++) {
        cf_prepared p;
        int64_t wait_ns = 0;
        CF_TRY(cf_loader_next(loader, &p, &wait_ns));
        cf_batch b = cf_prepared_batch(&p, CF_MODE_TRAIN);
        b.labels = a->labels;
        CF_TRY(
            cf_where(e->ops->train(e->train, &b, a->sums), "micro-batch %lld", (long long)micro));
        if ((micro + 1) % CHUNK == 0 || micro + 1 == a->n_micro) CF_TRY(take_moments(a));
        int64_t left = images->n - micro * a->batch;
        if (images->passed != NULL)
            CF_TRY(images->passed(images->context, (int)(left < a->batch ? left : a->batch)));
    }
    return CF_OK;
}

static cf_err mix(const adapter *a, double share, float *state)
{
    const cf_engine *e = a->e;
    int64_t n = e->graph->n_state;
    float *host = NULL;
    CF_TRY(cf_new(&host, (size_t)n, sizeof *host));
    cf_err err = e->ops->copy_out(e->backend, host, state, (size_t)n * sizeof *host);
    for (int64_t i = 0; i < n; i++)
        host[i] =
            (float)((1.0 - share) * (double)host[i] + share * (a->total[i] / (double)a->n_micro));
    if (err == CF_OK) err = e->ops->copy_in(e->backend, state, host, (size_t)n * sizeof *host);
    free(host);
    return err;
}

cf_err cf_adapt_norm(cf_engine *e, cf_loader *loader, const cf_adapt_images *images,
                     const float *weights, float *state)
{
    adapter a = {0};
    if (e->graph->n_state == 0)
        return cf_fail(CF_E_USAGE, "the network has no batch norm, whose moments could be adapted");
    cf_err err = CF_OK;
    CF_TRY_GOTO(adapter_init(&a, e, images), out);
    if (cf_engine_is_scaled(e)) CF_TRY_GOTO(e->ops->set_scale(e->train, 1.0f), out);
    CF_TRY_GOTO(e->ops->set_weights(e->train, weights, state), out);
    CF_TRY_GOTO(pass_images(&a, loader), out);
    CF_TRY_GOTO(mix(&a, images->share, state), out);
out:
    adapter_fini(&a);
    return err;
}
