/* Changes of stains as one affine map a pixel. */
#include <math.h>
#include <string.h>

#include "kernels/math/philox.h"
#include "worker/data/stain.h"

static double dot(const float a[3], const float b[3])
{
    return (double)a[0] * (double)b[0] + (double)a[1] * (double)b[1] + (double)a[2] * (double)b[2];
}

/* Square of the sine between two unit vectors, as their cross product's. */
static double cross_squared(const cf_stain *s)
{
    const float *a = s->od[0], *b = s->od[1];
    double x = (double)a[1] * (double)b[2] - (double)a[2] * (double)b[1];
    double y = (double)a[2] * (double)b[0] - (double)a[0] * (double)b[2];
    double z = (double)a[0] * (double)b[1] - (double)a[1] * (double)b[0];
    return x * x + y * y + z * z;
}

bool cf_stain_is_valid(const cf_stain *s)
{
    for (int k = 0; k < 2; k++) {
        double length = dot(s->od[k], s->od[k]);
        if (!(length > 0.998 && length < 1.002)) return false; /* NaN compares false */
        if (!(s->max[k] > 1e-3f && s->max[k] < 1e4f)) return false;
    }
    return cross_squared(s) >= 1e-6;
}

cf_stain cf_stain_default(void)
{
    return (cf_stain){{{0.6758f, 0.6880f, 0.2645f}, {0.4491f, 0.8844f, 0.1269f}}, {1.499f, 2.953f}};
}

static cf_stain valid(const cf_stain *s)
{
    return cf_stain_is_valid(s) ? *s : cf_stain_default();
}

void cf_stain_invert(const cf_stain *s, double inverse[2][3])
{
    double aa = dot(s->od[0], s->od[0]), ab = dot(s->od[0], s->od[1]);
    double bb = dot(s->od[1], s->od[1]), det = aa * bb - ab * ab;
    for (int c = 0; c < 3; c++) {
        double a = (double)s->od[0][c], b = (double)s->od[1][c];
        inverse[0][c] = (bb * a - ab * b) / det;
        inverse[1][c] = (aa * b - ab * a) / det;
    }
}

/* OD' = M OD + b, as a map of levels. */
static void set_map(const double m[9], const double b[3], cf_stain_map *map)
{
    static const double ln2 = 0.69314718055994530942, log2_white = 7.9068905956085185293; /* 240 */
    for (int i = 0; i < 3; i++) {
        double rest = 1.0 - (m[3 * i] + m[3 * i + 1] + m[3 * i + 2]);
        for (int j = 0; j < 3; j++) map->m[3 * i + j] = (float)m[3 * i + j];
        map->k[i] = (float)(log2_white * rest - b[i] / ln2);
    }
    map->on = 1;
}

/* How far each profile goes: alpha in 1 +- scale, beta in +- shift, in optical density. */
typedef struct profile {
    double scale, shift;
} profile;

/* Strong takes its 0.9 for values of 0 to 255, so that it shifts by next to nothing. */
static profile profile_of(int word)
{
    switch (word) {
    case CF_STAIN_LIGHT:
        return (profile){0.05, 0.05};
    case CF_STAIN_MEDIUM:
        return (profile){0.2, 0.2};
    case CF_STAIN_STRONG:
        return (profile){0.9, 0.9 / 255.0};
    default:
        return (profile){0.0, 0.0};
    }
}

void cf_stain_draw(const cf_config *config, const cf_stain *stain, int fold, int64_t epoch,
                   int64_t draw, cf_stain_map *map)
{
    memset(map, 0, sizeof *map);
    if (config->augment_stain == CF_STAIN_NONE) return;
    profile p = profile_of(config->augment_stain);
    cf_rng rng = cf_rng_at((uint64_t)config->train_seed, (uint32_t)fold, (uint32_t)epoch,
                           (uint32_t)draw, CF_PURPOSE_STAIN);
    if ((double)cf_rng_uniform(&rng) >= config->augment_stain_share) return;
    double change[2], shift[2], inverse[2][3]; /* alpha - 1, beta */
    for (int k = 0; k < 2; k++) {
        change[k] = p.scale * (2.0 * (double)cf_rng_uniform(&rng) - 1.0);
        shift[k] = p.shift * (2.0 * (double)cf_rng_uniform(&rng) - 1.0);
    }
    cf_stain s = valid(stain);
    cf_stain_invert(&s, inverse);
    double m[9], b[3];
    for (int i = 0; i < 3; i++) {
        double first = (double)s.od[0][i], second = (double)s.od[1][i];
        for (int j = 0; j < 3; j++)
            m[3 * i + j] = (i == j ? 1.0 : 0.0) + first * change[0] * inverse[0][j] +
                           second * change[1] * inverse[1][j];
        b[i] = first * shift[0] + second * shift[1];
    }
    set_map(m, b, map);
}

void cf_stain_normalize(const cf_stain *from, const cf_stain *to, cf_stain_map *map)
{
    cf_stain f = valid(from), t = valid(to);
    double inverse[2][3], m[9], ratio[2], b[3] = {0.0, 0.0, 0.0};
    cf_stain_invert(&f, inverse);
    for (int k = 0; k < 2; k++) ratio[k] = (double)t.max[k] / (double)f.max[k];
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            m[3 * i + j] = (double)t.od[0][i] * ratio[0] * inverse[0][j] +
                           (double)t.od[1][i] * ratio[1] * inverse[1][j];
    set_map(m, b, map);
}
