/* Grouped 3x3, gradient of the data: launches of cf_slab_gather (slab_gather.cuh). */
#include "kernels/cuda/slab_gather.cuh"

template <typename T, class TILE, int SPAN, int BLOCKS>
static void launch(cudaStream_t s, const cf_slab_plan *p, const cf_slab_args *a)
{
    dim3 grid((unsigned)a->c / 32, (unsigned)p->parts);
    CF_LAUNCH((cf_slab_gather<T, TILE, SPAN, BLOCKS>), grid, CF_SLAB_THREADS,
              (cf_slab_share<TILE, SPAN>::BYTES), s, *a);
}

template <typename T, class TILE>
static void by_span(cudaStream_t s, const cf_slab_plan *p, int span, const cf_slab_args *a)
{
    if (span == 8)
        launch<T, TILE, 8, 2>(s, p, a);
    else if (span == 16)
        launch<T, TILE, 16, 2>(s, p, a);
    else
        launch<T, TILE, 32, 2>(s, p, a);
}

template <typename T>
static void by_tile(cudaStream_t s, const cf_geometry *g, const cf_slab_plan *p, int span,
                    const cf_slab_args *a)
{
    if (g->stride == 2)
        by_span<T, cf_slab_tile<2, 8, true>>(s, p, span, a);
    else if (p->width == 8)
        by_span<T, cf_slab_tile<1, 8, true>>(s, p, span, a);
    else
        by_span<T, cf_slab_tile<1, 16, true>>(s, p, span, a);
}

void cf_slab_data(cudaStream_t s, const cf_geometry *g, const cf_slab_plan *p, int span,
                  const cf_slab_args *a)
{
    if (g->dtype == CF_BF16)
        by_tile<cf_bf16>(s, g, p, span, a);
    else
        by_tile<cf_f16>(s, g, p, span, a);
}
