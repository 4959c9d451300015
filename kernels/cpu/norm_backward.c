/* The backward half of kernels/cpu/norm.h. */
#include <stddef.h>

#include "kernels/cpu/norm.h"
#include "kernels/cpu/simd.h"

enum { FLUSH = 256, WIDE = 2 };

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

/* Channels c .. c + 16 width of one image. n: contributions; 0: as many as the pass says. */
CF_INLINE void reduce_block(const cf_norm_pass *p, int64_t c, int width, int lanes, cf_dtype dtype,
                            sign_source sign, int n, cf_norm_sums out)
{
    cf_vec mean[WIDE], scale[WIDE], shift[WIDE], s[WIDE], q[WIDE];
    double ds[WIDE * CF_LANES] = {0}, dq[WIDE * CF_LANES] = {0};
    bool norm = p->channels != NULL;
    for (int v = 0; v < width; v++) {
        int64_t at = c + v * CF_LANES;
        mean[v] = scale[v] = shift[v] = (cf_vec){0};
        if (!norm) continue;
        mean[v] = cf_vec_load_part(p->channels->mean, at, CF_F32, lanes);
        scale[v] = cf_vec_load_part(p->channels->scale, at, CF_F32, lanes);
        shift[v] = cf_vec_load_part(p->channels->shift, at, CF_F32, lanes);
    }
    for (int64_t r = 0; r < p->rows;) {
        int64_t end = r + FLUSH < p->rows ? r + FLUSH : p->rows;
        for (int v = 0; v < width; v++) s[v] = q[v] = (cf_vec){0};
        for (; r < end; r++) {
            for (int v = 0; v < width; v++) {
                int64_t i = r * p->c + c + v * CF_LANES;
                cf_vec g = gradient_at(p, i, lanes, dtype, n > 0 ? n : p->n_contributions);
                cf_vec y = {0};
                if (norm) y = cf_vec_load_part(p->y, i, dtype, lanes);
                if (sign == SIGN_OF_Y) g = cf_vec_rectify(g, y * scale[v] + shift[v], p->slope);
                if (sign == SIGN_OF_Z)
                    g = cf_vec_rectify(g, cf_vec_load_part(p->z, i, dtype, lanes), p->slope);
                if (p->masked != NULL) cf_vec_store_part(p->masked, i, dtype, lanes, g);
                s[v] += g;
                q[v] += g * (y - mean[v]);
            }
        }
        for (int i = 0; i < width * CF_LANES; i++) {
            ds[i] += (double)s[i / CF_LANES][i % CF_LANES];
            dq[i] += (double)q[i / CF_LANES][i % CF_LANES];
        }
    }
    int wanted = width == 1 ? lanes : width * CF_LANES;
    for (int i = 0; i < wanted; i++) {
        out.first[c + i] = ds[i];
        if (norm) out.second[c + i] = dq[i];
    }
}

CF_INLINE void reduce_body(const cf_norm_pass *p, cf_dtype dtype, sign_source sign, int n,
                           cf_norm_sums out)
{
    int64_t c = 0;
    for (; c + WIDE * CF_LANES <= p->c; c += WIDE * CF_LANES)
        reduce_block(p, c, WIDE, CF_LANES, dtype, sign, n, out);
    for (; c + CF_LANES <= p->c; c += CF_LANES)
        reduce_block(p, c, 1, CF_LANES, dtype, sign, n, out);
    if (c < p->c) reduce_block(p, c, 1, lanes_at(c, p->c), dtype, sign, n, out);
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

CF_INLINE void backward_block(const cf_norm_pass *p, int64_t c, int64_t r0, int64_t r1, int lanes,
                              cf_dtype dtype, sign_source sign)
{
    const cf_norm_channels *n = p->channels;
    cf_vec mean = cf_vec_load_part(n->mean, c, CF_F32, lanes);
    cf_vec scale = cf_vec_load_part(n->scale, c, CF_F32, lanes);
    cf_vec shift = cf_vec_load_part(n->shift, c, CF_F32, lanes);
    cf_vec a = cf_vec_load_part(n->a, c, CF_F32, lanes);
    cf_vec b = cf_vec_load_part(n->b, c, CF_F32, lanes);
    cf_vec d = cf_vec_load_part(n->d, c, CF_F32, lanes);
    const void *source = p->masked != NULL ? p->masked : p->contributions[0];
    for (int64_t r = r0; r < r1; r++) {
        int64_t i = r * p->c + c;
        cf_vec g = cf_vec_load_part(source, i, dtype, lanes);
        cf_vec y = cf_vec_load_part(p->y, i, dtype, lanes);
        if (sign == SIGN_OF_Y) g = cf_vec_rectify(g, y * scale + shift, p->slope);
        if (sign == SIGN_OF_Z)
            g = cf_vec_rectify(g, cf_vec_load_part(p->z, i, dtype, lanes), p->slope);
        cf_vec_store_part(p->gy, i, dtype, lanes, a * g + b * (y - mean) + d);
    }
}

CF_INLINE void backward_body(const cf_norm_pass *p, cf_dtype dtype, sign_source sign)
{
    enum { BLOCK = 16 };
    for (int64_t r = 0; r < p->rows; r += BLOCK) {
        int64_t end = r + BLOCK < p->rows ? r + BLOCK : p->rows;
        int64_t c = 0;
        for (; c + CF_LANES <= p->c; c += CF_LANES)
            backward_block(p, c, r, end, CF_LANES, dtype, sign);
        if (c < p->c) backward_block(p, c, r, end, lanes_at(c, p->c), dtype, sign);
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
