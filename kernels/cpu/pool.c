#include "kernels/cpu/pool.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernels/cpu/simd.h"

static int lanes_at(int64_t c, int64_t channels)
{
    return channels - c < CF_PAIR ? (int)(channels - c) : CF_PAIR;
}

/* Channels with room for whole pairs. */
static int64_t padded(int64_t channels)
{
    return (channels + CF_PAIR - 1) / CF_PAIR * CF_PAIR;
}

int64_t cf_pool_winners(const cf_node *node)
{
    const cf_shape *out = &node->out_shape;
    return out->h * out->w * padded(out->c);
}

/* The part of a window inside the image: rows r0 .. r1-1 of the kernel; the same for columns. */
typedef struct span {
    int64_t first; /* image row of kernel row 0 */
    int r0, r1;
} span;

static span window_at(int64_t out, int stride, int pad, int kernel, int64_t size)
{
    span s = {.first = out * stride - pad, .r0 = 0, .r1 = kernel};
    if (s.first < 0) s.r0 = (int)-s.first;
    if (s.first + kernel > size) s.r1 = (int)(size - s.first);
    return s;
}

/* ---- maximum ----------------------------------------------------------------------------------
 */

/* A window's output pixel, counted over all images, and its part inside the image. */
typedef struct window {
    int64_t image, pixel;
    span rows, cols;
} window;

CF_INLINE void keep_larger(cf_vec *best, cf_ivec *which, cf_vec x, int at)
{
    cf_ivec wins = ~(x <= *best); /* a NaN wins, so that it is not lost */
    *best = cf_vec_select(wins, x, *best);
    *which = (*which & ~wins) | (wins & at);
}

/* Channels c .. c+31. */
CF_INLINE void max_window(const cf_pool *p, const window *w, int64_t c, int lanes, cf_dtype dtype)
{
    const cf_shape *in = &p->node->in_shape;
    int kernel = p->node->conv.kernel;
    cf_pair best = {cf_vec_set(-INFINITY), cf_vec_set(-INFINITY)};
    cf_ivec first = (cf_ivec){0} + (w->rows.r0 * kernel + w->cols.r0), a = first, b = first;
    for (int r = w->rows.r0; r < w->rows.r1; r++) {
        for (int s = w->cols.r0; s < w->cols.r1; s++) {
            int64_t pixel = (w->image * in->h + w->rows.first + r) * in->w + w->cols.first + s;
            cf_pair x = cf_pair_load(p->in, pixel * in->c + c, dtype, lanes);
            keep_larger(&best.a, &a, x.a, r * kernel + s);
            keep_larger(&best.b, &b, x.b, r * kernel + s);
        }
    }
    cf_pair_store(p->out, w->pixel * in->c + c, dtype, lanes, best);
    if (p->winner == NULL) return;
    cf_bytes bytes[2] = {__builtin_convertvector(a, cf_bytes),
                         __builtin_convertvector(b, cf_bytes)};
    memcpy(p->winner + w->pixel * padded(in->c) + c, bytes, sizeof bytes);
}

/* Values of the even pixels (or of the odd ones) among 64 / channels; channels: 8 or 16. */
CF_INLINE cf_pair every_other(const uint16_t *p, int channels, bool odd)
{
    cf_uvec a, b;
    memcpy(&a, p, sizeof a);
    memcpy(&b, p + CF_PAIR, sizeof b);
    if (channels == 8 && !odd)
        a = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    else if (channels == 8)
        a = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30,
                                    31);
    else if (!odd)
        a = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    else
        a = __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30,
                                    31);
    return cf_pair_split(a);
}

CF_INLINE void keep_larger_pair(cf_pair *best, cf_pair x)
{
    best->a = cf_vec_select(~(x.a <= best->a), x.a, best->a);
    best->b = cf_vec_select(~(x.b <= best->b), x.b, best->b);
}

/* Windows of 2 x 2 over few channels, in bf16 and without winners: as many output pixels at a time
 * as fill a pair, by the same comparisons. Returns how many of output row `row`, counted over all
 * images, are done. */
CF_INLINE int64_t max_few_channels(const cf_pool *p, int64_t row, int channels)
{
    const cf_shape *in = &p->node->in_shape, *out = &p->node->out_shape;
    int64_t width = in->w * channels, x = 0;
    int64_t in_row = row / out->h * in->h + row % out->h * 2;
    const uint16_t *top = (const uint16_t *)p->in + in_row * width, *low = top + width;
    uint16_t *to = (uint16_t *)p->out + row * out->w * channels;
    for (; x + CF_PAIR / channels <= out->w; x += CF_PAIR / channels) {
        cf_pair best = every_other(top, channels, false);
        keep_larger_pair(&best, every_other(top, channels, true));
        keep_larger_pair(&best, every_other(low, channels, false));
        keep_larger_pair(&best, every_other(low, channels, true));
        cf_pair_store(to, 0, CF_BF16, CF_PAIR, best);
        top += 2 * CF_PAIR;
        low += 2 * CF_PAIR;
        to += CF_PAIR;
    }
    return x;
}

static int64_t max_begin(const cf_pool *p, int64_t row)
{
    const cf_node *n = p->node;
    bool plain = n->conv.kernel == 2 && n->conv.stride == 2 && n->pad_top == 0 && n->pad_left == 0;
    if (!plain || p->dtype != CF_BF16 || p->winner != NULL) return 0;
    if (2 * n->out_shape.h > n->in_shape.h || 2 * n->out_shape.w > n->in_shape.w) return 0;
    if (n->in_shape.c == 8) return max_few_channels(p, row, 8);
    return n->in_shape.c == 16 ? max_few_channels(p, row, 16) : 0;
}

CF_INLINE void max_body(const cf_pool *p, cf_dtype dtype)
{
    const cf_node *node = p->node;
    const cf_shape *in = &node->in_shape, *out = &node->out_shape;
    const cf_conv *conv = &node->conv;
    for (int64_t i = 0; i < p->n_images * out->h; i++) {
        window w = {.image = i / out->h};
        w.rows = window_at(i % out->h, conv->stride, node->pad_top, conv->kernel, in->h);
        for (int64_t x = max_begin(p, i); x < out->w; x++) {
            w.pixel = i * out->w + x;
            w.cols = window_at(x, conv->stride, node->pad_left, conv->kernel, in->w);
            int64_t c = 0;
            for (; c + CF_PAIR <= in->c; c += CF_PAIR) max_window(p, &w, c, CF_PAIR, dtype);
            if (c < in->c) max_window(p, &w, c, lanes_at(c, in->c), dtype);
        }
    }
}

void cf_pool_max(const cf_pool *p)
{
    if (p->dtype == CF_BF16) {
        max_body(p, CF_BF16);
    } else {
        max_body(p, CF_F32);
    }
}

CF_INLINE cf_pair gradient_at(const cf_pool *p, int64_t i, int lanes, cf_dtype dtype)
{
    cf_pair g = cf_pair_load(p->contributions[0], i, dtype, lanes);
    for (int k = 1; k < p->n_contributions; k++) {
        cf_pair more = cf_pair_load(p->contributions[k], i, dtype, lanes);
        g.a += more.a;
        g.b += more.b;
    }
    return g;
}

/* First and one past the last output index whose window holds input index `i`. */
static void windows_over(int64_t i, int stride, int pad, int kernel, int64_t n_out, int64_t *first,
                         int64_t *end)
{
    int64_t low = i + pad - kernel + 1;
    *first = low <= 0 ? 0 : (low + stride - 1) / stride;
    *end = (i + pad) / stride + 1;
    if (*end > n_out) *end = n_out;
}

/* An input pixel and the windows over it. */
typedef struct covered {
    int64_t image, y, x;
    int64_t oy0, oy1, ox0, ox1;
} covered;

/* One input pixel gathers from the windows it has won. Channels c .. c+31. */
CF_INLINE void max_backward_pixel(const cf_pool *p, const covered *at, int64_t c, int lanes,
                                  cf_dtype dtype)
{
    const cf_node *node = p->node;
    const cf_shape *in = &node->in_shape, *out = &node->out_shape;
    const cf_conv *w = &node->conv;
    cf_pair sum = {0};
    for (int64_t oy = at->oy0; oy < at->oy1; oy++) {
        int64_t r = at->y - (oy * w->stride - node->pad_top);
        for (int64_t ox = at->ox0; ox < at->ox1; ox++) {
            int64_t pixel = (at->image * out->h + oy) * out->w + ox;
            int64_t s = at->x - (ox * w->stride - node->pad_left);
            const uint8_t *winner = p->winner + pixel * padded(in->c) + c;
            uint8_t code = (uint8_t)(r * w->kernel + s);
            cf_pair g = gradient_at(p, pixel * in->c + c, lanes, dtype);
            sum.a = cf_vec_add_where(sum.a, g.a, winner, code);
            sum.b = cf_vec_add_where(sum.b, g.b, winner + CF_LANES, code);
        }
    }
    int64_t to = (at->image * in->h + at->y) * in->w + at->x;
    cf_pair_store(p->gin, to * in->c + c, dtype, lanes, sum);
}

CF_INLINE void max_backward_body(const cf_pool *p, cf_dtype dtype)
{
    const cf_node *node = p->node;
    const cf_shape *in = &node->in_shape, *out = &node->out_shape;
    const cf_conv *w = &node->conv;
    for (int64_t i = 0; i < p->n_images * in->h; i++) {
        covered at = {.image = i / in->h, .y = i % in->h};
        windows_over(at.y, w->stride, node->pad_top, w->kernel, out->h, &at.oy0, &at.oy1);
        for (at.x = 0; at.x < in->w; at.x++) {
            windows_over(at.x, w->stride, node->pad_left, w->kernel, out->w, &at.ox0, &at.ox1);
            int64_t c = 0;
            for (; c + CF_PAIR <= in->c; c += CF_PAIR)
                max_backward_pixel(p, &at, c, CF_PAIR, dtype);
            if (c < in->c) max_backward_pixel(p, &at, c, lanes_at(c, in->c), dtype);
        }
    }
}

void cf_pool_max_backward(const cf_pool *p)
{
    if (p->dtype == CF_BF16) {
        max_backward_body(p, CF_BF16);
    } else {
        max_backward_body(p, CF_F32);
    }
}

/* ---- mean over all pixels ---------------------------------------------------------------------
 */

/* fp32 sums of 64 pixels, joined in fp32: at most a few thousand pixels come here. */
CF_INLINE void mean_body(const cf_pool *p, cf_dtype dtype)
{
    enum { PART = 64 };
    const cf_shape *in = &p->node->in_shape;
    int64_t pixels = in->h * in->w;
    for (int64_t n = 0; n < p->n_images; n++) {
        for (int64_t c = 0; c < in->c; c += CF_PAIR) {
            int lanes = lanes_at(c, in->c);
            cf_pair total = {0};
            for (int64_t i = 0; i < pixels; i += PART) {
                int64_t end = i + PART < pixels ? i + PART : pixels;
                cf_pair sum = {0};
                for (int64_t k = i; k < end; k++) {
                    cf_pair x = cf_pair_load(p->in, (n * pixels + k) * in->c + c, dtype, lanes);
                    sum.a += x.a;
                    sum.b += x.b;
                }
                total.a += sum.a;
                total.b += sum.b;
            }
            total.a *= 1.0f / (float)pixels;
            total.b *= 1.0f / (float)pixels;
            cf_pair_store(p->out, n * in->c + c, dtype, lanes, total);
        }
    }
}

void cf_pool_mean(const cf_pool *p)
{
    if (p->dtype == CF_BF16) {
        mean_body(p, CF_BF16);
    } else {
        mean_body(p, CF_F32);
    }
}

CF_INLINE void mean_backward_body(const cf_pool *p, cf_dtype dtype)
{
    const cf_shape *in = &p->node->in_shape;
    int64_t pixels = in->h * in->w;
    for (int64_t n = 0; n < p->n_images; n++) {
        for (int64_t k = 0; k < pixels; k++) {
            for (int64_t c = 0; c < in->c; c += CF_PAIR) {
                int lanes = lanes_at(c, in->c);
                cf_pair g = gradient_at(p, n * in->c + c, lanes, dtype);
                g.a *= 1.0f / (float)pixels;
                g.b *= 1.0f / (float)pixels;
                cf_pair_store(p->gin, (n * pixels + k) * in->c + c, dtype, lanes, g);
            }
        }
    }
}

void cf_pool_mean_backward(const cf_pool *p)
{
    if (p->dtype == CF_BF16) {
        mean_backward_body(p, CF_BF16);
    } else {
        mean_backward_body(p, CF_F32);
    }
}
