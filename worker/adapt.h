/* Batch norm's running moments, taken anew from unlabelled images of another centre.
 *
 * Scanner and stain shift the moments of every layer, and what a network learnt holds for its own:
 * with the moments of the images at hand it sees them as it saw its own (Li et al., Revisiting
 * Batch Normalization For Practical Domain Adaptation, 2016; Schneider et al., Improving robustness
 * against common corruptions by covariate shift adaptation, NeurIPS 2020, for the mixture). No
 * label is looked at and no weight is changed. Threads: one caller. Read first: cf_adapt_norm. */
#ifndef CF_WORKER_ADAPT_H
#define CF_WORKER_ADAPT_H

#include "worker/data/loader.h"
#include "worker/engine.h"

/* The order in which images are taken: 0..n-1 shuffled, a function of (n, seed), since neighbours
 * in a file are of one class and a micro-batch of one class has other moments than all. order: [n]
 */
void cf_adapt_order(int64_t n, int64_t seed, int64_t *order);

typedef struct cf_adapt_images {
    /* [n rounded up to micro-batches]: indices in the loader's cells file, filled up from its
     * front. Borrowed until the loader is destroyed: after an error its threads still read it. */
    const int64_t *order;
    int64_t n;
    const cf_stain_map *stains; /* borrowed, of the whole file (cf_request); NULL: none */
    double share;               /* 0 to 1: weight of their moments */
    /* Called after each micro-batch with its images; an error ends the adapting. NULL: none. */
    cf_err (*passed)(void *context, int n_images);
    void *context;
} cf_adapt_images;

/* state = (1 - share) * state + share * moments of the images. The images pass through the network
 * in training's way, in micro-batches of which each is normalised by its own moments, layer by
 * layer; those are averaged as training's sums are (batch mean, unbiased batch variance). e:
 * compiled for training; weights: backend memory, [n_weights]; state: backend memory, [n_state], of
 * the checkpoint, replaced. The moments depend on the images, their order, the size of a
 * micro-batch and the weights. Errors: CF_E_USAGE for a network without batch norm; CF_E_DATA;
 * CF_E_NUMERIC; what passed() says. */
CF_CHECKED cf_err cf_adapt_norm(cf_engine *e, cf_loader *loader, const cf_adapt_images *images,
                                const float *weights, float *state);

#endif
