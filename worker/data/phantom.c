/* The painter: discs, blobs and noise laid over each other from the background up, in floats; one
 * pass of blur, light and noise at the end. A picture takes one to two milliseconds at a side
 * of 64. */
#include "worker/data/phantom.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "worker/data/phantom_develop.h"

enum { NOISE_SIDE = 16, MAX_DISCS = 8 };

typedef struct noise {
    float node[NOISE_SIDE][NOISE_SIDE]; /* uniform in [-1, 1] */
} noise;

typedef struct canvas {
    float *rgb; /* borrowed, [size][size][3], 0..255 */
    int size;
    float pixel; /* side of a pixel in shares of the image */
    cf_rng *rng; /* borrowed */
    noise warp, grain;
} canvas;

/* The nucleus: discs that flow into each other, less one bite. */
typedef struct nucleus {
    int n;
    float x[MAX_DISCS], y[MAX_DISCS], r[MAX_DISCS];
    float join;                   /* width over which discs flow together */
    float bite_x, bite_y, bite_r; /* bite_r 0: none */
} nucleus;

static float between(cf_rng *rng, float lo, float hi)
{
    return lo + (hi - lo) * cf_rng_uniform(rng);
}

/* Mean 0, standard deviation near 1: the sum of four uniforms. */
static float bell(cf_rng *rng)
{
    float s = 0.0f;
    for (int i = 0; i < 4; i++) s += cf_rng_uniform(rng);
    return (s - 2.0f) * 1.7320508f;
}

/* fminf and fmaxf are calls, for the sake of NaN; there is none here, and there are a hundred a
 * pixel. */
static float smaller(float a, float b)
{
    return a < b ? a : b;
}
static float larger(float a, float b)
{
    return a > b ? a : b;
}

static float clamp01(float v)
{
    return v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
}

static void noise_init(noise *n, cf_rng *rng)
{
    for (int i = 0; i < NOISE_SIDE; i++)
        for (int j = 0; j < NOISE_SIDE; j++) n->node[i][j] = between(rng, -1.0f, 1.0f);
}

/* Smooth value noise of period NOISE_SIDE; x and y in nodes. */
static float noise_at(const noise *n, float x, float y)
{
    float bx = floorf(x), by = floorf(y), fx = x - bx, fy = y - by;
    unsigned x0 = (unsigned)(int)bx % NOISE_SIDE, y0 = (unsigned)(int)by % NOISE_SIDE;
    unsigned x1 = (x0 + 1) % NOISE_SIDE, y1 = (y0 + 1) % NOISE_SIDE;
    fx = fx * fx * (3.0f - 2.0f * fx);
    fy = fy * fy * (3.0f - 2.0f * fy);
    float top = n->node[y0][x0] + fx * (n->node[y0][x1] - n->node[y0][x0]);
    float low = n->node[y1][x0] + fx * (n->node[y1][x1] - n->node[y1][x0]);
    return top + fy * (low - top);
}

/* Lays color over a pixel with opacity a. */
static void cover(float *p, const float color[3], float light, float a)
{
    for (int c = 0; c < 3; c++) p[c] += a * (color[c] * light - p[c]);
}

/* Opacity at signed distance d (negative inside) of an edge `soft` pixels wide. */
static float edge(const canvas *v, float d, float soft)
{
    return clamp01(0.5f - d / (v->pixel * soft));
}

/* Rows or columns that a disc of radius r round center (share of the side) can touch. */
static void reach(const canvas *v, float center, float r, int *first, int *end)
{
    float size = (float)v->size;
    *first = (int)larger((center - r) * size - 2.0f, 0.0f);
    *end = (int)smaller((center + r) * size + 3.0f, size);
}

/* A filled disc; `dome`: how much paler its middle is. */
static void disc(canvas *v, float x, float y, float r, const float color[3], float dome,
                 float opacity)
{
    int x0, x1, y0, y1;
    reach(v, x, r, &x0, &x1);
    reach(v, y, r, &y0, &y1);
    for (int j = y0; j < y1; j++) {
        for (int i = x0; i < x1; i++) {
            float dx = ((float)i + 0.5f) * v->pixel - x, dy = ((float)j + 0.5f) * v->pixel - y;
            float d = sqrtf(dx * dx + dy * dy), a = opacity * edge(v, d - r, 1.4f);
            if (a <= 0.0f) continue;
            float inside = clamp01(1.0f - d / r);
            cover(v->rgb + 3 * ((size_t)j * (size_t)v->size + (size_t)i), color,
                  1.0f + dome * inside * inside, a);
        }
    }
}

static void paint_background(canvas *v)
{
    float tone = cf_rng_uniform(v->rng);
    float base[3] = {240.0f - 34.0f * tone, 234.0f - 32.0f * tone, 246.0f - 50.0f * tone};
    for (int j = 0; j < v->size; j++)
        for (int i = 0; i < v->size; i++) {
            float n = noise_at(&v->warp, (float)i * v->pixel * 4.0f, (float)j * v->pixel * 4.0f);
            float *p = v->rgb + 3 * ((size_t)j * (size_t)v->size + (size_t)i);
            for (int c = 0; c < 3; c++) p[c] = base[c] + 3.0f * n;
        }
}

/* Red cells and platelets round the middle, which stays free for the cell. */
static void paint_surroundings(canvas *v, float cell_radius)
{
    static const float platelet[3] = {150.0f, 90.0f, 170.0f};
    float pale = cf_rng_uniform(v->rng);
    float red[3] = {176.0f + 40.0f * pale, 164.0f + 26.0f * pale, 174.0f + 24.0f * pale};
    int n = 2 + (int)cf_rng_below(v->rng, 5);
    for (int k = 0; k < n; k++) {
        float angle = between(v->rng, 0.0f, 6.2831853f), r = between(v->rng, 0.13f, 0.18f);
        float far = cell_radius + r * between(v->rng, 0.7f, 2.2f);
        disc(v, 0.5f + far * cosf(angle), 0.5f + far * sinf(angle), r, red,
             between(v->rng, 0.02f, 0.22f), 0.85f);
    }
    n = (int)cf_rng_below(v->rng, 4);
    for (int k = 0; k < n; k++) {
        float x = cf_rng_uniform(v->rng), y = cf_rng_uniform(v->rng);
        disc(v, x, y, between(v->rng, 0.008f, 0.022f), platelet, 0.2f, 0.8f);
    }
}

static void add_disc(nucleus *n, float x, float y, float r)
{
    n->x[n->n] = x;
    n->y[n->n] = y;
    n->r[n->n++] = r;
}

/* Discs on an arc of `turn` radians about (x, y) at distance `far`. */
static void add_arc(nucleus *n, float x, float y, float far, float turn, int count, float r,
                    cf_rng *rng)
{
    float start = between(rng, 0.0f, 6.2831853f);
    for (int k = 0; k < count; k++) {
        float angle = start + turn * (count > 1 ? (float)k / (float)(count - 1) : 0.0f);
        angle += between(rng, -0.12f, 0.12f);
        add_disc(n, x + far * cosf(angle), y + far * sinf(angle), r * between(rng, 0.85f, 1.15f));
    }
}

/* r: radius of the whole nucleus. */
static nucleus make_nucleus(const cf_look *l, float x, float y, float r, cf_rng *rng)
{
    nucleus n = {.join = 0.25f * r};
    float angle = between(rng, 0.0f, 6.2831853f);
    switch (l->nucleus) {
    case CF_NUCLEUS_KIDNEY:
        n.bite_r = r * between(rng, 0.45f, 0.75f);
        n.bite_x = x + 1.15f * r * cosf(angle);
        n.bite_y = y + 1.15f * r * sinf(angle);
        add_disc(&n, x, y, r);
        break;
    case CF_NUCLEUS_BAND:
        add_arc(&n, x, y, 0.66f * r, between(rng, 2.8f, 4.2f), MAX_DISCS, 0.34f * r, rng);
        n.join = 0.30f * r;
        break;
    case CF_NUCLEUS_LOBES: {
        int count = (int)(l->lobes + between(rng, 0.0f, 1.0f));
        count = count < 2 ? 2 : count > 5 ? 5 : count;
        float lobe = count == 2 ? 0.56f : 0.46f, turn = count == 2 ? 2.5f : 1.15f * (float)count;
        add_arc(&n, x, y, 0.66f * r, turn, count, lobe * r, rng);
        n.join = 0.14f * r;
        break;
    }
    case CF_NUCLEUS_SMUDGE:
        for (int k = 0; k < 5; k++)
            add_disc(&n, x + r * 0.4f * bell(rng), y + r * 0.4f * bell(rng),
                     r * between(rng, 0.3f, 0.6f));
        n.join = 0.5f * r;
        break;
    case CF_NUCLEUS_ROUND: /* two discs close together: an egg */
        add_disc(&n, x, y, r);
        add_disc(&n, x + 0.18f * r * cosf(angle), y + 0.18f * r * sinf(angle), 0.9f * r);
        break;
    }
    return n;
}

/* Signed distance to the nucleus: a minimum of discs with rounded joints (Quilez's polynomial
 * form). */
static float nucleus_distance(const nucleus *n, float x, float y)
{
    float d = 1e9f;
    for (int k = 0; k < n->n; k++) {
        float dx = x - n->x[k], dy = y - n->y[k], e = sqrtf(dx * dx + dy * dy) - n->r[k];
        float h = larger(n->join - fabsf(d - e), 0.0f) / n->join;
        d = smaller(d, e) - h * h * n->join * 0.25f;
    }
    if (n->bite_r > 0.0f) {
        float dx = x - n->bite_x, dy = y - n->bite_y, e = n->bite_r - sqrtf(dx * dx + dy * dy);
        float round = 1.6f * n->join, h = larger(round - fabsf(d - e), 0.0f) / round;
        d = larger(d, e) + h * h * round * 0.25f;
    }
    return d;
}

/* Position of a pixel, pushed about by noise: outlines become organic. */
static void warped(const canvas *v, int i, int j, float amount, float *x, float *y)
{
    *x = ((float)i + 0.5f) * v->pixel;
    *y = ((float)j + 0.5f) * v->pixel;
    float u = *x * 7.0f, w = *y * 7.0f;
    *x += amount * noise_at(&v->warp, u, w);
    *y += amount * noise_at(&v->warp, u + 5.3f, w + 9.1f);
}

typedef struct cell {
    float x, y, r, squeeze; /* center, radius, ellipse */
    float turn_c, turn_s;   /* direction of the long axis */
    float ragged;
} cell;

static float cell_distance(const cell *k, float x, float y)
{
    float dx = x - k->x, dy = y - k->y;
    float u = (dx * k->turn_c + dy * k->turn_s) * k->squeeze;
    float w = (dy * k->turn_c - dx * k->turn_s) / k->squeeze;
    return sqrtf(u * u + w * w) - k->r;
}

static void paint_cytoplasm(canvas *v, const cf_look *l, const cell *k)
{
    int x0, x1, y0, y1;
    /* a pixel this far outside stays there wherever the noise pushes it */
    float stretch = larger(k->squeeze, 1.0f / k->squeeze);
    float far = 1.0e-4f + v->pixel + 1.5f * stretch * k->ragged;
    reach(v, k->x, smaller(1.4f * k->r, stretch * (k->r + far)), &x0, &x1);
    reach(v, k->y, smaller(1.4f * k->r, stretch * (k->r + far)), &y0, &y1);
    for (int j = y0; j < y1; j++)
        for (int i = x0; i < x1; i++) {
            float x = ((float)i + 0.5f) * v->pixel, y = ((float)j + 0.5f) * v->pixel;
            if (cell_distance(k, x, y) > far) continue;
            warped(v, i, j, k->ragged, &x, &y);
            float d = cell_distance(k, x, y), a = edge(v, d, 1.8f);
            if (a <= 0.0f) continue;
            float rim = clamp01(1.0f + d / (0.12f * k->r)); /* a darker skin */
            float n = noise_at(&v->grain, x * 21.0f, y * 21.0f);
            cover(v->rgb + 3 * ((size_t)j * (size_t)v->size + (size_t)i), l->cytoplasm,
                  1.0f - 0.07f * rim + 0.04f * n, 0.92f * a);
        }
}

/* No part of the nucleus is farther than this from (x, y): a joint of two discs bulges by a quarter
 * of its width at most. */
static float nucleus_reach(const nucleus *n, float x, float y)
{
    float far = 0.0f;
    for (int k = 0; k < n->n; k++) {
        float dx = n->x[k] - x, dy = n->y[k] - y;
        far = larger(far, sqrtf(dx * dx + dy * dy) + n->r[k]);
    }
    return far + 0.25f * n->join * (float)n->n;
}

static void paint_nucleus(canvas *v, const cf_look *l, const cell *k, const nucleus *n, float warp)
{
    static const float pale[3] = {150.0f, 104.0f, 196.0f}, dark[3] = {44.0f, 14.0f, 92.0f};
    float tint = between(v->rng, -12.0f, 12.0f), color[3];
    for (int c = 0; c < 3; c++) color[c] = pale[c] + l->darkness * (dark[c] - pale[c]);
    color[0] += tint;
    float opacity = l->nucleus == CF_NUCLEUS_SMUDGE ? 0.75f : 0.96f;
    float soft = l->nucleus == CF_NUCLEUS_SMUDGE ? 4.0f : 1.6f;
    float far =
        smaller(1.6f * k->r, nucleus_reach(n, k->x, k->y) + 1.5f * warp + 0.5f * soft * v->pixel);
    int x0, x1, y0, y1;
    reach(v, k->x, far, &x0, &x1);
    reach(v, k->y, far, &y0, &y1);
    for (int j = y0; j < y1; j++)
        for (int i = x0; i < x1; i++) {
            float x, y;
            warped(v, i, j, warp, &x, &y);
            float a = edge(v, nucleus_distance(n, x, y), soft);
            if (a <= 0.0f) continue;
            float t = 0.65f * noise_at(&v->grain, x * 26.0f, y * 26.0f) +
                      0.35f * noise_at(&v->grain, x * 55.0f + 3.7f, y * 55.0f + 8.2f);
            cover(v->rgb + 3 * ((size_t)j * (size_t)v->size + (size_t)i), color,
                  1.0f + 0.55f * l->chromatin * t, opacity * a);
        }
}

/* `n` discs strewn over a ring of the cell, from its share `from` to its edge. */
static void strew(canvas *v, const cell *k, float from, float n, float r, const float color[3],
                  float opacity)
{
    for (int i = 0; i < (int)n; i++) {
        float angle = between(v->rng, 0.0f, 6.2831853f);
        float far = k->r * sqrtf(between(v->rng, from * from, 0.90f * 0.90f));
        float tint = between(v->rng, 0.85f, 1.15f), own[3];
        for (int c = 0; c < 3; c++) own[c] = color[c] * tint;
        disc(v, k->x + far * cosf(angle), k->y + far * sinf(angle), r * between(v->rng, 0.7f, 1.3f),
             own, 0.25f, opacity);
    }
}

static void paint_cell(canvas *v, const cf_look *l, float x, float y)
{
    static const float clear[3] = {232.0f, 222.0f, 240.0f}, spot[3] = {150.0f, 120.0f, 208.0f};
    cf_rng *rng = v->rng;
    float turn = between(rng, 0.0f, 3.1415927f);
    cell k = {x,
              y,
              l->radius * (1.0f + 0.10f * bell(rng)),
              1.0f + 0.06f * bell(rng),
              cosf(turn),
              sinf(turn),
              0.01f + 0.07f * l->ragged};
    float aside = k.r * (1.0f - l->nucleus_share) * 0.6f, toward = between(rng, 0.0f, 6.2831853f);
    nucleus n = make_nucleus(l, x + aside * cosf(toward), y + aside * sinf(toward),
                             k.r * l->nucleus_share * (1.0f + 0.05f * bell(rng)), rng);
    float granules = larger(l->granules * (1.0f + 0.25f * bell(rng)), 0.0f);
    if (l->nucleus != CF_NUCLEUS_SMUDGE) paint_cytoplasm(v, l, &k);
    strew(v, &k, 0.2f, granules, l->granule_radius, l->granule, 0.75f);
    strew(v, &k, 0.5f, l->vacuoles + between(rng, 0.0f, 0.8f), 0.028f, clear, 0.7f);
    paint_nucleus(v, l, &k, &n, 0.012f + 0.02f * l->ragged);
    strew(v, &k, 0.2f, 0.2f * granules, l->granule_radius, l->granule, 0.55f); /* those above it */
    cell heart = {n.x[0], n.y[0], n.r[0] * 0.75f, 1.0f, 1.0f, 0.0f, 0.0f};
    strew(v, &heart, 0.1f, l->nucleoli + between(rng, 0.0f, 0.9f), 0.034f, spot, 0.6f);
}

/* A look between two: numbers are mixed, the kind of nucleus stays the first's. */
static cf_look mix(const cf_look *a, const cf_look *b, float t)
{
    cf_look m = *a;
    m.radius += t * (b->radius - a->radius);
    m.nucleus_share += t * (b->nucleus_share - a->nucleus_share);
    m.chromatin += t * (b->chromatin - a->chromatin);
    m.nucleoli += t * (b->nucleoli - a->nucleoli);
    m.darkness += t * (b->darkness - a->darkness);
    m.granules += t * (b->granules - a->granules);
    m.granule_radius += t * (b->granule_radius - a->granule_radius);
    m.ragged += t * (b->ragged - a->ragged);
    m.blur += t * (b->blur - a->blur);
    for (int c = 0; c < 3; c++) {
        m.cytoplasm[c] += t * (b->cytoplasm[c] - a->cytoplasm[c]);
        m.granule[c] += t * (b->granule[c] - a->granule[c]);
    }
    return m;
}

/* From this side on a picture is painted at half the side and enlarged: its optics blur away more
 * than that loses, and it takes half the time. */
enum { COARSE_FROM = 160 };

void cf_phantom_paint(const cf_look *look, const cf_look *other, const cf_look *neighbor,
                      cf_rng *rng, int size, float *scratch, uint8_t *pixels)
{
    size_t floats = (size_t)size * (size_t)size * 3;
    bool coarse = size >= COARSE_FROM;
    int side = coarse ? (size + 1) / 2 : size;
    canvas v = {.rgb = coarse ? scratch + floats : scratch,
                .size = side,
                .pixel = 1.0f / (float)side,
                .rng = rng};
    noise_init(&v.warp, rng);
    noise_init(&v.grain, rng);
    float t = cf_rng_uniform(rng);
    cf_look l = mix(look, other, 0.5f * t * t); /* mostly itself, now and then half another */
    paint_background(&v);
    paint_surroundings(&v, l.radius);
    float angle = between(rng, 0.0f, 6.2831853f);
    if (cf_rng_uniform(rng) < 0.35f) {
        float far = l.radius + neighbor->radius * between(rng, 0.85f, 1.2f);
        paint_cell(&v, neighbor, 0.5f + far * cosf(angle), 0.5f + far * sinf(angle));
    }
    paint_cell(&v, &l, 0.5f + 0.02f * bell(rng), 0.5f + 0.02f * bell(rng));
    float blur = l.blur * between(rng, 0.5f, 1.5f) * (float)size / 64.0f;
    if (coarse) {
        cf_phantom_enlarge(v.rgb, side, size, scratch);
        blur = sqrtf(larger(blur * blur - 1.0f, 0.0f)); /* variances add: about 1 px^2 is done */
    }
    cf_phantom_develop(scratch, size, blur, rng, scratch + floats, pixels);
}
