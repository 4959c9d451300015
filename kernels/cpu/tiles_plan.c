/* What the tiles of kernels/cpu/tiles.h compute, on any machine: layouts, and the output's last
 * turn. */
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/tiles.h"

enum { SIDE = CF_TILES_SIDE, BLOCK = CF_TILES_BLOCK, STRIP = CF_TILES_STRIP };

/* Images with three channels: the channels of one filter row are neighbours in memory, at every
 * pixel, if the image has a frame of zeros. Rows are then the taps, and each has kernel * C
 * channels. */
static bool is_framed(const cf_node *node)
{
    return node->conv.groups == 1 && node->conv.kernel > 1 && node->in_shape.c < SIDE &&
           node->conv.kernel * node->in_shape.c <= 2 * SIDE;
}

static void fill_offsets(const cf_node *node, int32_t *offsets)
{
    const cf_shape *in = &node->in_shape, *out = &node->out_shape;
    const cf_conv *w = &node->conv;
    for (int tap = 0; tap < w->kernel * w->kernel; tap++) {
        for (int64_t p = 0; p < out->h * out->w; p++) {
            int64_t y = p / out->w * w->stride + tap / w->kernel - node->pad_top;
            int64_t x = p % out->w * w->stride + tap % w->kernel - node->pad_left;
            bool inside = y >= 0 && y < in->h && x >= 0 && x < in->w;
            *offsets++ = inside ? (int32_t)((y * in->w + x) * in->c) : -1;
        }
    }
}

static void fill_framed_offsets(const cf_tiles *t, const cf_node *node, int32_t *offsets)
{
    const cf_shape *out = &node->out_shape;
    int stride = node->conv.stride;
    for (int64_t row = 0; row < t->taps; row++)
        for (int64_t p = 0; p < out->h * out->w; p++)
            *offsets++ =
                (int32_t)(((p / out->w * stride + row) * t->frame_w + p % out->w * stride) * t->c);
}

/* Without the offsets: sizes only. */
static cf_tiles sizes_of(const cf_node *node)
{
    const cf_shape *in = &node->in_shape, *out = &node->out_shape;
    int kernel = node->conv.kernel;
    cf_tiles t = {.in_image = in->h * in->w * in->c,
                  .pixels = out->h * out->w,
                  .c = in->c,
                  .k = out->c,
                  .taps = (int64_t)kernel * kernel,
                  .node = node};
    t.slab = cf_slab_plan(in->c, out->c, node->conv.groups, kernel, SIDE);
    t.c_slab = t.slab.c_group * t.slab.merged;
    t.k_slab = t.slab.k_group * t.slab.merged;
    t.swapped = t.taps == 1 && t.c_slab == t.c && t.k > t.c;
    if (!is_framed(node)) return t;
    t.taps = kernel;
    t.c_slab = (kernel * in->c + SIDE - 1) / SIDE * SIDE;
    t.frame_h = (out->h - 1) * node->conv.stride + kernel;
    t.frame_w = (out->w - 1) * node->conv.stride + kernel;
    t.in_image = t.frame_h * t.frame_w * t.c;
    return t;
}

int64_t cf_tiles_output(const cf_node *node)
{
    cf_tiles t = sizes_of(node);
    if (t.c_slab % SIDE != 0 || t.k_slab % SIDE != 0 || t.in_image > INT32_MAX) return 0;
    return cf_tiles_elements(&t);
}

cf_err cf_tiles_plan(const cf_node *node, int64_t n_chunks, cf_tiles *t)
{
    if (cf_tiles_output(node) == 0)
        return cf_fail(CF_E_UNEXPECTED, "node %s: channels do not fit tiles", node->name);
    *t = sizes_of(node);
    t->chunk = node->out_shape.n * t->pixels / n_chunks;
    CF_TRY(cf_new(&t->offsets, (size_t)(t->taps * t->pixels), sizeof *t->offsets));
    if (t->frame_w > 0) {
        fill_framed_offsets(t, node, t->offsets);
    } else {
        fill_offsets(node, t->offsets);
    }
    return CF_OK;
}

void cf_tiles_fini(cf_tiles *t)
{
    free(t->offsets);
    *t = (cf_tiles){0};
}

int64_t cf_tiles_elements(const cf_tiles *t)
{
    return t->k * t->taps * t->c_slab;
}

int64_t cf_tiles_columns(const cf_tiles *t)
{
    return t->swapped ? t->k : t->taps * t->c_slab;
}

int64_t cf_tiles_widest(const cf_tiles *t)
{
    int64_t in = t->c > t->c_slab ? t->c : t->c_slab;
    return t->k > in ? t->k : in;
}

/* The last pixel of a frame is read beyond its end, by less than a row of tiles. */
int64_t cf_tiles_frames(const cf_tiles *t)
{
    return t->frame_w > 0 ? t->chunk / t->pixels * t->in_image + 2 * SIDE : 0;
}

/* Left and right tiles, a row of zeros, frames, tables of pixel pointers. */
size_t cf_tiles_scratch(const cf_tiles *t)
{
    int64_t elements =
        (STRIP + cf_tiles_columns(t)) * BLOCK + cf_tiles_widest(t) + cf_tiles_frames(t);
    return (size_t)elements * sizeof(uint16_t) + (size_t)(t->taps + 1) * BLOCK * sizeof(void *) +
           64;
}

static void add_parts(float *out, int64_t n, int64_t n_parts)
{
#pragma omp parallel for schedule(static) if (n > 1 << 16)
    for (int64_t i = 0; i < n; i++)
        for (int64_t m = 1; m < n_parts; m++) out[i] += out[m * n + i];
}

const float *cf_tiles_finish(const cf_tiles *t, float *out, int64_t n_parts, float *spare)
{
    if (n_parts > 1) add_parts(out, cf_tiles_elements(t), n_parts);
    if (t->frame_w > 0) {
        int64_t row = t->node->conv.kernel * t->c;
        for (int64_t i = 0; i < t->k * t->taps; i++)
            memcpy(spare + i * row, out + i * t->c_slab, (size_t)row * sizeof *out);
        return spare;
    }
    if (t->slab.merged > 1) {
        cf_slab_extract(&t->slab, out, spare);
        return spare;
    }
    if (!t->swapped) return out;
    for (int64_t k = 0; k < t->k; k++)
        for (int64_t c = 0; c < t->c; c++) spare[k * t->c + c] = out[c * t->k + k];
    return spare;
}
