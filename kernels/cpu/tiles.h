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

typedef struct cf_tiles {
    int64_t in_image, out_image; /* elements of one image */
    int64_t pixels;              /* output pixels of one image */
    int64_t c, k, taps;
    int64_t c_slab, k_slab; /* channels of a slab */
    cf_slab slab;
    bool swapped;     /* the output is [c][k]: the shorter side is the one to be turned around */
    int32_t *offsets; /* owned, [taps][pixels]: element offset in the input image, -1: padding */
} cf_tiles;

/* True where the processor and the operating system give tiles. */
bool cf_tiles_available(void);
/* The slabs a grouped filter is computed in. Tiles can take a node whose slabs have multiples of 16
 * input and output channels. */
cf_slab cf_tiles_slab(const cf_node *node);
CF_CHECKED cf_err cf_tiles_plan(const cf_node *node, cf_tiles *t);
void cf_tiles_fini(cf_tiles *t);
/* Elements of the output (the expanded filter), and bytes of scratch. */
int64_t cf_tiles_elements(const cf_tiles *t);
size_t cf_tiles_scratch(const cf_tiles *t);

/* n_images from `in` and `gy` on (bf16) into `out`, which is set if `fresh` and added to otherwise.
 * scratch: 64-byte aligned. */
void cf_tiles_add(const cf_tiles *t, const uint16_t *in, const uint16_t *gy, int64_t n_images,
                  bool fresh, float *out, void *scratch);
/* The canonical filter's gradient from the sum of n_parts outputs that lie one after the other; the
 * first of them and `spare` (one output's size) are overwritten, and it lies in one of the two. */
const float *cf_tiles_finish(const cf_tiles *t, float *out, int64_t n_parts, float *spare);

#endif
