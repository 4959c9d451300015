#include "kernels/cpu/norm.h"

#include <math.h>
#include <stddef.h>

#include "kernels/cpu/simd.h"

/* Pixels summed in fp32 before the sum goes into a double; pixels taken together; channels whose
 * sums are kept in the first-level cache. */
enum { FLUSH = 256, TOGETHER = 8, BLOCK = 256 };

static int lanes_at(int64_t c, int64_t channels)
{
    return channels - c < CF_LANES ? (int)(channels - c) : CF_LANES;
}

/* ---- forward ----------------------------------------------------------------------------------
 */

/* Running sums of up to BLOCK channels. */
typedef struct block_sums {
    float pivot[BLOCK], s[BLOCK], q[BLOCK];
    double ds[BLOCK], dq[BLOCK];
} block_sums;

/* Adds `n` pixels from r on, channels c .. c+15, to the sums. Deviations are taken from the first
 * pixel, so that a mean far from zero costs no digits. */
CF_INLINE void add_pixels(const cf_norm_pass *p, block_sums *sums, int64_t r, int n, int64_t c0,
                          int64_t c, int lanes, cf_dtype dtype)
{
    cf_vec pivot = cf_vec_load(sums->pivot, c - c0, CF_F32);
    cf_vec s = cf_vec_load(sums->s, c - c0, CF_F32), q = cf_vec_load(sums->q, c - c0, CF_F32);
    for (int k = 0; k < n; k++) {
        cf_vec x = cf_vec_load_part(p->y, (r + k) * p->c + c, dtype, lanes) - pivot;
        s += x;
        q = cf_vec_fma(x, x, q);
    }
    cf_vec_store(sums->s, c - c0, CF_F32, s);
    cf_vec_store(sums->q, c - c0, CF_F32, q);
}

CF_INLINE void add_row_block(const cf_norm_pass *p, block_sums *sums, int64_t r, int n, int64_t c0,
                             int64_t c1, cf_dtype dtype)
{
    int64_t c = c0;
    for (; c + CF_LANES <= c1; c += CF_LANES) add_pixels(p, sums, r, n, c0, c, CF_LANES, dtype);
    if (c < c1) add_pixels(p, sums, r, n, c0, c, lanes_at(c, c1), dtype);
}

static void flush(block_sums *sums, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        sums->ds[i] += (double)sums->s[i];
        sums->dq[i] += (double)sums->q[i];
        sums->s[i] = sums->q[i] = 0.0f;
    }
}

CF_INLINE void statistics_body(const cf_norm_pass *pass, int64_t c0, int64_t c1, cf_dtype dtype,
                               cf_norm_sums out)
{
    const cf_norm_pass copy = *pass, *p = &copy; /* no store can change it: it stays in registers */
    block_sums sums = {0};
    for (int64_t c = c0; c < c1; c += CF_LANES)
        cf_vec_store(sums.pivot, c - c0, CF_F32, cf_vec_load_part(p->y, c, dtype, lanes_at(c, c1)));
    for (int64_t r = 0; r < p->rows;) {
        int64_t end = r + FLUSH < p->rows ? r + FLUSH : p->rows;
        for (; r + TOGETHER <= end; r += TOGETHER)
            add_row_block(p, &sums, r, TOGETHER, c0, c1, dtype);
        for (; r < end; r++) add_row_block(p, &sums, r, 1, c0, c1, dtype);
        flush(&sums, c1 - c0);
    }
    double n = (double)p->rows;
    for (int64_t c = c0; c < c1; c++) {
        double s = sums.ds[c - c0], q = sums.dq[c - c0];
        out.first[c] = (double)sums.pivot[c - c0] + s / n;
        out.second[c] = fmax(0.0, q - s * s / n);
    }
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

/* Elements i .. i+15 of the activations, channels c .. c+15. */
CF_INLINE void apply_at(const cf_norm_pass *p, const cf_norm_channels *n,
                        const cf_norm_channels *rn, int64_t i, int64_t c, int lanes, cf_dtype dtype,
                        residual_kind kind, bool activate)
{
    cf_vec x = cf_vec_load_part(p->y, i, dtype, lanes);
    if (n != NULL)
        x = cf_vec_fma(x, cf_vec_load_part(n->scale, c, CF_F32, lanes),
                       cf_vec_load_part(n->shift, c, CF_F32, lanes));
    if (kind != NO_RESIDUAL) {
        cf_vec r = cf_vec_load_part(p->residual, i, dtype, lanes);
        if (kind == NORM_RESIDUAL)
            r = cf_vec_fma(r, cf_vec_load_part(rn->scale, c, CF_F32, lanes),
                           cf_vec_load_part(rn->shift, c, CF_F32, lanes));
        x += r;
    }
    if (activate) x = cf_vec_rectify(x, x, p->slope);
    cf_vec_store_part(p->z, i, dtype, lanes, x);
}

CF_INLINE void apply_body(const cf_norm_pass *pass, cf_dtype dtype, residual_kind kind,
                          bool activate)
{
    const cf_norm_pass copy = *pass, *p = &copy;
    const cf_norm_channels none = {0}, own = p->channels != NULL ? *p->channels : none;
    const cf_norm_channels other = kind == NORM_RESIDUAL ? *p->residual_channels : none;
    const cf_norm_channels *n = p->channels != NULL ? &own : NULL;
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t c = 0, row = r * p->c;
        for (; c + CF_LANES <= p->c; c += CF_LANES)
            apply_at(p, n, &other, row + c, c, CF_LANES, dtype, kind, activate);
        if (c < p->c) apply_at(p, n, &other, row + c, c, lanes_at(c, p->c), dtype, kind, activate);
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
