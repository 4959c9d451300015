/* The forces. The authors' program draws edges one after another and moves both ends at once; here
 * each point draws its own edges in both of their roles and moves alone, against the positions that
 * all points had when the epoch began. So LANES points can move side by side, one in each lane of a
 * vector register. Of a block of points those that drew as many edges stand together, so that few
 * lanes wait; a point moves by its own numbers, whoever stands beside it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/simd_lanes.h"
#include "kernels/math/philox.h"
#include "worker/data/crew.h"
#include "worker/insight/umap.h"

enum { LANES = CF_LANES, POINTS = 256, REPULSIONS = 5, MANY_DRAWN = 63 };
/* Squared distances below `nothing` push nobody; power_of is not made for them. */
static const float clip = 4, touching = 0.001f, nothing = 1e-30f;

/* What one thread works in. */
typedef struct bench {
    int32_t *drawn; /* owned, the other ends of a block's edges, point by point */
    int32_t start[POINTS], count[POINTS];
    int16_t order[POINTS]; /* of the block's points, those with most edges drawn first */
} bench;

/* Edges stand in the order of the points. */
typedef struct layout {
    int64_t n;
    int32_t *point; /* owned, [n] those with most edges first */
    int64_t *edges; /* owned, [n + 1] where those of each begin */
    float *rate;    /* owned, [edges + LANES] draws in an epoch, 0 to 1 */
    int32_t *other; /* owned, [edges + LANES] whom they lead to */
    bench *benches; /* owned, [threads] */
    float a, b, step;
    uint32_t seed;
    int epoch;
    float *from, *to; /* [n][2] positions before and after the epoch */
} layout;

/* LANES points on their way. */
typedef struct movers {
    cf_vec x, y, step; /* step: 0 in a lane that waits */
    cf_uvec state, gamma;
} movers;

CF_INLINE cf_vec series(cf_vec x, float first, const float *rest, int n)
{
    cf_vec sum = cf_vec_set(first);
    for (int i = 0; i < n; i++) sum = cf_vec_fma(sum, x, cf_vec_set(rest[i]));
    return sum;
}

/* base^exponent for bases above FLT_MIN, to about 1e-5 of the value: log2 and 2^x by polynomials
 * fitted at Chebyshev's points. Forces are cut at `clip` and drawn at random: more digits would be
 * wasted. */
CF_INLINE cf_vec power_of(cf_vec base, float exponent)
{
    cf_ivec e = ((cf_ivec)base - 0x3F3504F3) >> 23; /* mantissa in [sqrt(1/2), sqrt(2)) */
    cf_vec m = (cf_vec)((cf_ivec)base - (e << 23)) - 1.0f;
    static const float logs[] = {-0.269506274f, 0.2956336f,   -0.359350653f,
                                 0.480629147f,  -0.72136404f, 1.44269643f};
    static const float powers[] = {0.0559220356f, 0.240221074f, 0.693121034f, 1.00000008f};
    cf_vec log2 = series(m, 0.172128731f, logs, 6);
    cf_vec x = cf_vec_fma(m, log2, __builtin_convertvector(e, cf_vec)) * exponent;
    x = cf_vec_limit(x, -126, 127); /* below it 2^x is no normal number: near enough to 0 */
    cf_ivec whole = __builtin_convertvector(x + 127.5f, cf_ivec); /* nearest; the exponent's bits */
    cf_vec f = x - __builtin_convertvector(whole - 127, cf_vec);
    cf_vec part = series(f, 0.0096760371f, powers, 4);
    return part * (cf_vec)(whole << 23);
}

CF_INLINE cf_vec clipped(cf_vec v)
{
    return cf_vec_limit(v, -clip, clip);
}

/* From (x, y) to each: dx, dy; returns the squared distance, `nothing` at least. `step` becomes 0
 * where it is less. */
CF_INLINE cf_vec look_at(const movers *m, cf_vec x, cf_vec y, cf_vec *dx, cf_vec *dy, cf_vec *step)
{
    *dx = m->x - x;
    *dy = m->y - y;
    cf_vec t2 = *dx * *dx + *dy * *dy, least = cf_vec_set(nothing);
    *step = cf_vec_select(t2 < least, cf_vec_set(0), m->step);
    return cf_vec_select(t2 < least, least, t2);
}

/* Towards (x, y): the slope of log(1 / (1 + a t^2b)). */
CF_INLINE void attract(const layout *l, movers *m, cf_vec x, cf_vec y)
{
    cf_vec dx, dy, step, t2 = look_at(m, x, y, &dx, &dy, &step), one = cf_vec_set(1);
    cf_vec power = power_of(t2, l->b);
    cf_vec force = -2 * l->a * l->b * power / (t2 * cf_vec_fma(cf_vec_set(l->a), power, one));
    m->x = cf_vec_fma(step, clipped(force * dx), m->x);
    m->y = cf_vec_fma(step, clipped(force * dy), m->y);
}

/* Away from (x, y): the slope of log(1 - 1 / (1 + a t^2b)). */
CF_INLINE void repel(const layout *l, movers *m, cf_vec x, cf_vec y)
{
    cf_vec dx, dy, step, t2 = look_at(m, x, y, &dx, &dy, &step), one = cf_vec_set(1);
    cf_vec force =
        2 * l->b / ((touching + t2) * cf_vec_fma(cf_vec_set(l->a), power_of(t2, l->b), one));
    m->x = cf_vec_fma(step, clipped(force * dx), m->x);
    m->y = cf_vec_fma(step, clipped(force * dy), m->y);
}

/* Where each point's numbers of this epoch begin, and their stride, from the block that
 * cf_philox4x32 makes of the seed, the epoch and the point. */
CF_INLINE void start_numbers(const layout *l, movers *m, cf_ivec point)
{
    cf_uvec c0 = {0}, c1 = (cf_uvec)point, c2 = (uint32_t)l->epoch - (cf_uvec){0};
    cf_uvec c3 = (2u << 8 | (uint32_t)CF_PURPOSE_UMAP) - (cf_uvec){0};
    uint32_t k0 = l->seed, k1 = 0;
    for (int round = 0; round < 10; round++) {
        cf_uvec high0, high1, low0 = cf_uvec_multiply(c0, 0xD2511F53u, &high0);
        cf_uvec low1 = cf_uvec_multiply(c2, 0xCD9E8D57u, &high1);
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    m->state = c0;
    m->gamma = c1 | 1u;
}

/* Anybody: a step of the point's own SplitMix (Steele, Lea and Flood 2014, here of 32 bits, mixed
 * by MurmurHash3's finalizer), multiplied down to n: of 2^32 numbers at most one more falls on some
 * points than on others. A point that meets itself stays. */
CF_INLINE cf_ivec anybody(const layout *l, movers *m)
{
    cf_uvec others;
    m->state += m->gamma;
    cf_uvec z = m->state ^ m->state >> 16;
    z *= 0x85EBCA6Bu;
    z ^= z >> 13;
    z *= 0xC2B2AE35u;
    z ^= z >> 16;
    (void)cf_uvec_multiply(z, (uint32_t)l->n, &others);
    return (cf_ivec)others;
}

/* The edges of the point at place i that are drawn in this epoch: those that are due once more than
 * an epoch ago. How many. */
static int draw_edges(const layout *l, int64_t i, int32_t *drawn)
{
    float now = (float)l->epoch;
    int n = 0;
    for (int64_t e = l->edges[i]; e < l->edges[i + 1]; e += LANES) {
        int64_t left = l->edges[i + 1] - e;
        cf_vec rate = cf_vec_load(l->rate, e, CF_F32);
        cf_ivec before = __builtin_convertvector(rate * now, cf_ivec), other;
        uint32_t due = cf_ivec_bits(__builtin_convertvector(rate * (now + 1), cf_ivec) != before);
        if (left < LANES) due &= (1u << left) - 1;
        memcpy(&other, l->other + e, sizeof other);
        n += cf_ivec_pack(drawn + n, other, due);
    }
    return n;
}

/* Draws the edges of n points from place `first` on, and orders the points by their number. */
static void draw_block(const layout *l, bench *b, int64_t first, int n)
{
    int tally[MANY_DRAWN + 2] = {0}, used = 0;
    for (int i = 0; i < n; i++) {
        b->start[i] = used;
        b->count[i] = draw_edges(l, first + i, b->drawn + used);
        used += b->count[i];
        tally[b->count[i] < MANY_DRAWN ? MANY_DRAWN - b->count[i] + 1 : 1]++;
    }
    for (int c = 1; c < MANY_DRAWN + 2; c++) tally[c] += tally[c - 1];
    for (int i = 0; i < n; i++)
        b->order[tally[b->count[i] < MANY_DRAWN ? MANY_DRAWN - b->count[i] : 0]++] = (int16_t)i;
}

/* The points at `order`, of the block whose points begin at place `first`. */
static void move_lanes(const layout *l, const bench *b, const int16_t *order, int n, int64_t first)
{
    movers m;
    cf_ivec point, start, count;
    cf_vec x, y;
    int32_t most = 0;
    for (int i = 0; i < LANES; i++) {
        int16_t o = order[i < n ? i : 0];
        point[i] = l->point[first + o];
        start[i] = b->start[o];
        count[i] = i < n ? b->count[o] : 0;
        most = count[i] > most ? count[i] : most;
    }
    cf_vec_gather_pairs(l->from, point, &m.x, &m.y);
    start_numbers(l, &m, point);
    for (int32_t e = 0; e < most; e++) {
        cf_ivec moves = count > e;
        m.step = cf_vec_select(moves, cf_vec_set(l->step), cf_vec_set(0));
        cf_vec_gather_pairs(l->from, (cf_ivec_gather(b->drawn, start + e) & moves), &x, &y);
        attract(l, &m, x, y); /* as the head of this edge and as the tail of its twin */
        attract(l, &m, x, y);
        for (int r = 0; r < REPULSIONS; r++) {
            cf_vec_gather_pairs(l->from, anybody(l, &m), &x, &y);
            repel(l, &m, x, y);
        }
    }
    for (int i = 0; i < n; i++) {
        l->to[2 * (int64_t)point[i]] = m.x[i];
        l->to[2 * (int64_t)point[i] + 1] = m.y[i];
    }
}

static cf_err move_points(void *context, int worker, int64_t block)
{
    const layout *l = context;
    bench *b = &l->benches[worker];
    int64_t first = block * POINTS;
    int n = (int)(l->n - first < POINTS ? l->n - first : POINTS);
    draw_block(l, b, first, n);
    for (int i = 0; i < n; i += LANES)
        move_lanes(l, b, b->order + i, n - i < LANES ? n - i : LANES, first);
    return CF_OK;
}

/* ---- setting up -------------------------------------------------------------------------------
 */

typedef struct ranked {
    int64_t edges;
    int32_t point;
} ranked;

static int by_edges(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->edges != y->edges) return x->edges < y->edges ? 1 : -1;
    return (x->point > y->point) - (x->point < y->point);
}

static cf_err rank_points(layout *l, const cf_umap_graph *g)
{
    ranked *all = NULL;
    CF_TRY(cf_new(&all, (size_t)g->n, sizeof *all));
    for (int64_t i = 0; i < g->n; i++)
        all[i] = (ranked){.edges = g->start[i + 1] - g->start[i], .point = (int32_t)i};
    qsort(all, (size_t)g->n, sizeof *all, by_edges);
    for (int64_t i = 0; i < g->n; i++) {
        l->point[i] = all[i].point;
        l->edges[i + 1] = l->edges[i] + all[i].edges;
    }
    free(all);
    return CF_OK;
}

/* The heaviest edge is drawn in every epoch, others in proportion; fewer than one draw is none. */
static void set_rates(layout *l, const cf_umap_graph *g, int epochs)
{
    float heaviest = 0;
    for (int64_t e = 0; e < g->start[g->n]; e++)
        heaviest = g->weight[e] > heaviest ? g->weight[e] : heaviest;
    for (int64_t i = 0; i < g->n; i++) {
        int64_t from = g->start[l->point[i]], to = l->edges[i];
        for (; to < l->edges[i + 1]; from++, to++) {
            float rate = g->weight[from] / heaviest;
            l->rate[to] = rate * (float)epochs < 1 ? 0 : rate;
            l->other[to] = g->column[from];
        }
    }
}

static cf_err set_up(layout *l, const cf_umap_graph *g, int epochs, int threads)
{
    size_t n = (size_t)g->n, edges = (size_t)g->start[n];
    CF_TRY(cf_new(&l->point, n, sizeof *l->point));
    CF_TRY(cf_new(&l->edges, n + 1, sizeof *l->edges));
    CF_TRY(cf_new(&l->rate, edges + LANES, sizeof *l->rate));
    CF_TRY(cf_new(&l->other, edges + LANES, sizeof *l->other));
    CF_TRY(cf_new(&l->benches, (size_t)threads, sizeof *l->benches));
    CF_TRY(rank_points(l, g));
    set_rates(l, g, epochs);
    /* The first block has most edges. A lane that waits reads on behind its own, by as many as its
     * neighbours have. */
    int64_t first = l->edges[l->n < POINTS ? l->n : POINTS] + l->edges[1] + LANES;
    for (int t = 0; t < threads; t++)
        CF_TRY(cf_new(&l->benches[t].drawn, (size_t)first, sizeof *l->benches[t].drawn));
    return CF_OK;
}

static void tear_down(layout *l, int threads)
{
    for (int t = 0; l->benches != NULL && t < threads; t++) free(l->benches[t].drawn);
    free(l->benches);
    free(l->other);
    free(l->rate);
    free(l->edges);
    free(l->point);
}

cf_err cf_umap_layout(const cf_umap_graph *graph, const cf_umap_options *options, float *y)
{
    int epochs = cf_umap_epochs(options, graph->n);
    cf_crew crew = options->crew;
    layout l = {.n = graph->n, .seed = options->seed, .from = y};
    double a = 0, b = 0;
    float *second = NULL;
    cf_err err = CF_OK;
    crew.threads = cf_crew_size(crew.threads);
    CF_TRY_GOTO(set_up(&l, graph, epochs, crew.threads), out);
    CF_TRY_GOTO(cf_new(&second, (size_t)graph->n * 2, sizeof *second), out);
    l.to = second;
    cf_umap_curve(options->min_dist, options->spread, &a, &b);
    l.a = (float)a;
    l.b = (float)b;
    for (l.epoch = 0; l.epoch < epochs; l.epoch++) {
        l.step = 1 - (float)l.epoch / (float)epochs;
        CF_TRY_GOTO(cf_crew_each(&crew, (graph->n + POINTS - 1) / POINTS, move_points, &l), out);
        float *swap = l.from;
        l.from = l.to;
        l.to = swap;
    }
    if (l.from != y) memcpy(y, l.from, (size_t)graph->n * 2 * sizeof *y);
out:
    free(second);
    tear_down(&l, crew.threads);
    return err;
}
