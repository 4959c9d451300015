/* The forces. The authors' program draws edges one after another and moves both ends at once; here
 * each point draws its own edges in both of their roles and moves alone, against the positions that
 * all points had when the epoch began. So LANES points can move side by side, one in each lane of a
 * vector register; points with as many edges stand together, so that few lanes wait. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/simd.h"
#include "kernels/math/philox.h"
#include "worker/data/crew.h"
#include "worker/insight/umap.h"

enum { LANES = CF_LANES, GROUPS = 4, REPULSIONS = 5 };
/* Squared distances below `nothing` push nobody; power_of is not made for them. */
static const float clip = 4, touching = 0.001f, nothing = 1e-30f;

typedef struct layout {
    const cf_umap_graph *graph;
    float *pause;   /* owned, [edges] epochs from one draw of an edge to the next; 0: never drawn */
    float *next;    /* owned, [edges] epoch of its next draw */
    int32_t *order; /* owned, [n] points, those with most edges first */
    int32_t **drawn; /* owned, [threads] of [LANES][most edges of a point] */
    int64_t most;
    float a, b, step;
    uint32_t seed;
    int epoch;
    float *from, *to; /* [n][2] positions before and after the epoch */
} layout;

typedef uint64_t pairs
    __attribute__((vector_size(64))); /* of lanes: even ones low, odd ones high */

/* LANES points on their way. */
typedef struct movers {
    cf_vec x, y, step;    /* step: 0 in a lane that waits */
    int32_t point[LANES]; /* who they are */
    int32_t other[LANES]; /* and whom they meet */
    cf_uvec number[4];    /* the last four random numbers of each */
    uint32_t n_blocks;    /* of four numbers that were made */
} movers;

/* base^exponent for bases above FLT_MIN, to about 1e-6 of the value: log2 by the series of atanh,
 * 2^x by that of exp. Forces are cut at `clip` and drawn at random: more digits would be wasted. */
CF_INLINE cf_vec power_of(cf_vec base, float exponent)
{
    cf_ivec e = ((cf_ivec)base - 0x3F3504F3) >> 23; /* mantissa in [sqrt(1/2), sqrt(2)) */
    cf_vec m = (cf_vec)((cf_ivec)base - (e << 23));
    cf_vec s = (m - 1.0f) / (m + 1.0f), z = s * s;
    cf_vec log2 = __builtin_convertvector(e, cf_vec) +
                  s * (2.885390082f + z * (0.961796694f + z * (0.577078016f + z * 0.412198583f)));
    cf_vec x = log2 * exponent, least = cf_vec_set(-126);
    x = cf_vec_select(x < least, least, x); /* below it 2^x is no normal number: near enough to 0 */
    cf_ivec whole = __builtin_convertvector(x, cf_ivec); /* towards 0: f is in (-1, 1) */
    cf_vec f = (x - __builtin_convertvector(whole, cf_vec)) * 0.5f;
    cf_vec part =
        1.0f + f * (0.693147181f +
                    f * (0.240226507f +
                         f * (0.0555041087f +
                              f * (0.00961812911f + f * (0.00133335581f + f * 0.000154035304f)))));
    return part * part * (cf_vec)((whole + 127) << 23);
}

CF_INLINE cf_vec clipped(cf_vec v)
{
    cf_vec most = cf_vec_set(clip);
    v = cf_vec_select(v > most, most, v);
    return cf_vec_select(v < -most, -most, v);
}

/* From the other to each: dx, dy; returns the squared distance, `nothing` at least. `step` becomes
 * 0 where it is less. */
CF_INLINE cf_vec look_at(const layout *l, const movers *m, cf_vec *dx, cf_vec *dy, cf_vec *step)
{
    float x[LANES], y[LANES];
    for (int i = 0; i < LANES; i++) {
        const float *place = l->from + 2 * (int64_t)m->other[i];
        x[i] = place[0];
        y[i] = place[1];
    }
    *dx = m->x - cf_vec_load(x, 0, CF_F32);
    *dy = m->y - cf_vec_load(y, 0, CF_F32);
    cf_vec t2 = *dx * *dx + *dy * *dy, least = cf_vec_set(nothing);
    *step = cf_vec_select(t2 < least, cf_vec_set(0), m->step);
    return cf_vec_select(t2 < least, least, t2);
}

/* Towards `other`: the slope of log(1 / (1 + a t^2b)). */
CF_INLINE void attract(const layout *l, movers *m)
{
    cf_vec dx, dy, step, t2 = look_at(l, m, &dx, &dy, &step);
    cf_vec power = power_of(t2, l->b);
    cf_vec force = -2 * l->a * l->b * power / (t2 * (1.0f + l->a * power));
    m->x += step * clipped(force * dx);
    m->y += step * clipped(force * dy);
}

/* Away from `other`: the slope of log(1 - 1 / (1 + a t^2b)). */
CF_INLINE void repel(const layout *l, movers *m)
{
    cf_vec dx, dy, step, t2 = look_at(l, m, &dx, &dy, &step);
    cf_vec force = 2 * l->b / ((touching + t2) * (1.0f + l->a * power_of(t2, l->b)));
    m->x += step * clipped(force * dx);
    m->y += step * clipped(force * dy);
}

/* Low and high halves of a * b. */
CF_INLINE cf_uvec multiply(cf_uvec a, uint32_t b, cf_uvec *high)
{
    pairs even = ((pairs)a & 0xffffffffu) * b, odd = ((pairs)a >> 32) * b;
    *high = (cf_uvec)(even >> 32 | (odd & 0xffffffff00000000u));
    return (cf_uvec)((even & 0xffffffffu) | odd << 32);
}

/* The next four numbers of each point's own stream, as cf_philox4x32 makes them. */
CF_INLINE void make_numbers(const layout *l, movers *m)
{
    cf_uvec c0 = m->n_blocks - (cf_uvec){0}, c1, c2 = (uint32_t)l->epoch - (cf_uvec){0};
    cf_uvec c3 = (2u << 8 | (uint32_t)CF_PURPOSE_UMAP) - (cf_uvec){0};
    uint32_t k0 = l->seed, k1 = 0;
    memcpy(&c1, m->point, sizeof c1);
    m->n_blocks++;
    for (int round = 0; round < 10; round++) {
        cf_uvec high0, high1, low0 = multiply(c0, 0xD2511F53u, &high0);
        cf_uvec low1 = multiply(c2, 0xCD9E8D57u, &high1);
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    m->number[0] = c0;
    m->number[1] = c1;
    m->number[2] = c2;
    m->number[3] = c3;
}

/* Anybody, by a multiplication: of 2^32 numbers at most one more falls on some points than on
 * others. A point that meets itself stays. */
CF_INLINE void meet_at_random(const layout *l, movers *m, int number)
{
    cf_uvec others;
    (void)multiply(m->number[number], (uint32_t)l->graph->n, &others);
    memcpy(m->other, &others, sizeof others);
}

/* The edges of point i that are drawn in this epoch; how many. */
static int draw_edges(layout *l, int64_t i, int32_t *drawn)
{
    const cf_umap_graph *g = l->graph;
    float now = (float)l->epoch;
    int n = 0;
    for (int64_t e = g->start[i]; e < g->start[i + 1]; e++) {
        if (l->next[e] > now) continue;
        l->next[e] += l->pause[e];
        drawn[n++] = g->column[e];
    }
    return n;
}

/* The places of the points whose edges are drawn, and how many edges each has; the most of all. */
static int gather(layout *l, movers *m, int64_t first, int64_t n, int *counts, int32_t *drawn)
{
    int most = 0;
    for (int i = 0; i < LANES; i++) {
        m->point[i] = l->order[i < n ? first + i : first];
        m->x[i] = l->from[2 * (int64_t)m->point[i]];
        m->y[i] = l->from[2 * (int64_t)m->point[i] + 1];
        counts[i] = i < n ? draw_edges(l, m->point[i], drawn + i * l->most) : 0;
        most = counts[i] > most ? counts[i] : most;
    }
    return most;
}

static void move_lanes(layout *l, int64_t first, int32_t *drawn)
{
    movers m = {.n_blocks = 0};
    int counts[LANES], number = 4;
    int64_t n = l->graph->n - first < LANES ? l->graph->n - first : LANES;
    int most = gather(l, &m, first, n, counts, drawn);
    for (int e = 0; e < most; e++) {
        for (int i = 0; i < LANES; i++) {
            bool moves = e < counts[i];
            m.step[i] = moves ? l->step : 0;
            m.other[i] = moves ? drawn[i * l->most + e] : m.point[i];
        }
        attract(l, &m); /* as the head of this edge and as the tail of its twin */
        attract(l, &m);
        for (int r = 0; r < REPULSIONS; r++) {
            if (number == 4) make_numbers(l, &m);
            number = number == 4 ? 0 : number;
            meet_at_random(l, &m, number++);
            repel(l, &m);
        }
    }
    for (int i = 0; i < n; i++) {
        l->to[2 * (int64_t)m.point[i]] = m.x[i];
        l->to[2 * (int64_t)m.point[i] + 1] = m.y[i];
    }
}

static cf_err move_points(void *context, int worker, int64_t block)
{
    layout *l = context;
    for (int64_t g = 0; g < GROUPS; g++) {
        int64_t first = (block * GROUPS + g) * LANES;
        if (first < l->graph->n) move_lanes(l, first, l->drawn[worker]);
    }
    return CF_OK;
}

/* ---- setting up -------------------------------------------------------------------------------
 */

/* The heaviest edge is drawn in every epoch, others in proportion; fewer than one draw is none. */
static void set_pauses(layout *l, int epochs)
{
    const cf_umap_graph *g = l->graph;
    float heaviest = 0;
    for (int64_t e = 0; e < g->start[g->n]; e++)
        heaviest = g->weight[e] > heaviest ? g->weight[e] : heaviest;
    for (int64_t e = 0; e < g->start[g->n]; e++) {
        float rate = g->weight[e] / heaviest;
        l->pause[e] = rate * (float)epochs < 1 ? INFINITY : 1 / rate;
        l->next[e] = l->pause[e] - 1; /* in the last epoch of each pause */
    }
}

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

static cf_err rank_points(layout *l)
{
    const cf_umap_graph *g = l->graph;
    ranked *all = NULL;
    CF_TRY(cf_new(&all, (size_t)g->n, sizeof *all));
    for (int64_t i = 0; i < g->n; i++)
        all[i] = (ranked){.edges = g->start[i + 1] - g->start[i], .point = (int32_t)i};
    qsort(all, (size_t)g->n, sizeof *all, by_edges);
    for (int64_t i = 0; i < g->n; i++) l->order[i] = all[i].point;
    l->most = g->n > 0 ? all[0].edges : 0;
    free(all);
    return CF_OK;
}

static cf_err set_up(layout *l, int epochs, int threads)
{
    size_t n = (size_t)l->graph->n, edges = (size_t)l->graph->start[n];
    CF_TRY(cf_new(&l->pause, edges, sizeof *l->pause));
    CF_TRY(cf_new(&l->next, edges, sizeof *l->next));
    CF_TRY(cf_new(&l->order, n, sizeof *l->order));
    CF_TRY(cf_new(&l->drawn, (size_t)threads, sizeof *l->drawn));
    set_pauses(l, epochs);
    CF_TRY(rank_points(l));
    for (int t = 0; t < threads; t++)
        CF_TRY(cf_new(&l->drawn[t], (size_t)l->most * LANES, sizeof *l->drawn[t]));
    return CF_OK;
}

static void tear_down(layout *l, int threads)
{
    for (int t = 0; l->drawn != NULL && t < threads; t++) free(l->drawn[t]);
    free(l->drawn);
    free(l->order);
    free(l->next);
    free(l->pause);
}

cf_err cf_umap_layout(const cf_umap_graph *graph, const cf_umap_options *options, float *y)
{
    enum { POINTS = LANES * GROUPS };
    int epochs = cf_umap_epochs(options, graph->n);
    cf_crew crew = {.threads = cf_crew_size(options->threads)};
    layout l = {.graph = graph, .seed = options->seed, .from = y};
    double a = 0, b = 0;
    float *second = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(set_up(&l, epochs, crew.threads), out);
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
