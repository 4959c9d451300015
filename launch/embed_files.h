/* What `embed` leaves in a run folder: embed.csv, embed.json, plots/embed.png and plots/embed.svg,
 * and on request the features as a NumPy file. The same bytes for the same picture: no clock and no
 * path is in them. Threads: main only. Read first: cf_embed. */
#ifndef CF_LAUNCH_EMBED_FILES_H
#define CF_LAUNCH_EMBED_FILES_H

#include "kernels/base/buf.h"
#include "proto/map_origin.h"
#include "worker/insight/features.h"
#include "worker/insight/mixing.h"
#include "worker/insight/trust.h"
#include "worker/insight/umap.h"

typedef struct cf_embed {
    const cf_cells *cells;    /* borrowed */
    const cf_scheme *scheme;  /* borrowed */
    cf_features features;     /* owned */
    cf_common common;         /* owned */
    cf_umap_options options;  /* of the picture */
    cf_neighbours nearest;    /* owned, in the common space, enough for map and trust */
    float *y;                 /* owned, [features.n][2] */
    double trustworthiness;   /* of y, in the common space */
    int trust_k;              /* of so many neighbours */
    int64_t trust_n;          /* over so many images */
    cf_mixing space, picture; /* of trust_k neighbours in the common space, and in y */
    uint64_t data;            /* cf_folds_hash of images and folds */
    char checkpoints[CF_MAX_FOLDS][CF_MAP_MARK_MAX]; /* of features.fold */
} cf_embed;

void cf_embed_fini(cf_embed *e);

/* DIR/embed.csv: id,fold,label,predicted,x,y. Atomic, as all others. */
CF_CHECKED cf_err cf_embed_write_csv(const cf_embed *e, const char *dir);
/* An object: data (as in run.yaml), images, features, components, folds [{fold, checkpoint
 * (proto/map_origin.h), and of several folds shared, trained_by_both, kept, agreement}], neighbors,
 * neighbours_search {approximate, found}
 * (cf_neighbours), min_dist, metric, epochs, seed, trustworthiness {k, images, value}, space and
 * picture {same_class, same_fold, chance}. */
void cf_embed_json(const cf_embed *e, cf_buf *out);
CF_CHECKED cf_err cf_embed_write_json(const cf_embed *e, const char *dir);
/* DIR/plots/embed.png and .svg. */
CF_CHECKED cf_err cf_embed_plot(const cf_embed *e, const char *dir);
/* float32 [n][d] in NumPy's format 1.0, rows as in embed.csv, each as its own network gave it. */
CF_CHECKED cf_err cf_embed_write_features(const cf_embed *e, const char *path);

#endif
