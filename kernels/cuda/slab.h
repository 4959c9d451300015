/* Between the files of the grouped 3x3 convolution: how an image is cut into tiles, and what each
 * pass is told. slab.cu plans, slab_forward.cu, slab_data.cu and slab_weights.cu launch. */
#ifndef CF_KERNELS_CUDA_SLAB_H
#define CF_KERNELS_CUDA_SLAB_H

#include "kernels/cuda/conv.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Tiles of 8 rows; width 8 or 16 cells (slab.cuh: cf_slab_tile). */
typedef struct cf_slab_plan {
    int width, tiles_y, tiles_x;
    int64_t n_tiles; /* of all images */
    int parts;       /* blocks for each slab: part i takes tiles i, i + parts, ... */
} cf_slab_plan;

/* A tensor that tiles are gathered from: scale * x + shift behind its activation (slope of negative
 * values; 1: none), or scale * x + other * y + shift. scale NULL: x as it is. */
typedef struct cf_slab_source {
    const uint16_t *x, *y;
    const float *scale, *other, *shift;
    float slope;
    int h, w;
    int first_y, first_x; /* where the first tile's first cell looks first */
} cf_slab_source;

typedef struct cf_slab_args {
    int n_tiles, tiles_y, tiles_x;
    int c;         /* channels of input and output */
    int log_group; /* 2^log_group channels a group */
    cf_slab_source source;
    /* FORWARD, DATA */
    const uint16_t *weights;
    uint16_t *out;
    int out_h, out_w, out_y, out_x; /* size; row and column of the first cell's first result */
    cf_slab_source input;           /* DATA: masks what is written; x NULL: no mask */
    const float *mean;
    double *partials;
    /* WEIGHTS */
    cf_slab_source gradient;
    float *weight_gradient;
} cf_slab_args;

/* One pass, launched. span: 8, 16 or 32 (slab.cuh). */
void cf_slab_forward(cudaStream_t s, const cf_geometry *g, const cf_slab_plan *p, int span,
                     const cf_slab_args *a);
void cf_slab_data(cudaStream_t s, const cf_geometry *g, const cf_slab_plan *p, int span,
                  const cf_slab_args *a);
void cf_slab_weights(cudaStream_t s, const cf_geometry *g, const cf_slab_plan *p, int span,
                     const cf_slab_args *a);

#ifdef __cplusplus
}
#endif
#endif
