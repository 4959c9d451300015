/* The backward half of kernels/cpu/norm.h. */
#include <stddef.h>

#include "kernels/cpu/norm.h"
#include "kernels/cpu/simd.h"

/* As in norm.c. */
enum { FLUSH = 256, TOGETHER = 4, BLOCK = 256 };

static int lanes_at(int64_t c, int64_t channels)
{
    return channels - c < CF_PAIR ? (int)(channels - c) : CF_PAIR;
}

/* Where the sign of what the activation saw comes from. */
typedef enum sign_source { NO_SIGN, SIGN_OF_Y, SIGN_OF_Z } sign_source;

static sign_source sign_of(const cf_norm_pass *p)
{
    if (p->act == CF_ACT_NONE) return NO_SIGN;
    return p->residual != NULL || p->channels == NULL ? SIGN_OF_Z : SIGN_OF_Y;
}

CF_INLINE cf_pair gradient_at(const cf_norm_pass *p, int64_t i, int lanes, cf_dtype dtype, int n)
{
    cf_pair g = cf_pair_load(p->contributions[0], i, dtype, lanes);
    for (int k = 1; k < n; k++) {
        cf_pair more = cf_pair_load(p->contributions[k], i, dtype, lanes);
        g.a += more.a;
        g.b += more.b;
    }
    return g;
}

/* What belongs to channels c .. c+31; of a, b and d only the backward pass makes use. */
typedef struct channels {
    cf_pair scale, shift, a, b, d;
} channels;

/* The gradient behind the activation. */
CF_INLINE cf_pair rectify(const cf_norm_pass *p, cf_pair g, cf_pair y, const channels *n, int64_t i,
                          int lanes, cf_dtype dtype, sign_source sign)
{
    cf_pair x = {0};
    if (sign == NO_SIGN) return g;
    if (sign == SIGN_OF_Z) x = cf_pair_load(p->z, i, dtype, lanes);
    if (sign == SIGN_OF_Y) {
        x.a = cf_vec_fma(y.a, n->scale.a, n->shift.a);
        x.b = cf_vec_fma(y.b, n->scale.b, n->shift.b);
    }
    return (cf_pair){cf_vec_rectify(g.a, x.a, p->slope), cf_vec_rectify(g.b, x.b, p->slope)};
}

/* Running sums of up to BLOCK channels, in the order of pairs: of g, and of g (y - pivot) with the
 * mean as the pivot. */
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

/* Adds `count` pixels from r on, channels c .. c+31, to the sums. */
CF_INLINE void add_pixels(const cf_norm_pass *p, block_sums *sums, int64_t r, int count, int64_t c0,
                          int64_t c, int lanes, reduce_kind k)
{
    channels n = {0};
    cf_pair mean = {0};
    if (k.norm) mean = cf_pair_sorted(p->channels->mean, c, k.dtype, lanes);
    if (k.sign == SIGN_OF_Y) {
        n.scale = cf_pair_sorted(p->channels->scale, c, k.dtype, lanes);
        n.shift = cf_pair_sorted(p->channels->shift, c, k.dtype, lanes);
    }
    cf_pair s = cf_pair_load(sums->s, c - c0, CF_F32, CF_PAIR);
    cf_pair q = cf_pair_load(sums->q, c - c0, CF_F32, CF_PAIR);
#pragma GCC unroll 4
    for (int j = 0; j < count; j++) {
        int64_t i = (r + j) * p->c + c;
        cf_pair g = gradient_at(p, i, lanes, k.dtype, k.n > 0 ? k.n : p->n_contributions);
        int64_t ahead = i + 2 * TOGETHER * p->c;
        if (k.norm) cf_prefetch(p->y, ahead, k.dtype);
        if (k.sign == SIGN_OF_Z) cf_prefetch(p->z, ahead, k.dtype);
        if (k.n == 2) cf_prefetch(p->contributions[1], ahead, k.dtype);
        cf_prefetch(p->contributions[0], ahead, k.dtype);
        cf_pair y = {0};
        if (k.norm) y = cf_pair_load(p->y, i, k.dtype, lanes);
        g = rectify(p, g, y, &n, i, lanes, k.dtype, k.sign);
        if (p->masked != NULL) cf_pair_store(p->masked, i, k.dtype, lanes, g);
        s.a += g.a;
        s.b += g.b;
        if (!k.norm) continue;
        q.a = cf_vec_fma(g.a, y.a - mean.a, q.a);
        q.b = cf_vec_fma(g.b, y.b - mean.b, q.b);
    }
    cf_pair_store(sums->s, c - c0, CF_F32, CF_PAIR, s);
    cf_pair_store(sums->q, c - c0, CF_F32, CF_PAIR, q);
}

/* Any kind, and the channels that are left over: compiled once, slower, few or rare. */
static __attribute__((noinline)) void add_any(const cf_norm_pass *p, block_sums *sums, int64_t r,
                                              int count, int64_t c0, int64_t first, int64_t c1)
{
    reduce_kind k = {p->dtype, sign_of(p), 0, p->channels != NULL};
    for (int64_t c = first; c < c1; c += CF_PAIR)
        add_pixels(p, sums, r, count, c0, c, lanes_at(c, c1), k);
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
    for (int i = 0; i < BLOCK; i++) {
        int64_t c = c0 + i / CF_PAIR * CF_PAIR + cf_pair_element(i % CF_PAIR, p->dtype);
        if (c >= c1) continue;
        out.first[c] = sums->ds[i];
        if (p->channels != NULL) out.second[c] = sums->dq[i];
    }
}

/* fast: the whole of `k` is known to the compiler. */
CF_INLINE void reduce_block(const cf_norm_pass *pass, int64_t c0, int64_t c1, reduce_kind k,
                            bool fast, cf_norm_sums out)
{
    const cf_norm_pass copy = *pass, *p = &copy; /* no store can change it: it stays in registers */
    block_sums sums = {0};
    for (int64_t r = 0; r < p->rows;) {
        int64_t end = r + FLUSH < p->rows ? r + FLUSH : p->rows;
        for (; r < end; r += TOGETHER) {
            int count = end - r < TOGETHER ? (int)(end - r) : TOGETHER;
            int64_t c = c0;
            for (; fast && c + CF_PAIR <= c1; c += CF_PAIR)
                add_pixels(p, &sums, r, count, c0, c, CF_PAIR, k);
            if (c < c1) add_any(pass, &sums, r, count, c0, c, c1);
        }
        r = end;
        flush(&sums);
    }
    finish_block(pass, &sums, c0, c1, out);
}

CF_INLINE void reduce_body(const cf_norm_pass *p, reduce_kind k, bool fast, cf_norm_sums out)
{
    for (int64_t c = 0; c < p->c; c += BLOCK)
        reduce_block(p, c, c + BLOCK < p->c ? c + BLOCK : p->c, k, fast, out);
}

CF_INLINE void reduce_sign(const cf_norm_pass *p, cf_dtype dtype, int n, cf_norm_sums out)
{
    switch (sign_of(p)) {
    case NO_SIGN:
        reduce_body(p, (reduce_kind){dtype, NO_SIGN, n, true}, true, out);
        break;
    case SIGN_OF_Y:
        reduce_body(p, (reduce_kind){dtype, SIGN_OF_Y, n, true}, true, out);
        break;
    case SIGN_OF_Z:
        reduce_body(p, (reduce_kind){dtype, SIGN_OF_Z, n, true}, true, out);
        break;
    }
}

CF_INLINE void reduce_count(const cf_norm_pass *p, cf_dtype dtype, cf_norm_sums out)
{
    if (p->n_contributions == 1) {
        reduce_sign(p, dtype, 1, out);
    } else {
        reduce_sign(p, dtype, 2, out);
    }
}

void cf_norm_reduce(const cf_norm_pass *pass, cf_norm_sums out)
{
    if (pass->channels == NULL || pass->n_contributions > 2) {
        reduce_body(pass, (reduce_kind){pass->dtype, NO_SIGN, 0, false}, false, out);
    } else if (pass->dtype == CF_BF16) {
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
        double b = -a * rstd * rstd * second / count;
        n->b[i] = (float)b;
        n->d[i] = (float)(-a * first / count - b * (double)n->mean[i]);
    }
}

/* `count` pixels from r on, channels c .. c+31. */
CF_INLINE void backward_pixels(const cf_norm_pass *p, const void *source, int64_t r, int count,
                               int64_t c, int lanes, cf_dtype dtype, sign_source sign)
{
    const cf_norm_channels *from = p->channels;
    channels n = {.a = cf_pair_sorted(from->a, c, dtype, lanes),
                  .b = cf_pair_sorted(from->b, c, dtype, lanes),
                  .d = cf_pair_sorted(from->d, c, dtype, lanes)};
    if (sign == SIGN_OF_Y) {
        n.scale = cf_pair_sorted(from->scale, c, dtype, lanes);
        n.shift = cf_pair_sorted(from->shift, c, dtype, lanes);
    }
#pragma GCC unroll 4
    for (int k = 0; k < count; k++) {
        int64_t i = (r + k) * p->c + c;
        cf_pair g = cf_pair_load(source, i, dtype, lanes), y = cf_pair_load(p->y, i, dtype, lanes);
        int64_t ahead = i + 2 * TOGETHER * p->c;
        cf_prefetch(source, ahead, dtype);
        cf_prefetch(p->y, ahead, dtype);
        if (sign == SIGN_OF_Z) cf_prefetch(p->z, ahead, dtype);
        g = rectify(p, g, y, &n, i, lanes, dtype, sign);
        y.a = cf_vec_fma(y.a, n.b.a, n.d.a);
        y.b = cf_vec_fma(y.b, n.b.b, n.d.b);
        g.a = cf_vec_fma(g.a, n.a.a, y.a);
        g.b = cf_vec_fma(g.b, n.a.b, y.b);
        cf_pair_store(p->gy, i, dtype, lanes, g);
    }
}

/* The channels that are left over: compiled once, slower, few or rare. */
static __attribute__((noinline)) void backward_rest(const cf_norm_pass *p, const void *source,
                                                    int64_t r, int count, int64_t c,
                                                    sign_source sign)
{
    backward_pixels(p, source, r, count, c, lanes_at(c, p->c), p->dtype, sign);
}

CF_INLINE void backward_body(const cf_norm_pass *pass, cf_dtype dtype, sign_source sign)
{
    const cf_norm_pass copy = *pass, *p = &copy;
    const void *source = p->masked != NULL ? p->masked : p->contributions[0];
    for (int64_t r = 0; r < p->rows; r += TOGETHER) {
        int count = p->rows - r < TOGETHER ? (int)(p->rows - r) : TOGETHER;
        int64_t c = 0;
        for (; c + CF_PAIR <= p->c; c += CF_PAIR)
            backward_pixels(p, source, r, count, c, CF_PAIR, dtype, sign);
        if (c < p->c) backward_rest(pass, source, r, count, c, sign);
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
