#include "kernels/cpu/norm.h"

#include <math.h>
#include <stddef.h>

#include "kernels/cpu/simd.h"

enum { FLUSH = 256, /* pixels summed in fp32 before the sum goes into a double */ WIDE = 4 };

static int lanes_at(int64_t c, int64_t channels)
{
    return channels - c < CF_LANES ? (int)(channels - c) : CF_LANES;
}

/* ---- forward ----------------------------------------------------------------------------------
 */

/* Channels c .. c + 16 width. Deviations are taken from the first pixel, so that a mean far from
 * zero costs no digits. */
CF_INLINE void statistics_block(const cf_norm_pass *p, int64_t c, int width, int lanes,
                                cf_dtype dtype, cf_norm_sums out)
{
    cf_vec pivot[WIDE], s[WIDE], q[WIDE];
    double ds[WIDE * CF_LANES] = {0}, dq[WIDE * CF_LANES] = {0};
    for (int v = 0; v < width; v++)
        pivot[v] = cf_vec_load_part(p->y, c + v * CF_LANES, dtype, lanes);
    for (int64_t r = 0; r < p->rows;) {
        int64_t end = r + FLUSH < p->rows ? r + FLUSH : p->rows;
        for (int v = 0; v < width; v++) s[v] = q[v] = (cf_vec){0};
        for (; r < end; r++) {
            for (int v = 0; v < width; v++) {
                cf_vec x = cf_vec_load_part(p->y, r * p->c + c + v * CF_LANES, dtype, lanes);
                x -= pivot[v];
                s[v] += x;
                q[v] += x * x;
            }
        }
        for (int i = 0; i < width * CF_LANES; i++) {
            ds[i] += (double)s[i / CF_LANES][i % CF_LANES];
            dq[i] += (double)q[i / CF_LANES][i % CF_LANES];
        }
    }
    double n = (double)p->rows;
    int wanted = width == 1 ? lanes : width * CF_LANES;
    for (int i = 0; i < wanted; i++) {
        out.first[c + i] = (double)pivot[i / CF_LANES][i % CF_LANES] + ds[i] / n;
        out.second[c + i] = fmax(0.0, dq[i] - ds[i] * ds[i] / n);
    }
}

CF_INLINE void statistics_body(const cf_norm_pass *p, cf_dtype dtype, cf_norm_sums out)
{
    int64_t c = 0;
    for (; c + WIDE * CF_LANES <= p->c; c += WIDE * CF_LANES)
        statistics_block(p, c, WIDE, CF_LANES, dtype, out);
    for (; c < p->c; c += CF_LANES) statistics_block(p, c, 1, lanes_at(c, p->c), dtype, out);
}

void cf_norm_statistics(const cf_norm_pass *pass, cf_norm_sums out)
{
    if (pass->dtype == CF_BF16) {
        statistics_body(pass, CF_BF16, out);
    } else {
        statistics_body(pass, CF_F32, out);
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

/* Channels c .. c+15 of `rows` pixels. */
CF_INLINE void apply_block(const cf_norm_pass *p, int64_t c, int64_t r0, int64_t r1, int lanes,
                           cf_dtype dtype, residual_kind kind, bool activate)
{
    cf_vec scale = cf_vec_set(1.0f), shift = {0}, rscale = {0}, rshift = {0};
    if (p->channels != NULL) {
        scale = cf_vec_load_part(p->channels->scale, c, CF_F32, lanes);
        shift = cf_vec_load_part(p->channels->shift, c, CF_F32, lanes);
    }
    if (kind == NORM_RESIDUAL) {
        rscale = cf_vec_load_part(p->residual_channels->scale, c, CF_F32, lanes);
        rshift = cf_vec_load_part(p->residual_channels->shift, c, CF_F32, lanes);
    }
    for (int64_t r = r0; r < r1; r++) {
        int64_t i = r * p->c + c;
        cf_vec x = cf_vec_load_part(p->y, i, dtype, lanes) * scale + shift;
        if (kind == PLAIN_RESIDUAL) x += cf_vec_load_part(p->residual, i, dtype, lanes);
        if (kind == NORM_RESIDUAL)
            x += cf_vec_load_part(p->residual, i, dtype, lanes) * rscale + rshift;
        if (activate) x = cf_vec_rectify(x, x, p->slope);
        cf_vec_store_part(p->z, i, dtype, lanes, x);
    }
}

/* Pixels in blocks that stay in the first-level cache while the channels are gone through. */
CF_INLINE void apply_body(const cf_norm_pass *p, cf_dtype dtype, residual_kind kind, bool activate)
{
    enum { BLOCK = 16 };
    for (int64_t r = 0; r < p->rows; r += BLOCK) {
        int64_t end = r + BLOCK < p->rows ? r + BLOCK : p->rows;
        int64_t c = 0;
        for (; c + CF_LANES <= p->c; c += CF_LANES)
            apply_block(p, c, r, end, CF_LANES, dtype, kind, activate);
        if (c < p->c) apply_block(p, c, r, end, lanes_at(c, p->c), dtype, kind, activate);
    }
}

CF_INLINE void apply_kind(const cf_norm_pass *p, cf_dtype dtype, residual_kind kind)
{
    if (p->act != CF_ACT_NONE) {
        apply_body(p, dtype, kind, true);
    } else {
        apply_body(p, dtype, kind, false);
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
    if (pass->dtype == CF_BF16) {
        apply_dtype(pass, CF_BF16);
    } else {
        apply_dtype(pass, CF_F32);
    }
}
