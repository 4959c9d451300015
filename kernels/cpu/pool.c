#include "kernels/cpu/pool.h"

#include <math.h>
#include <stddef.h>

#include "kernels/cpu/simd.h"

static int lanes_at(int64_t c, int64_t channels)
{
    return channels - c < CF_LANES ? (int)(channels - c) : CF_LANES;
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

/* One window, channels c .. c+15. A NaN wins, so that it is not lost. */
CF_INLINE void max_window(const cf_pool *p, int64_t image, span rows, span cols, int64_t out,
                          int64_t c, int lanes, cf_dtype dtype)
{
    const cf_shape *in = &p->node->in_shape;
    cf_vec best = cf_vec_set(-INFINITY);
    cf_ivec which = {0};
    int kernel = p->node->conv.kernel;
    which += rows.r0 * kernel + cols.r0;
    for (int r = rows.r0; r < rows.r1; r++) {
        for (int s = cols.r0; s < cols.r1; s++) {
            int64_t pixel = (image * in->h + rows.first + r) * in->w + cols.first + s;
            cf_vec x = cf_vec_load_part(p->in, pixel * in->c + c, dtype, lanes);
            cf_ivec wins = ~(x <= best);
            best = cf_vec_select(wins, x, best);
            which = (which & ~wins) | (wins & (r * kernel + s));
        }
    }
    cf_vec_store_part(p->out, out + c, dtype, lanes, best);
    if (p->winner == NULL) return;
    typedef uint8_t bytes __attribute__((vector_size(16)));
    bytes b = __builtin_convertvector(which, bytes);
    memcpy(p->winner + out + c, &b, (size_t)lanes);
}

CF_INLINE void max_body(const cf_pool *p, cf_dtype dtype)
{
    const cf_node *node = p->node;
    const cf_shape *in = &node->in_shape, *out = &node->out_shape;
    const cf_conv *w = &node->conv;
    for (int64_t i = 0; i < p->n_images * out->h; i++) {
        int64_t image = i / out->h;
        span rows = window_at(i % out->h, w->stride, node->pad_top, w->kernel, in->h);
        for (int64_t x = 0; x < out->w; x++) {
            span cols = window_at(x, w->stride, node->pad_left, w->kernel, in->w);
            int64_t at = (i * out->w + x) * in->c;
            for (int64_t c = 0; c < in->c; c += CF_LANES)
                max_window(p, image, rows, cols, at, c, lanes_at(c, in->c), dtype);
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

CF_INLINE cf_vec gradient_at(const cf_pool *p, int64_t i, int lanes, cf_dtype dtype)
{
    cf_vec g = cf_vec_load_part(p->contributions[0], i, dtype, lanes);
    for (int k = 1; k < p->n_contributions; k++)
        g += cf_vec_load_part(p->contributions[k], i, dtype, lanes);
    return g;
}

CF_INLINE cf_ivec winner_at(const uint8_t *winner, int lanes)
{
    typedef uint8_t bytes __attribute__((vector_size(16)));
    bytes b = {0};
    memcpy(&b, winner, (size_t)lanes);
    return __builtin_convertvector(b, cf_ivec);
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

/* One input pixel gathers from the windows it has won. */
CF_INLINE void max_backward_pixel(const cf_pool *p, int64_t image, int64_t y, int64_t x,
                                  cf_dtype dtype)
{
    const cf_node *node = p->node;
    const cf_shape *in = &node->in_shape, *out = &node->out_shape;
    const cf_conv *w = &node->conv;
    int64_t oy0, oy1, ox0, ox1;
    windows_over(y, w->stride, node->pad_top, w->kernel, out->h, &oy0, &oy1);
    windows_over(x, w->stride, node->pad_left, w->kernel, out->w, &ox0, &ox1);
    for (int64_t c = 0; c < in->c; c += CF_LANES) {
        int lanes = lanes_at(c, in->c);
        cf_vec sum = {0};
        for (int64_t oy = oy0; oy < oy1; oy++) {
            for (int64_t ox = ox0; ox < ox1; ox++) {
                int64_t at = ((image * out->h + oy) * out->w + ox) * in->c + c;
                int64_t r = y - (oy * w->stride - node->pad_top);
                int64_t s = x - (ox * w->stride - node->pad_left);
                cf_ivec won = winner_at(p->winner + at, lanes) == (int32_t)(r * w->kernel + s);
                sum += (cf_vec)((cf_ivec)gradient_at(p, at, lanes, dtype) & won);
            }
        }
        int64_t to = ((image * in->h + y) * in->w + x) * in->c + c;
        cf_vec_store_part(p->gin, to, dtype, lanes, sum);
    }
}

CF_INLINE void max_backward_body(const cf_pool *p, cf_dtype dtype)
{
    const cf_shape *in = &p->node->in_shape;
    for (int64_t i = 0; i < p->n_images * in->h; i++)
        for (int64_t x = 0; x < in->w; x++) max_backward_pixel(p, i / in->h, i % in->h, x, dtype);
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
        for (int64_t c = 0; c < in->c; c += CF_LANES) {
            int lanes = lanes_at(c, in->c);
            cf_vec total = {0};
            for (int64_t i = 0; i < pixels; i += PART) {
                int64_t end = i + PART < pixels ? i + PART : pixels;
                cf_vec sum = {0};
                for (int64_t k = i; k < end; k++)
                    sum += cf_vec_load_part(p->in, (n * pixels + k) * in->c + c, dtype, lanes);
                total += sum;
            }
            total *= 1.0f / (float)pixels;
            cf_vec_store_part(p->out, n * in->c + c, dtype, lanes, total);
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
            for (int64_t c = 0; c < in->c; c += CF_LANES) {
                int lanes = lanes_at(c, in->c);
                cf_vec g = gradient_at(p, n * in->c + c, lanes, dtype);
                g *= 1.0f / (float)pixels;
                cf_vec_store_part(p->gin, (n * pixels + k) * in->c + c, dtype, lanes, g);
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
