/* The backward half of kernels/cpu/norm.h. */
#include <stddef.h>

#include "kernels/cpu/norm.h"
#include "kernels/cpu/simd.h"

/* As in norm.c. */
enum { FLUSH = 256, TOGETHER = 4, BLOCK = 256 };

static int lanes_at(int64_t c, int64_t channels)
{
    return channels - c < CF_LANES ? (int)(channels - c) : CF_LANES;
}

/* Where the sign of what the activation saw comes from. */
typedef enum sign_source { NO_SIGN, SIGN_OF_Y, SIGN_OF_Z } sign_source;

static sign_source sign_of(const cf_norm_pass *p)
{
    if (p->act == CF_ACT_NONE) return NO_SIGN;
    return p->residual != NULL || p->channels == NULL ? SIGN_OF_Z : SIGN_OF_Y;
}

CF_INLINE cf_vec gradient_at(const cf_norm_pass *p, int64_t i, int lanes, cf_dtype dtype, int n)
{
    cf_vec g = cf_vec_load_part(p->contributions[0], i, dtype, lanes);
    for (int k = 1; k < n; k++) g += cf_vec_load_part(p->contributions[k], i, dtype, lanes);
    return g;
}

/* Running sums of up to BLOCK channels. */
typedef struct block_sums {
    float s[BLOCK], q[BLOCK];
    double ds[BLOCK], dq[BLOCK];
} block_sums;

/* What is the same for all pixels of a reduction. n: contributions; 0: as many as the pass says. */
typedef struct reduce_kind {
    cf_dtype dtype;
    sign_source sign;
    int n;
    bool norm;
} reduce_kind;

/* Adds `count` pixels from r on, channels c .. c+15, to the sums. */
CF_INLINE void add_pixels(const cf_norm_pass *p, block_sums *sums, int64_t r, int count, int64_t c0,
                          int64_t c, int lanes, reduce_kind k)
{
    cf_vec mean = {0}, scale = {0}, shift = {0};
    if (k.norm) mean = cf_vec_load_part(p->channels->mean, c, CF_F32, lanes);
    if (k.sign == SIGN_OF_Y) {
        scale = cf_vec_load_part(p->channels->scale, c, CF_F32, lanes);
        shift = cf_vec_load_part(p->channels->shift, c, CF_F32, lanes);
    }
    cf_vec s = cf_vec_load(sums->s, c - c0, CF_F32), q = cf_vec_load(sums->q, c - c0, CF_F32);
    for (int j = 0; j < count; j++) {
        int64_t i = (r + j) * p->c + c;
        cf_vec g = gradient_at(p, i, lanes, k.dtype, k.n > 0 ? k.n : p->n_contributions);
        cf_vec y = {0};
        if (k.norm) y = cf_vec_load_part(p->y, i, k.dtype, lanes);
        if (k.sign == SIGN_OF_Y) g = cf_vec_rectify(g, cf_vec_fma(y, scale, shift), p->slope);
        if (k.sign == SIGN_OF_Z)
            g = cf_vec_rectify(g, cf_vec_load_part(p->z, i, k.dtype, lanes), p->slope);
        if (p->masked != NULL) cf_vec_store_part(p->masked, i, k.dtype, lanes, g);
        s += g;
        if (k.norm) q = cf_vec_fma(g, y - mean, q);
    }
    cf_vec_store(sums->s, c - c0, CF_F32, s);
    cf_vec_store(sums->q, c - c0, CF_F32, q);
}

CF_INLINE void add_row_block(const cf_norm_pass *p, block_sums *sums, int64_t r, int count,
                             int64_t c0, int64_t c1, reduce_kind k)
{
    int64_t c = c0;
    for (; c + CF_LANES <= c1; c += CF_LANES) add_pixels(p, sums, r, count, c0, c, CF_LANES, k);
    if (c < c1) add_pixels(p, sums, r, count, c0, c, lanes_at(c, c1), k);
}

CF_INLINE void reduce_block(const cf_norm_pass *pass, int64_t c0, int64_t c1, reduce_kind k,
                            cf_norm_sums out)
{
    const cf_norm_pass copy = *pass, *p = &copy; /* no store can change it: it stays in registers */
    block_sums sums = {0};
    for (int64_t r = 0; r < p->rows;) {
        int64_t end = r + FLUSH < p->rows ? r + FLUSH : p->rows;
        for (; r + TOGETHER <= end; r += TOGETHER) add_row_block(p, &sums, r, TOGETHER, c0, c1, k);
        for (; r < end; r++) add_row_block(p, &sums, r, 1, c0, c1, k);
        for (int64_t i = 0; i < c1 - c0; i++) {
            sums.ds[i] += (double)sums.s[i];
            sums.dq[i] += (double)sums.q[i];
            sums.s[i] = sums.q[i] = 0.0f;
        }
    }
    for (int64_t c = c0; c < c1; c++) {
        out.first[c] = sums.ds[c - c0];
        if (k.norm) out.second[c] = sums.dq[c - c0];
    }
}

CF_INLINE void reduce_body(const cf_norm_pass *p, cf_dtype dtype, sign_source sign, int n,
                           cf_norm_sums out)
{
    for (int64_t c = 0; c < p->c; c += BLOCK) {
        int64_t end = c + BLOCK < p->c ? c + BLOCK : p->c;
        if (p->channels != NULL) {
            reduce_block(p, c, end, (reduce_kind){dtype, sign, n, true}, out);
        } else {
            reduce_block(p, c, end, (reduce_kind){dtype, sign, n, false}, out);
        }
    }
}

CF_INLINE void reduce_sign(const cf_norm_pass *p, cf_dtype dtype, int n, cf_norm_sums out)
{
    switch (sign_of(p)) {
    case NO_SIGN:
        reduce_body(p, dtype, NO_SIGN, n, out);
        break;
    case SIGN_OF_Y:
        reduce_body(p, dtype, SIGN_OF_Y, n, out);
        break;
    case SIGN_OF_Z:
        reduce_body(p, dtype, SIGN_OF_Z, n, out);
        break;
    }
}

CF_INLINE void reduce_count(const cf_norm_pass *p, cf_dtype dtype, cf_norm_sums out)
{
    if (p->n_contributions == 1) {
        reduce_sign(p, dtype, 1, out);
    } else if (p->n_contributions == 2) {
        reduce_sign(p, dtype, 2, out);
    } else {
        reduce_sign(p, dtype, 0, out);
    }
}

void cf_norm_reduce(const cf_norm_pass *pass, cf_norm_sums out)
{
    if (pass->dtype == CF_BF16) {
        reduce_count(pass, CF_BF16, out);
    } else {
        reduce_count(pass, CF_F32, out);
    }
}

void cf_norm_reduce_finish(const cf_norm_channels *n, const cf_norm_sums *sums, int64_t n_images,
                           int64_t pixels, int64_t c, const float *gamma, float *dgamma,
                           float *dbeta)
{
    double count = (double)pixels * (double)n_images;
    for (int64_t i = 0; i < c; i++) {
        double first = 0.0, second = 0.0;
        for (int64_t m = 0; m < n_images; m++) {
            first += sums[m].first[i];
            second += sums[m].second[i];
        }
        double rstd = (double)n->rstd[i], a = (double)gamma[i] * rstd;
        dbeta[i] = (float)first;
        dgamma[i] = (float)(second * rstd);
        n->a[i] = (float)a;
        n->b[i] = (float)(-a * rstd * rstd * second / count);
        n->d[i] = (float)(-a * first / count);
    }
}

/* Elements i .. i+15 of the activations, channels c .. c+15. */
CF_INLINE void backward_at(const cf_norm_pass *p, const cf_norm_channels *n, const void *source,
                           int64_t i, int64_t c, int lanes, cf_dtype dtype, sign_source sign)
{
    cf_vec g = cf_vec_load_part(source, i, dtype, lanes);
    cf_vec y = cf_vec_load_part(p->y, i, dtype, lanes);
    if (sign == SIGN_OF_Y)
        g = cf_vec_rectify(g,
                           cf_vec_fma(y, cf_vec_load_part(n->scale, c, CF_F32, lanes),
                                      cf_vec_load_part(n->shift, c, CF_F32, lanes)),
                           p->slope);
    if (sign == SIGN_OF_Z) g = cf_vec_rectify(g, cf_vec_load_part(p->z, i, dtype, lanes), p->slope);
    cf_vec x = y - cf_vec_load_part(n->mean, c, CF_F32, lanes);
    x = cf_vec_fma(x, cf_vec_load_part(n->b, c, CF_F32, lanes),
                   cf_vec_load_part(n->d, c, CF_F32, lanes));
    x = cf_vec_fma(g, cf_vec_load_part(n->a, c, CF_F32, lanes), x);
    cf_vec_store_part(p->gy, i, dtype, lanes, x);
}

CF_INLINE void backward_body(const cf_norm_pass *pass, cf_dtype dtype, sign_source sign)
{
    const cf_norm_pass copy = *pass, *p = &copy;
    const cf_norm_channels own = *p->channels, *n = &own;
    const void *source = p->masked != NULL ? p->masked : p->contributions[0];
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t c = 0, row = r * p->c;
        for (; c + CF_LANES <= p->c; c += CF_LANES)
            backward_at(p, n, source, row + c, c, CF_LANES, dtype, sign);
        if (c < p->c) backward_at(p, n, source, row + c, c, lanes_at(c, p->c), dtype, sign);
    }
}

CF_INLINE void backward_sign(const cf_norm_pass *p, cf_dtype dtype, sign_source sign)
{
    switch (sign) {
    case NO_SIGN:
        backward_body(p, dtype, NO_SIGN);
        break;
    case SIGN_OF_Y:
        backward_body(p, dtype, SIGN_OF_Y);
        break;
    case SIGN_OF_Z:
        backward_body(p, dtype, SIGN_OF_Z);
        break;
    }
}

void cf_norm_backward(const cf_norm_pass *pass)
{
    /* What reduce wrote is behind the activation already. */
    sign_source sign = pass->masked != NULL ? NO_SIGN : sign_of(pass);
    if (pass->dtype == CF_BF16) {
        backward_sign(pass, CF_BF16, sign);
    } else {
        backward_sign(pass, CF_F32, sign);
    }
}
