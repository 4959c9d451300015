/* A run folder taken up again for its networks: configuration, scheme, the newest checkpoint of
 * each fold. Reads only. Threads: one caller. Read first: cf_saved_open, cf_saved_weights. */
#ifndef CF_WORKER_SAVED_H
#define CF_WORKER_SAVED_H

#include "kernels/graph/graph.h"
#include "proto/config.h"
#include "proto/control.h"
#include "proto/scheme.h"

typedef struct cf_saved {
    char dir[CF_PATH_MAX];
    cf_config config; /* of run.yaml */
    cf_scheme scheme; /* of scheme.yaml */
    int folds[CF_MAX_FOLDS];
    int n_folds;       /* that have a checkpoint, in ascending order */
    int height, width; /* of the images that it was trained on, as packed, px; 0: not known */
    double um_per_px;  /* of these; 0: not known */
} cf_saved;

/* Opens a run folder. Errors: CF_E_DATA where there is no run, CF_E_USAGE for a configuration or
 * scheme that cannot be read, CF_E_CHECKPOINT where no fold has a checkpoint. Release with fini in
 * any case. */
CF_CHECKED cf_err cf_saved_open(const char *dir, cf_saved *s);
void cf_saved_fini(cf_saved *s);
/* Keeps only the named folds, each once. CF_E_CHECKPOINT for one that has no checkpoint. */
CF_CHECKED cf_err cf_saved_choose(cf_saved *s, const int64_t *folds, int n);

/* The weights and running moments that the run tests a fold with (averaged ones where it does so),
 * from the newest checkpoint that verifies. g: built from s->config and s->scheme; weights:
 * [n_weights], state: [n_state], host memory. CF_E_CHECKPOINT: none verifies, or it is of another
 * fold or network; the tensor is named. A checkpoint before the last step is said once. */
CF_CHECKED cf_err cf_saved_weights(const cf_saved *s, const cf_graph *g, int fold, float *weights,
                                   float *state);

#endif
