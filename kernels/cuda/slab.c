/* The engine of grouped 3x3 convolutions: how images are cut, what each pass is told. */
#include "kernels/cuda/slab.h"

enum {
    TILE_ROWS = 8,
    /* Blocks of a pass: what an H100 of 132 processors holds at once with three or two on each, so
     * that all finish together. The same on every device, as sums are cut by it. */
    BLOCKS = 396,
    BLOCKS_WIDE = 264,
};

static int channels_of_group(const cf_geometry *g)
{
    return g->c / g->groups;
}

/* Rows of a filter that 8 of its columns need (slab.cuh). */
static int span_of(const cf_geometry *g)
{
    int group = channels_of_group(g);
    return group <= 8 ? 8 : group;
}

static bool fits_int(int64_t rows, int64_t columns, int64_t channels)
{
    return rows * columns < INT32_MAX / channels;
}

/* Cells of a direction: output pixels, or the gradient's squares of two. */
static int cells(const cf_geometry *g, cf_conv_pass pass, int in, int out, int pad)
{
    if (pass != CF_CONV_DATA) return out;
    return g->stride == 1 ? in : (pad + in - 1) / 2 - pad / 2 + 1;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static cf_slab_plan plan_of(const cf_geometry *g, cf_conv_pass pass)
{
    int rows = cells(g, pass, g->h, g->p, g->pad_top);
    int columns = cells(g, pass, g->w, g->q, g->pad_left);
    cf_slab_plan p = {.width = 8};
    /* A wide tile reads 180 pixels, a narrow one 100: whichever reads less in all. */
    if (g->stride == 1 && ceil_div(columns, 16) * 180 <= ceil_div(columns, 8) * 100) p.width = 16;
    p.tiles_y = (int)ceil_div(rows, TILE_ROWS);
    p.tiles_x = (int)ceil_div(columns, p.width);
    p.n_tiles = (int64_t)g->n * p.tiles_y * p.tiles_x;
    bool narrow = span_of(g) == 8 && pass == CF_CONV_FORWARD;
    int64_t most = (narrow ? BLOCKS : BLOCKS_WIDE) / (g->c / 32);
    if (most < 1) most = 1;
    /* As many parts as are needed for the longest one to be as short as it can be. */
    p.parts = (int)ceil_div(p.n_tiles, ceil_div(p.n_tiles, most));
    return p;
}

static bool supports(const cf_geometry *g, cf_conv_pass pass)
{
    (void)pass;
    if (g->dtype != CF_BF16 && g->dtype != CF_F16) return false;
    if (g->kernel != 3 || (g->stride != 1 && g->stride != 2)) return false;
    if (g->pad_top < 0 || g->pad_left < 0 || g->n < 1) return false;
    if (g->groups < 1 || g->c != g->k || g->c % 32 != 0 || g->c % g->groups != 0) return false;
    int group = channels_of_group(g);
    if (group > 32 || (group & (group - 1)) != 0) return false;
    /* Places within an image, and tiles, are counted in int; slabs and parts are a grid's y. */
    return fits_int(g->h, g->w, g->c) && fits_int(g->p, g->q, g->c) &&
           plan_of(g, pass).n_tiles < INT32_MAX / 2;
}

static int64_t parts(const cf_geometry *g, cf_conv_pass pass)
{
    return plan_of(g, pass).parts;
}

static float slope_of(cf_act act, float slope)
{
    return act == CF_ACT_NONE ? 1.0f : act == CF_ACT_RELU ? 0.0f : slope;
}

static cf_slab_source seen_through(const cf_cuda_view *v, int h, int w)
{
    return (cf_slab_source){.x = (const uint16_t *)v->x,
                            .scale = v->scale,
                            .shift = v->shift,
                            .slope = slope_of(v->act, v->slope),
                            .h = h,
                            .w = w};
}

static cf_slab_source gradient_of(const cf_cuda_gradient *g, int h, int w)
{
    return (cf_slab_source){.x = (const uint16_t *)g->g,
                            .y = g->a ? (const uint16_t *)g->y : NULL,
                            .scale = g->a,
                            .other = g->b,
                            .shift = g->d,
                            .slope = 1.0f,
                            .h = h,
                            .w = w};
}

/* Where the first cell starts: what it looks at first in the source, and its first result. */
static void place(const cf_geometry *g, cf_conv_pass pass, int pad, int *first, int *out)
{
    bool split = pass == CF_CONV_DATA && g->stride == 2;
    *first = pass != CF_CONV_DATA ? -pad : split ? pad / 2 - 1 : pad - 2;
    *out = split ? pad / 2 * 2 - pad : 0;
}

static cf_slab_args args_of(const cf_conv_call *call, const cf_slab_plan *p)
{
    const cf_geometry *g = call->geometry;
    cf_slab_args a = {.n_tiles = (int)p->n_tiles,
                      .tiles_y = p->tiles_y,
                      .tiles_x = p->tiles_x,
                      .c = g->c,
                      .weights = (const uint16_t *)call->weights,
                      .partials = call->partials,
                      .weight_gradient = call->gradient};
    while (1 << a.log_group < channels_of_group(g)) a.log_group++;
    if (call->pass == CF_CONV_DATA) {
        a.source = gradient_of(&call->gy, g->p, g->q);
        a.input = seen_through(&call->input_view, g->h, g->w);
        a.mean = call->input_mean;
        a.out = (uint16_t *)call->gin;
    } else {
        a.source = seen_through(&call->x, g->h, g->w);
        a.gradient = gradient_of(&call->gy, g->p, g->q);
        a.out = (uint16_t *)call->y;
    }
    place(g, call->pass, g->pad_top, &a.source.first_y, &a.out_y);
    place(g, call->pass, g->pad_left, &a.source.first_x, &a.out_x);
    a.out_h = call->pass == CF_CONV_DATA ? g->h : g->p;
    a.out_w = call->pass == CF_CONV_DATA ? g->w : g->q;
    return a;
}

static cf_err run(cudaStream_t s, const cf_conv_call *call)
{
    const cf_geometry *g = call->geometry;
    cf_slab_plan p = plan_of(g, call->pass);
    cf_slab_args a = args_of(call, &p);
    switch (call->pass) {
    case CF_CONV_FORWARD:
        cf_slab_forward(s, g, &p, span_of(g), &a);
        break;
    case CF_CONV_DATA:
        cf_slab_data(s, g, &p, span_of(g), &a);
        break;
    case CF_CONV_WEIGHTS:
        cf_slab_weights(s, g, &p, span_of(g), &a);
        break;
    }
    return cf_cuda_check(cudaGetLastError(), "grouped 3x3 convolution");
}

const cf_conv_kernel cf_conv_slab = {"slab", true, supports, parts, run};
