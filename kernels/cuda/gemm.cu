/* Which convolutions the implicit matrix product takes, and how it cuts them: by shape alone. */
#include "kernels/cuda/gemm.cuh"

/* Blocks of one wave on 132 multiprocessors, two on each; waves that hide the ragged last one. */
enum { GEMM_WAVE = 264, GEMM_WAVES = 4, GEMM_MOST_GROUP = 16, GEMM_LEAST_ROWS = 2 * CF_GEMM_DEPTH };
/* Rows and columns must fit 16 bits, padding included; pixels and filter rows 31 bits, with room.
 */
enum { GEMM_MOST_SIDE = 32000, GEMM_MOST = 1 << 30 };

static int gemm_tiles(int64_t n, int each)
{
    return (int)((n + each - 1) / each);
}

static bool gemm_supports(const cf_geometry *g, cf_conv_pass pass)
{
    bool image = g->c == 4 && pass != CF_CONV_DATA;
    int64_t height = (int64_t)g->p * g->stride + g->kernel, width = (int64_t)g->q * g->stride;
    bool sides = g->h + g->pad_top < GEMM_MOST_SIDE && g->w + g->pad_left < GEMM_MOST_SIDE &&
                 height < GEMM_MOST_SIDE && width + g->kernel < GEMM_MOST_SIDE;
    /* The largest tile's two stages; consumer cards of the 8.6 and 8.9 kind have less. */
    if (cf_gemm_device(cudaDevAttrMaxSharedMemoryPerBlockOptin) < CF_GEMM_LEAST_SHARED)
        return false;
    return g->groups == 1 && g->dtype != CF_F32 && (g->c % 8 == 0 || image) && g->k % 8 == 0 &&
           sides && (int64_t)g->n * g->h * g->w < GEMM_MOST &&
           (int64_t)g->n * g->p * g->q < GEMM_MOST &&
           (int64_t)g->kernel * g->kernel * g->c < GEMM_MOST &&
           (int64_t)g->kernel * g->kernel * g->k < GEMM_MOST;
}

static cf_gemm_shape gemm_shape(const cf_geometry *g, cf_conv_pass pass)
{
    cf_gemm_shape s = {};
    s.h = g->h, s.w = g->w, s.c = g->c;
    s.k = g->k, s.p = g->p, s.q = g->q;
    s.kernel = g->kernel, s.stride = g->stride;
    s.pad_top = g->pad_top, s.pad_left = g->pad_left;
    s.by_h = cf_divider_of(g->h), s.by_w = cf_divider_of(g->w);
    s.by_c = cf_divider_of(g->c), s.by_k = cf_divider_of(g->k);
    s.by_p = cf_divider_of(g->p), s.by_q = cf_divider_of(g->q);
    s.by_kernel = cf_divider_of(g->kernel), s.by_stride = cf_divider_of(g->stride);
    s.rows = pass == CF_CONV_DATA ? g->n * g->h * g->w : g->n * g->p * g->q;
    s.length = g->kernel * g->kernel * (pass == CF_CONV_DATA ? g->k : g->c);
    return s;
}

/* Cuts rows x columns into tiles: the large one where that fills the device and wastes little. */
static void gemm_cut(cf_gemm_plan *plan, int64_t rows, int columns)
{
    static const struct {
        cf_tile_kind kind;
        int rows, columns;
    } tiles[] = {{CF_TILE_WIDE, cf_tile_wide::rows, cf_tile_wide::columns},
                 {CF_TILE_NARROW, cf_tile_narrow::rows, cf_tile_narrow::columns},
                 {CF_TILE_SMALL, cf_tile_small::rows, cf_tile_small::columns}};
    bool half = (columns - 1) % 128 < 64; /* the last wide tile would be half empty */
    for (int i = half ? 1 : 0; i < 3; i++) {
        plan->tile = tiles[i].kind;
        plan->down = gemm_tiles(rows, tiles[i].rows);
        plan->across = gemm_tiles(columns, tiles[i].columns);
        if ((int64_t)plan->down * plan->across >= GEMM_WAVE * 3 / 4) break;
    }
}

static void gemm_plan_pixels(cf_gemm_plan *plan, const cf_geometry *g, cf_conv_pass pass)
{
    bool data = pass == CF_CONV_DATA, point = g->kernel == 1 && g->pad_top == 0 && g->pad_left == 0;
    plan->cells = data && point && g->stride > 1 && (int64_t)g->p * g->stride >= g->h &&
                  (int64_t)g->q * g->stride >= g->w && (g->p - 1) * g->stride < g->h &&
                  (g->q - 1) * g->stride < g->w;
    bool same = point && g->stride == 1 && g->p == g->h && g->q == g->w;
    if (plan->cells) plan->shape.rows = g->n * g->p * g->q;
    plan->gather = plan->cells || same ? CF_GATHER_POINT : CF_GATHER_TAPS;
    gemm_cut(plan, plan->shape.rows, data ? g->c : g->k);
    if (g->c % 8 != 0) {
        plan->gather = CF_GATHER_IMAGE;
        plan->tile = CF_TILE_NARROW;
        plan->down = gemm_tiles(plan->shape.rows, cf_tile_narrow::rows);
        plan->across = gemm_tiles(g->k, cf_tile_narrow::columns);
    }
    int64_t group = (int64_t)plan->down * plan->across / (GEMM_WAVE * GEMM_WAVES);
    plan->group = (int)(group < 1 ? 1 : group > GEMM_MOST_GROUP ? (int64_t)GEMM_MOST_GROUP : group);
    plan->parts = gemm_tiles(plan->down, plan->group);
}

/* As many parts as fill one wave, of at least two steps each. */
static void gemm_plan_weights(cf_gemm_plan *plan, const cf_geometry *g)
{
    bool same = g->kernel == 1 && g->stride == 1 && g->pad_top == 0 && g->pad_left == 0 &&
                g->p == g->h && g->q == g->w;
    int rows = 128, columns = 128;
    plan->gather = same ? CF_GATHER_POINT : CF_GATHER_TAPS;
    plan->tile = CF_TILE_WIDE;
    if (g->c % 8 != 0) {
        plan->gather = CF_GATHER_IMAGE;
        plan->tile = CF_TILE_IMAGE;
        rows = cf_tile_image::rows, columns = cf_tile_image::columns;
    } else if (g->k <= 64) {
        plan->tile = CF_TILE_SMALL;
        rows = columns = 64;
    } else if ((plan->shape.length - 1) % 128 < 64) {
        plan->tile = CF_TILE_NARROW;
        columns = 64;
    }
    plan->down = gemm_tiles(g->k, rows);
    plan->across = gemm_tiles(plan->shape.length, columns);
    int64_t wanted = GEMM_WAVE / ((int64_t)plan->down * plan->across);
    int64_t most = gemm_tiles(plan->shape.rows, GEMM_LEAST_ROWS);
    wanted = wanted < 1 ? 1 : wanted > most ? most : wanted;
    int steps = gemm_tiles(gemm_tiles(plan->shape.rows, (int)wanted), CF_GEMM_DEPTH);
    plan->rows_per_part = steps * CF_GEMM_DEPTH;
    plan->parts = gemm_tiles(plan->shape.rows, plan->rows_per_part);
}

cf_gemm_plan cf_gemm_plan_of(const cf_geometry *g, cf_conv_pass pass)
{
    cf_gemm_plan plan = {};
    plan.shape = gemm_shape(g, pass);
    if (pass == CF_CONV_WEIGHTS)
        gemm_plan_weights(&plan, g);
    else
        gemm_plan_pixels(&plan, g, pass);
    return plan;
}

static int64_t gemm_parts(const cf_geometry *g, cf_conv_pass pass)
{
    return cf_gemm_plan_of(g, pass).parts;
}

static cf_err gemm_run(cudaStream_t s, const cf_conv_call *call)
{
    cf_gemm_plan plan = cf_gemm_plan_of(call->geometry, call->pass);
    return call->pass == CF_CONV_FORWARD ? cf_gemm_forward(s, call, plan)
           : call->pass == CF_CONV_DATA  ? cf_gemm_data(s, call, plan)
                                         : cf_gemm_weights(s, call, plan);
}

extern const cf_conv_kernel cf_conv_gemm = {"gemm", true, gemm_supports, gemm_parts, gemm_run};
