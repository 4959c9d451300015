#include "kernels/cpu/norm.h"

#include <math.h>
#include <stddef.h>

#include "kernels/cpu/simd.h"

/* Pixels summed in fp32 before the sum goes into a double; pixels taken together, so that what
 * belongs to a channel is loaded once for all of them; channels whose sums stay in the first-level
 * cache. */
enum { FLUSH = 256, TOGETHER = 8, BLOCK = 256 };

static int lanes_at(int64_t c, int64_t channels)
{
    return channels - c < CF_PAIR ? (int)(channels - c) : CF_PAIR;
}

/* ---- forward ----------------------------------------------------------------------------------
 */

/* Running sums of up to BLOCK channels, in the order of pairs. */
typedef struct block_sums {
    float pivot[BLOCK], s[BLOCK], q[BLOCK];
    double ds[BLOCK], dq[BLOCK];
} block_sums;

/* Adds `n` pixels from r on, channels c .. c+31, to the sums. Deviations are taken from the first
 * pixel, so that a mean far from zero costs no digits. */
CF_INLINE void add_pixels(const cf_norm_pass *p, block_sums *sums, int64_t r, int n, int64_t c0,
                          int64_t c, int lanes, cf_dtype dtype)
{
    cf_pair pivot = cf_pair_load(sums->pivot, c - c0, CF_F32, CF_PAIR);
    cf_pair s = cf_pair_load(sums->s, c - c0, CF_F32, CF_PAIR);
    cf_pair q = cf_pair_load(sums->q, c - c0, CF_F32, CF_PAIR);
#pragma GCC unroll 4
    for (int k = 0; k < n; k++) {
        cf_pair x = cf_pair_load(p->y, (r + k) * p->c + c, dtype, lanes);
        x.a -= pivot.a;
        x.b -= pivot.b;
        s.a += x.a;
        s.b += x.b;
        q.a = cf_vec_fma(x.a, x.a, q.a);
        q.b = cf_vec_fma(x.b, x.b, q.b);
    }
    cf_pair_store(sums->s, c - c0, CF_F32, CF_PAIR, s);
    cf_pair_store(sums->q, c - c0, CF_F32, CF_PAIR, q);
}

/* The channels that are left over, compiled once for all kinds: they are few, or rare. */
static __attribute__((noinline)) void add_rest(const cf_norm_pass *p, block_sums *sums, int64_t r,
                                               int n, int64_t c0, int64_t c1)
{
    int64_t c = c1 - (c1 - c0) % CF_PAIR;
    if (c < c1) add_pixels(p, sums, r, n, c0, c, lanes_at(c, c1), p->dtype);
}

static void flush(block_sums *sums)
{
    for (int i = 0; i < BLOCK; i++) {
        sums->ds[i] += (double)sums->s[i];
        sums->dq[i] += (double)sums->q[i];
        sums->s[i] = sums->q[i] = 0.0f;
    }
}

static void finish_block(const cf_norm_pass *p, const block_sums *sums, int64_t c0, int64_t c1,
                         cf_norm_sums out)
{
    double n = (double)p->rows;
    for (int i = 0; i < BLOCK; i++) {
        int64_t c = c0 + i / CF_PAIR * CF_PAIR + cf_pair_element(i % CF_PAIR, p->dtype);
        if (c >= c1) continue;
        double s = sums->ds[i], q = sums->dq[i];
        out.first[c] = (double)sums->pivot[i] + s / n;
        out.second[c] = fmax(0.0, q - s * s / n);
    }
}

CF_INLINE void statistics_body(const cf_norm_pass *pass, int64_t c0, int64_t c1, cf_dtype dtype,
                               cf_norm_sums out)
{
    const cf_norm_pass copy = *pass, *p = &copy; /* no store can change it: it stays in registers */
    block_sums sums = {0};
    for (int64_t c = c0; c < c1; c += CF_PAIR)
        cf_pair_store(sums.pivot, c - c0, CF_F32, CF_PAIR,
                      cf_pair_load(p->y, c, dtype, lanes_at(c, c1)));
    for (int64_t r = 0; r < p->rows;) {
        int64_t end = r + FLUSH < p->rows ? r + FLUSH : p->rows;
        for (; r < end; r += TOGETHER) {
            int n = end - r < TOGETHER ? (int)(end - r) : TOGETHER;
            for (int64_t c = c0; c + CF_PAIR <= c1; c += CF_PAIR)
                add_pixels(p, &sums, r, n, c0, c, CF_PAIR, dtype);
            add_rest(pass, &sums, r, n, c0, c1);
        }
        r = end;
        flush(&sums);
    }
    finish_block(pass, &sums, c0, c1, out);
}

void cf_norm_statistics(const cf_norm_pass *pass, cf_norm_sums out)
{
    for (int64_t c = 0; c < pass->c; c += BLOCK) {
        int64_t end = c + BLOCK < pass->c ? c + BLOCK : pass->c;
        if (pass->dtype == CF_BF16) {
            statistics_body(pass, c, end, CF_BF16, out);
        } else {
            statistics_body(pass, c, end, CF_F32, out);
        }
    }
}

void cf_norm_finish(const cf_norm_channels *n, const cf_norm_sums *sums, int64_t n_images,
                    int64_t pixels, int64_t c, float eps, const float *gamma, const float *beta,
                    float *unbiased)
{
    double part = (double)pixels;
    for (int64_t i = 0; i < c; i++) {
        double mean = 0.0, squares = 0.0;
        for (int64_t m = 0; m < n_images; m++) {
            double delta = sums[m].first[i] - mean, before = part * (double)m, all = before + part;
            mean += delta * (part / all);
            squares += sums[m].second[i] + delta * delta * (before * part / all);
        }
        double count = part * (double)n_images;
        double rstd = 1.0 / sqrt(squares / count + (double)eps);
        n->mean[i] = (float)mean;
        n->rstd[i] = (float)rstd;
        n->scale[i] = (float)((double)gamma[i] * rstd);
        n->shift[i] = (float)((double)beta[i] - mean * (double)gamma[i] * rstd);
        unbiased[i] = (float)(squares / (count > 1.0 ? count - 1.0 : 1.0));
    }
}

void cf_norm_from_running(const cf_norm_channels *n, int64_t c, float eps, const float *gamma,
                          const float *beta, const float *mean, const float *var)
{
    for (int64_t i = 0; i < c; i++) {
        double rstd = 1.0 / sqrt((double)var[i] + (double)eps);
        n->mean[i] = mean[i];
        n->rstd[i] = (float)rstd;
        n->scale[i] = (float)((double)gamma[i] * rstd);
        n->shift[i] = (float)((double)beta[i] - (double)mean[i] * (double)gamma[i] * rstd);
    }
}

/* What is done with a residual: nothing, added as it is, or normalised and added. */
typedef enum residual_kind { NO_RESIDUAL, PLAIN_RESIDUAL, NORM_RESIDUAL } residual_kind;

typedef struct apply_options {
    cf_dtype dtype;
    residual_kind residual;
    bool norm, activate;
} apply_options;

/* What belongs to channels c .. c+31. */
typedef struct apply_channels {
    cf_pair scale, shift, rscale, rshift;
} apply_channels;

CF_INLINE apply_channels load_channels(const cf_norm_pass *p, int64_t c, int lanes, apply_options o)
{
    apply_channels n = {0};
    if (o.norm) {
        n.scale = cf_pair_sorted(p->channels->scale, c, o.dtype, lanes);
        n.shift = cf_pair_sorted(p->channels->shift, c, o.dtype, lanes);
    }
    if (o.residual == NORM_RESIDUAL) {
        n.rscale = cf_pair_sorted(p->residual_channels->scale, c, o.dtype, lanes);
        n.rshift = cf_pair_sorted(p->residual_channels->shift, c, o.dtype, lanes);
    }
    return n;
}

CF_INLINE cf_vec apply_vec(cf_vec x, cf_vec r, cf_vec scale, cf_vec shift, cf_vec rscale,
                           cf_vec rshift, float slope, apply_options o)
{
    if (o.norm) x = cf_vec_fma(x, scale, shift);
    if (o.residual == NORM_RESIDUAL) r = cf_vec_fma(r, rscale, rshift);
    if (o.residual != NO_RESIDUAL) x += r;
    return o.activate ? cf_vec_activate(x, slope) : x;
}

/* `count` pixels from r on, channels c .. c+31. */
CF_INLINE void apply_pixels(const cf_norm_pass *p, int64_t r, int count, int64_t c, int lanes,
                            apply_options o)
{
    apply_channels n = load_channels(p, c, lanes, o);
#pragma GCC unroll 4
    for (int k = 0; k < count; k++) {
        int64_t i = (r + k) * p->c + c;
        cf_pair x = cf_pair_load(p->y, i, o.dtype, lanes), y = {0};
        int64_t ahead = i + 2 * TOGETHER * p->c;
        cf_prefetch(p->y, ahead, o.dtype);
        if (o.residual != NO_RESIDUAL) cf_prefetch(p->residual, ahead, o.dtype);
        cf_prefetch_write(p->z, ahead, o.dtype);
        if (o.residual != NO_RESIDUAL) y = cf_pair_load(p->residual, i, o.dtype, lanes);
        x.a = apply_vec(x.a, y.a, n.scale.a, n.shift.a, n.rscale.a, n.rshift.a, p->slope, o);
        x.b = apply_vec(x.b, y.b, n.scale.b, n.shift.b, n.rscale.b, n.rshift.b, p->slope, o);
        cf_pair_store(p->z, i, o.dtype, lanes, x);
    }
}

/* Any kind, and the channels that are left over: compiled once, slower, few or rare. */
static __attribute__((noinline)) void apply_any(const cf_norm_pass *p, int64_t r, int count,
                                                int64_t first)
{
    apply_options o = {.dtype = p->dtype,
                       .residual = p->residual == NULL            ? NO_RESIDUAL
                                   : p->residual_channels == NULL ? PLAIN_RESIDUAL
                                                                  : NORM_RESIDUAL,
                       .norm = p->channels != NULL,
                       .activate = p->act != CF_ACT_NONE};
    for (int64_t c = first; c < p->c; c += CF_PAIR)
        apply_pixels(p, r, count, c, lanes_at(c, p->c), o);
}

CF_INLINE void apply_body(const cf_norm_pass *pass, apply_options o)
{
    const cf_norm_pass copy = *pass, *p = &copy;
    for (int64_t r = 0; r < p->rows; r += TOGETHER) {
        int count = p->rows - r < TOGETHER ? (int)(p->rows - r) : TOGETHER;
        int64_t c = 0;
        for (; c + CF_PAIR <= p->c; c += CF_PAIR) apply_pixels(p, r, count, c, CF_PAIR, o);
        if (c < p->c) apply_any(pass, r, count, c);
    }
}

CF_INLINE void apply_kind(const cf_norm_pass *p, cf_dtype dtype, residual_kind kind)
{
    if (p->act != CF_ACT_NONE) {
        apply_body(p, (apply_options){dtype, kind, true, true});
    } else {
        apply_body(p, (apply_options){dtype, kind, true, false});
    }
}

CF_INLINE void apply_dtype(const cf_norm_pass *p, cf_dtype dtype)
{
    if (p->residual == NULL) {
        apply_kind(p, dtype, NO_RESIDUAL);
    } else if (p->residual_channels == NULL) {
        apply_kind(p, dtype, PLAIN_RESIDUAL);
    } else {
        apply_kind(p, dtype, NORM_RESIDUAL);
    }
}

void cf_norm_apply(const cf_norm_pass *pass)
{
    if (pass->channels == NULL) { /* a residual without normalisation */
        for (int64_t r = 0; r < pass->rows; r += TOGETHER)
            apply_any(pass, r, pass->rows - r < TOGETHER ? (int)(pass->rows - r) : TOGETHER, 0);
    } else if (pass->dtype == CF_BF16) {
        apply_dtype(pass, CF_BF16);
    } else {
        apply_dtype(pass, CF_F32);
    }
}
