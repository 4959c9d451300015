/* Explanations of a run's predictions: for chosen images the classes by one network of the run, and
 * heat maps of what spoke for one of them. One process, no MPI. Threads: one caller; the backend's
 * and the loader's own. Read first: cf_explain. */
#ifndef CF_WORKER_INSIGHT_EXPLAIN_H
#define CF_WORKER_INSIGHT_EXPLAIN_H

#include "kernels/base/buf.h"
#include "proto/cells.h"
#include "worker/insight/gradcam.h"
#include "worker/saved.h"

enum { CF_EXPLAIN_PREDICTED = -1 };

/* One image's. Borrowed for the call. */
typedef struct cf_explanation {
    int64_t place;       /* in cf_explain_options.images */
    int fold;            /* whose network it is */
    const double *p;     /* [n_classes] probabilities by that network alone, as cf_predict's */
    int predicted;       /* the highest of them */
    int class;           /* explained */
    double score;        /* of that class (explain_graph.h) */
    int size;            /* side of the image as the network sees it, px */
    const uint8_t *seen; /* [size][size][3] RGB: that image */
    int map_height, map_width;
    cf_map_place map_place;  /* over the image that the network sees */
    const float *gradcam;    /* [map_height][map_width]; NULL: not asked for */
    const float *smoothgrad; /* [size][size][3] mean gradient by the image as the network takes it,
                                normalised; NULL: not asked for */
    double sigma;            /* of the noise, in units of that image */
} cf_explanation;

typedef struct cf_explain_options {
    const int64_t *images; /* [n_images], places in the cells file */
    const int *folds;      /* [n_images], the fold whose network is asked, each of run->folds */
    int64_t n_images;
    int class;         /* index in the run's scheme, or CF_EXPLAIN_PREDICTED */
    const char *layer; /* of Grad-CAM; NULL: the last convolution */
    bool gradcam, smoothgrad;
    int samples;  /* SmoothGrad's noisy copies of an image, at least 1 */
    double noise; /* their standard deviation as a share of the image's range; at least 0 */
    uint64_t seed;
    /* Called with each image, fold by fold; its error stops all. */
    cf_err (*found)(void *context, const cf_explanation *x);
    /* Called after each image; false stops. NULL: none. */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} cf_explain_options;

typedef struct cf_explain_report {
    char layer[48];   /* whose map it was */
    char device[256]; /* the backend's line about it */
    int64_t ns;       /* of predicting and explaining, without setting up */
    int64_t n_passes; /* images through the network, both ways */
} cf_explain_report;

/* The run's configuration decides device, threads and, as train.micro_batch, how many images are
 * predicted at once. Maps are computed in fp32. They are a function of the network, the image, the
 * options and the kind of device. Errors: CF_E_USAGE (layer: those there are, are named), else as
 * cf_predict. */
CF_CHECKED cf_err cf_explain(const cf_saved *run, const cf_cells *cells,
                             const cf_explain_options *options, cf_explain_report *report);

/* Appends a line for each layer that can be looked at, in the order of the network: its name and
 * the size of its maps. */
CF_CHECKED cf_err cf_explain_layers(const cf_saved *run, cf_buf *out);

#endif
