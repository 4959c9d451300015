#include "worker/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

static int chunk_images(const cf_trainer *t, int64_t chunk)
{
    int64_t size = t->engine->config->train_micro_batch;
    int64_t left = t->sampler.n_test - chunk * size;
    return (int)(left < size ? left : size);
}

static cf_err request_chunks(cf_trainer *t, cf_loader *loader, int rank, int size, int64_t n_chunks)
{
    for (int64_t chunk = rank; chunk < n_chunks; chunk += size) {
        cf_request r = {
            .images = t->sampler.test + chunk * t->engine->config->train_micro_batch,
            .n_images = chunk_images(t, chunk),
            .augment = 0,
            .fold = t->fold,
        };
        CF_TRY(cf_loader_request(loader, &r));
    }
    return CF_OK;
}

static cf_err check_finite(const cf_trainer *t, const int64_t *images, const float *logits, int n)
{
    int n_outputs = t->engine->graph->n_outputs;
    for (int i = 0; i < n * n_outputs; i++)
        if (!isfinite(logits[i]))
            return cf_fail(CF_E_NUMERIC, "fold %d: output %d of image %s is %g", t->fold,
                           i % n_outputs, t->sampler.cells->ids[images[i / n_outputs]],
                           (double)logits[i]);
    return CF_OK;
}

cf_err cf_evaluate(cf_trainer *t, cf_loader *loader, int rank, int size, cf_test_kind kind,
                   cf_reporter *reporter)
{
    const cf_engine *e = t->engine;
    int64_t batch = e->config->train_micro_batch;
    int64_t n_chunks = (t->sampler.n_test + batch - 1) / batch;
    cf_message m = {.kind = CF_MSG_RESULT};
    m.result.fold = t->fold;
    m.result.n_nodes = e->graph->n_outputs;
    m.result.final = kind == CF_TEST_FINAL;
    m.result.epoch = t->step / t->sampler.steps_per_epoch;
    float *logits = NULL;
    CF_TRY(cf_new(&logits, (size_t)(batch * e->graph->n_outputs), sizeof *logits));
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_reporter_phase(reporter, t, CF_PHASE_TEST), out);
    CF_TRY_GOTO(cf_trainer_use_for_testing(t), out);
    CF_TRY_GOTO(request_chunks(t, loader, rank, size, n_chunks), out);
    for (int64_t chunk = rank; chunk < n_chunks; chunk += size) {
        cf_prepared p;
        int64_t wait_ns = 0;
        cf_heart_doing(reporter->heart, CF_DOING_TEST, t->fold, t->step);
        CF_TRY_GOTO(cf_reporter_listen(reporter), out);
        if (reporter->stop)
            CF_TRY_GOTO(cf_fail(CF_E_REQUEUE, "stopped in the test of fold %d", t->fold), out);
        CF_TRY_GOTO(cf_loader_next(loader, &p, &wait_ns), out);
        cf_batch b = cf_prepared_batch(&p, CF_MODE_INFER);
        CF_TRY_GOTO(e->ops->infer(e->infer, &b, logits), out);
        m.result.n = p.n_images;
        m.result.images = t->sampler.test + chunk * batch;
        m.result.logits = logits;
        CF_TRY_GOTO(check_finite(t, m.result.images, logits, p.n_images), out);
        CF_TRY_GOTO(cf_reporter_send(reporter, &m), out);
    }
out:
    free(logits);
    return err;
}
