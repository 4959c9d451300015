/* Counter-based random numbers: Philox 4x32-10 (Salmon et al., SC 2011), for host and device.
 *
 * There is no state to save: a stream is named by (seed, fold, epoch, draw, purpose) and read from
 * its start. Read first: cf_rng_at, cf_rng_u32. */
#ifndef CF_KERNELS_MATH_PHILOX_H
#define CF_KERNELS_MATH_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define CF_HD __host__ __device__ static inline
#else
#define CF_HD static inline
#endif

/* What a stream is for; part of its name, so two uses never share numbers. Append only. */
enum cf_purpose {
    CF_PURPOSE_INIT = 1,      /* weights; draw = tensor index */
    CF_PURPOSE_SPLIT = 2,     /* folds; draw = class or group */
    CF_PURPOSE_SHUFFLE = 3,   /* order of an epoch's draws */
    CF_PURPOSE_CLASS = 4,     /* which images of a class are drawn */
    CF_PURPOSE_AUGMENT = 5,   /* one draw's affine map and colours */
    CF_PURPOSE_SYNTH = 6,     /* phantom cells */
    CF_PURPOSE_TEST = 7,      /* tests and benchmarks */
    CF_PURPOSE_STAIN = 8,     /* stain perturbation */
    CF_PURPOSE_BOOTSTRAP = 9, /* resampling in metrics */
    CF_PURPOSE_ADAPT = 10,    /* order of images whose moments are taken */
    CF_PURPOSE_UMAP = 11,     /* first positions, and which points repel each other */
    CF_PURPOSE_EXPLAIN = 12   /* noise over an image; draw = sample */
};

CF_HD void cf_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* A position in one stream. Plain data in the caller's storage. */
typedef struct cf_rng {
    uint32_t key[2];
    uint32_t counter[4]; /* block, draw, epoch, fold << 8 | purpose */
    uint32_t block[4];
    int used; /* numbers already taken from block */
} cf_rng;

CF_HD cf_rng cf_rng_at(uint64_t seed, uint32_t fold, uint32_t epoch, uint32_t draw,
                       enum cf_purpose purpose)
{
    cf_rng r = {{(uint32_t)seed, (uint32_t)(seed >> 32)},
                {0, draw, epoch, fold << 8 | (uint32_t)purpose},
                {0, 0, 0, 0},
                4};
    return r;
}

CF_HD uint32_t cf_rng_u32(cf_rng *r)
{
    if (r->used == 4) {
        cf_philox4x32(r->counter, r->key, r->block);
        r->counter[0]++;
        r->used = 0;
    }
    return r->block[r->used++];
}

/* Uniform in [0, 1), 24 bits: every value is exact in float. */
CF_HD float cf_rng_uniform(cf_rng *r)
{
    return (float)(cf_rng_u32(r) >> 8) * (1.0f / 16777216.0f);
}

/* Uniform in [0, n) for 1 <= n <= 2^32-1, by Lemire's multiply with rejection: unbiased. */
CF_HD uint32_t cf_rng_below(cf_rng *r, uint32_t n)
{
    uint64_t m = (uint64_t)cf_rng_u32(r) * n;
    if ((uint32_t)m < n) {
        uint32_t floor = (uint32_t)(-n) % n;
        while ((uint32_t)m < floor) m = (uint64_t)cf_rng_u32(r) * n;
    }
    return (uint32_t)(m >> 32);
}

#endif
