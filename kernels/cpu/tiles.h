/* Filter gradients on the matrix tiles of the processor (AMX, bf16 to fp32), where it has them.
 *
 * gradient[k][tap][c] = sum over output pixels of gy[pixel][k] * in[pixel at tap][c]. oneDNN 2.6
 * takes five to fifty times the processor's limit for it, because it copies whole tensors first;
 * here blocks of pixels are brought into tile order in the second-level cache and used at once. Tap
 * by tap, so that any kernel, stride and padding is a table of pixel offsets. Grouped filters are
 * computed as slabs of at least 16 channels. Sums run over pixels in order: repeatable. Threads:
 * any, each with its own scratch and output. Read first: cf_tiles_plan, cf_tiles_add. */
#ifndef CF_KERNELS_CPU_TILES_H
#define CF_KERNELS_CPU_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/cpu/slab.h"
#include "kernels/graph/graph.h"

enum {
    CF_TILES_SIDE = 16,   /* rows of a tile, and channels */
    CF_TILES_BLOCK = 512, /* pixels brought into tile order at a time */
    CF_TILES_STRIP = 256  /* rows whose tiles are kept at a time */
};

typedef struct cf_tiles {
    const cf_node *node;      /* borrowed */
    int64_t in_image;         /* elements of one image of the input, with its frame */
    int64_t frame_h, frame_w; /* of an image framed by zeros; 0: as it is */
    int64_t pixels;           /* output pixels of one image */
    int64_t chunk;            /* output pixels of a chunk */
    int64_t c, k, taps;
    int64_t c_slab, k_slab; /* channels of a slab */
    cf_slab slab;
    bool swapped;     /* the output is [c][k]: the shorter side is the one to be turned around */
    int32_t *offsets; /* owned, [taps][pixels]: element offset in the input image, -1: padding */
} cf_tiles;

/* True where the processor and the operating system give tiles. */
bool cf_tiles_available(void);
/* Elements of the output (the expanded filter) of a convolution node; 0 where tiles cannot take it:
 * channels of slabs, or of a row of the filter on images, have to come in sixteens. */
int64_t cf_tiles_output(const cf_node *node);
/* n_chunks: equal parts of the micro-batch, whole images unless the filter is 1x1 of stride 1. */
CF_CHECKED cf_err cf_tiles_plan(const cf_node *node, int64_t n_chunks, cf_tiles *t);
void cf_tiles_fini(cf_tiles *t);
int64_t cf_tiles_elements(const cf_tiles *t);
/* Columns of a slab's output, the most channels on any side, elements of the framed images. */
int64_t cf_tiles_columns(const cf_tiles *t);
int64_t cf_tiles_widest(const cf_tiles *t);
int64_t cf_tiles_frames(const cf_tiles *t);
/* Bytes of scratch. */
size_t cf_tiles_scratch(const cf_tiles *t);

/* One chunk from `in` and `gy` on (bf16) into `out`, which is set if `fresh` and added to
 * otherwise. scratch: 64-byte aligned. */
void cf_tiles_add(const cf_tiles *t, const uint16_t *in, const uint16_t *gy, bool fresh, float *out,
                  void *scratch);
/* The canonical filter's gradient from the sum of n_parts outputs that lie one after the other; the
 * first of them and `spare` (one output's size) are overwritten, and it lies in one of the two. */
const float *cf_tiles_finish(const cf_tiles *t, float *out, int64_t n_parts, float *spare);

#endif
