/* Grouped 3x3, gradient of the data: launches of cf_slab_gather (slab_gather.cuh). */
#include "kernels/cuda/slab_gather.cuh"

template <typename T, class TILE, int SPAN> struct gather {
    enum { BLOCKS = 2 };
    static void run(cudaStream_t s, dim3 grid, const cf_slab_args *a)
    {
        CF_LAUNCH((cf_slab_gather<T, TILE, SPAN, BLOCKS>), grid, CF_SLAB_THREADS,
                  (cf_slab_share<TILE, SPAN>::BYTES), s, *a);
    }
};

void cf_slab_data(cudaStream_t s, const cf_geometry *g, const cf_slab_plan *p, int span,
                  const cf_slab_args *a)
{
    cf_slab_launch<gather, true>(s, g, p, span, a);
}
