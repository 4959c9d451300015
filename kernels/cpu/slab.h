/* Grouped convolutions with few channels a group, as slabs: some groups are merged into one dense
 * group with zero blocks, because matrix units want 32 channels (a group of 4 runs 2-4 times slower
 * than the slab of 8 groups that does 8 times its work).
 * Threads: any. Read first: cf_slab_plan. */
#ifndef CF_KERNELS_CPU_SLAB_H
#define CF_KERNELS_CPU_SLAB_H

#include <stdint.h>

#include "kernels/graph/tensor.h"

typedef struct cf_slab {
    int64_t k, area; /* output channels; R * S */
    int64_t c_group; /* input channels of a group */
    int64_t k_group; /* output channels of a group */
    int merged;      /* groups in a slab; 1: nothing is changed */
} cf_slab;

/* wanted: channels of a slab to aim at (32 for bf16). */
cf_slab cf_slab_plan(int64_t c, int64_t k, int groups, int kernel, int wanted);
/* Elements of the expanded filter [K, R, S, merged * c_group]. */
int64_t cf_slab_elements(const cf_slab *s);
/* The canonical filter [K,R,S,c_group] expanded, as `dtype`. */
void cf_slab_expand(const cf_slab *s, const float *filter, cf_dtype dtype, void *out);
/* The blocks that are the groups' own, out of an expanded filter's gradient. */
void cf_slab_extract(const cf_slab *s, const float *expanded, float *filter);

#endif
