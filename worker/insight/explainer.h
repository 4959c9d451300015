/* Gradients of one class's score by the image and by a layer, of a network with fixed weights, on
 * any backend. All in fp32, whatever the network was trained in. Threads: one caller; the
 * backend's own. Read first: cf_explainer_run. */
#ifndef CF_WORKER_INSIGHT_EXPLAINER_H
#define CF_WORKER_INSIGHT_EXPLAINER_H

#include "kernels/backend.h"
#include "worker/insight/explain_graph.h"

typedef struct cf_explainer cf_explainer;

/* Host memory, borrowed from the explainer, valid until its next call. NULL where not asked for. */
typedef struct cf_explainer_result {
    const float *image_gradient; /* [batch][H][W][C] of the input: d score / d image */
    const float *layer_output;   /* [batch][h][w][c] */
    const float *layer_gradient; /* as it: d score / d output */
    cf_shape layer_shape;
    const double *scores; /* [batch] of the class (explain_graph.h) */
} cf_explainer_result;

/* As many images a pass as take at most `bytes` of activations and their gradients, at least 1 and
 * at most target->batch. */
CF_CHECKED cf_err cf_explainer_fit(const cf_graph *trained, const cf_explain_target *target,
                                   size_t bytes, int *batch);

/* Compiles for the target. trained is borrowed, and ops and backend; engines: a file of engine
 * choices to read, NULL for none. Errors: CF_E_USAGE (target), CF_E_DEVICE. */
CF_CHECKED cf_err cf_explainer_create(const cf_backend_ops *ops, cf_backend *backend,
                                      const cf_graph *trained, const cf_explain_target *target,
                                      const char *engines, cf_explainer **out);
void cf_explainer_destroy(cf_explainer *e); /* accepts NULL */
/* weights [n_weights] and state [n_state] of the trained graph, host memory, copied. */
CF_CHECKED cf_err cf_explainer_set_network(cf_explainer *e, const float *weights,
                                           const float *state);
/* One pass. images: [batch][H][W][C] as the network takes them, host memory. The result is a
 * function of network, class and images alone. CF_E_NUMERIC where something is not finite. */
CF_CHECKED cf_err cf_explainer_run(cf_explainer *e, int class, const float *images,
                                   cf_explainer_result *result);

#endif
