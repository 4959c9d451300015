#include "worker/data/check_near.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <vl/kdtree.h>

#include "kernels/base/mem.h"
#include "worker/data/check_describe.h"
#include "worker/data/check_sift.h"
#include "worker/data/fetch.h"

enum {
    NEIGHBORS = 8,
    TREES = 4,
    COMPARISONS = 512, /* of a query, after which it ends: it is then nearly always right */
    SEED = 4,
    MOST_BY_FEATURES = 5000, /* pairs, the closest ones: SIFT takes long */
    FEW = 64 /* images below which all pairs are candidates: too few to standardise by */
};
/* Distances of descriptors. Of 5,359 real cells: unrelated ones are 11.3 apart, nearest neighbours
 * 4.6 and more in 99 of 100 cases; copies that are turned, shifted or compressed 0.5 to 3, copies
 * made so bright that parts are white up to 6.9. */
static const double near_distance = 7.0, sift_distance = 3.0;
/* Correlation of aligned thumbnails from which a candidate is worth its pixels: copies have 0.99.
 */
static const float thumb_correlation = 0.97f;

/* Two places of the input list that stand close, i < j. */
typedef struct candidate {
    int32_t i, j;
    float distance;
} candidate;

typedef struct verdict {
    float similarity;
    bool compared, sift;
    cf_align_map map;
} verdict;

/* Scratch of one thread. */
typedef struct bench {
    cf_align_picture a, b;
    cf_sift sift_a, sift_b;
    cf_image room; /* owned: decoded pixels */
    int32_t at;    /* whose picture `a` is; -1: nobody's */
} bench;

typedef struct near {
    const cf_near_input *in;                    /* borrowed */
    VlKDForest *forest;                         /* owned */
    VlKDForestSearcher *searchers[CF_CREW_MAX]; /* owned by the forest */
    int n_neighbors;
    int32_t *neighbors;    /* owned, [n][n_neighbors]; -1: none */
    float *distances;      /* owned, beside it */
    candidate *candidates; /* owned, [n_candidates] */
    int64_t n_candidates;
    verdict *verdicts;  /* owned, [n_candidates] */
    bench *benches;     /* owned, [threads] */
    double by_features; /* distance below which features are worth a try */
} near;

/* ---- stage one: candidates ---- */

static cf_err build_forest(near *s, int threads)
{
    const cf_near_input *in = s->in;
    vl_rand_seed(vl_get_rand(), SEED);
    s->forest = vl_kdforest_new(VL_TYPE_FLOAT, CF_DESCRIBE_DIMS, TREES, VlDistanceL2);
    if (!s->forest) return cf_fail(CF_E_UNEXPECTED, "VLFeat: out of memory");
    vl_kdforest_build(s->forest, (vl_size)in->n, in->descriptors);
    vl_kdforest_set_max_num_comparisons(s->forest, COMPARISONS);
    for (int t = 0; t < threads; t++) {
        s->searchers[t] = vl_kdforest_new_searcher(s->forest);
        if (!s->searchers[t]) return cf_fail(CF_E_UNEXPECTED, "VLFeat: out of memory");
    }
    return CF_OK;
}

static cf_err ask_forest(void *context, int worker, int64_t i)
{
    near *s = context;
    VlKDForestNeighbor found[NEIGHBORS + 1]; /* itself, too */
    vl_size n = (vl_size)s->n_neighbors + 1;
    const float *query = s->in->descriptors + i * CF_DESCRIBE_DIMS;
    for (vl_size k = 0; k < n; k++) found[k].index = (vl_uindex)-1;
    vl_kdforestsearcher_query(s->searchers[worker], found, n, query);
    int64_t at = i * s->n_neighbors, end = at + s->n_neighbors;
    for (vl_size k = 0; k < n && at < end; k++) {
        if (found[k].index >= (vl_uindex)s->in->n || (int64_t)found[k].index == i) continue;
        s->neighbors[at] = (int32_t)found[k].index;
        s->distances[at++] = (float)sqrt(found[k].distance); /* VlDistanceL2 is squared */
    }
    while (at < end) s->neighbors[at++] = -1;
    return CF_OK;
}

static int compare_candidates(const void *a, const void *b)
{
    const candidate *p = a, *q = b;
    if (p->i != q->i) return p->i < q->i ? -1 : 1;
    return (p->j > q->j) - (p->j < q->j);
}

/* Pairs from the lists of neighbours, each once. */
static cf_err gather(near *s)
{
    int64_t n = 0, total = s->in->n * s->n_neighbors;
    for (int64_t k = 0; k < total; k++)
        n += s->neighbors[k] >= 0 && (double)s->distances[k] < near_distance;
    CF_TRY(cf_new(&s->candidates, (size_t)n, sizeof *s->candidates));
    n = 0;
    for (int64_t k = 0; k < total; k++) {
        if (s->neighbors[k] < 0 || (double)s->distances[k] >= near_distance) continue;
        int32_t i = (int32_t)(k / s->n_neighbors), j = s->neighbors[k];
        s->candidates[n++] = (candidate){i < j ? i : j, i < j ? j : i, s->distances[k]};
    }
    qsort(s->candidates, (size_t)n, sizeof *s->candidates, compare_candidates);
    for (int64_t k = 0; k < n; k++)
        if (k == 0 || compare_candidates(&s->candidates[k - 1], &s->candidates[k]) != 0)
            s->candidates[s->n_candidates++] = s->candidates[k];
    return CF_OK;
}

static cf_err pair_all(near *s)
{
    int64_t n = s->in->n;
    CF_TRY(cf_new(&s->candidates, (size_t)(n * (n - 1) / 2), sizeof *s->candidates));
    for (int32_t i = 0; i < n; i++)
        for (int32_t j = i + 1; j < n; j++) s->candidates[s->n_candidates++] = (candidate){i, j, 0};
    return CF_OK;
}

static cf_err find_candidates(near *s, const cf_crew *crew)
{
    int64_t n = s->in->n;
    if (n < FEW) return pair_all(s);
    s->n_neighbors = NEIGHBORS;
    CF_TRY(cf_new(&s->neighbors, (size_t)n * NEIGHBORS, sizeof *s->neighbors));
    CF_TRY(cf_new(&s->distances, (size_t)n * NEIGHBORS, sizeof *s->distances));
    CF_TRY(build_forest(s, crew->threads));
    CF_TRY(cf_crew_each(crew, n, ask_forest, s));
    return gather(s);
}

/* ---- stage two: pixels ---- */

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* So near that the MOST_BY_FEATURES closest pairs are, at most sift_distance. */
static cf_err set_by_features(near *s)
{
    float *distances;
    int64_t n = 0;
    s->by_features = sift_distance;
    CF_TRY(cf_new(&distances, (size_t)s->n_candidates, sizeof *distances));
    for (int64_t k = 0; k < s->n_candidates; k++)
        if ((double)s->candidates[k].distance < sift_distance)
            distances[n++] = s->candidates[k].distance;
    qsort(distances, (size_t)n, sizeof *distances, compare_floats);
    if (n > MOST_BY_FEATURES) s->by_features = (double)distances[MOST_BY_FEATURES];
    free(distances);
    return CF_OK;
}

static cf_err fill_picture(const near *s, int32_t place, bench *w, cf_align_picture *p)
{
    const cf_cells *cells = s->in->cells;
    const uint8_t *pixels;
    CF_TRY(cf_cells_fetch(cells, s->in->images[place], &w->room, &pixels));
    return cf_align_picture_fill(pixels, cells->height, cells->width, p);
}

static cf_err fill_features(const near *s, int32_t place, enum cf_sift_side side, bench *w,
                            cf_sift *f)
{
    const cf_cells *cells = s->in->cells;
    const uint8_t *pixels;
    CF_TRY(cf_cells_fetch(cells, s->in->images[place], &w->room, &pixels));
    return cf_sift_fill(pixels, cells->height, cells->width, side, f);
}

/* Through features: b as it is, then b mirrored. Keeps what is better than *v. */
static cf_err compare_by_features(const near *s, const candidate *c, bench *w, verdict *v)
{
    static const enum cf_sift_side sides[] = {CF_SIFT_AS_IS, CF_SIFT_MIRRORED};
    v->sift = true;
    CF_TRY(fill_features(s, c->i, CF_SIFT_AS_IS, w, &w->sift_a));
    for (int k = 0; k < 2; k++) {
        cf_align_map map;
        CF_TRY(fill_features(s, c->j, sides[k], w, &w->sift_b));
        if (cf_sift_match(&w->sift_a, &w->sift_b, &map) == 0) continue;
        if (sides[k] == CF_SIFT_MIRRORED) { /* places of the mirrored b back to b's */
            map.m[0][0] = -map.m[0][0];
            map.m[0][1] = -map.m[0][1];
            map.t[0] = -map.t[0];
        }
        float r = cf_align_confirm(&w->a, &w->b, &map);
        if (r <= v->similarity) continue;
        v->similarity = r;
        v->map = map;
    }
    return CF_OK;
}

static cf_err judge(void *context, int worker, int64_t k)
{
    near *s = context;
    const candidate *c = &s->candidates[k];
    verdict *v = &s->verdicts[k];
    bench *w = &s->benches[worker];
    const uint8_t *thumbs = s->in->thumbs;
    cf_align_map map;
    float rough = cf_align_thumbs(thumbs + (size_t)c->i * CF_THUMB_PIXELS,
                                  thumbs + (size_t)c->j * CF_THUMB_PIXELS, &map);
    bool by_features = (double)c->distance < s->by_features;
    if (rough < thumb_correlation && !by_features) return CF_OK;
    if (w->at != c->i) CF_TRY(fill_picture(s, c->i, w, &w->a)); /* often the one before */
    w->at = c->i;
    CF_TRY(fill_picture(s, c->j, w, &w->b));
    v->compared = true;
    v->map = map;
    if (rough >= thumb_correlation) v->similarity = cf_align_confirm(&w->a, &w->b, &v->map);
    if (v->similarity >= s->in->similarity || !by_features) return CF_OK;
    return compare_by_features(s, c, w, v);
}

static cf_err collect(const near *s, cf_near_result *r)
{
    for (int64_t k = 0; k < s->n_candidates; k++) {
        r->n += s->verdicts[k].similarity >= s->in->similarity;
        r->n_compared += s->verdicts[k].compared;
        r->n_sift += s->verdicts[k].sift;
    }
    r->n_candidates = s->n_candidates;
    CF_TRY(cf_new(&r->pairs, (size_t)r->n, sizeof *r->pairs));
    int64_t n = 0;
    for (int64_t k = 0; k < s->n_candidates; k++) {
        const verdict *v = &s->verdicts[k];
        if (v->similarity < s->in->similarity) continue;
        const candidate *c = &s->candidates[k];
        r->pairs[n++] = (cf_near_pair){.a = s->in->images[c->i],
                                       .b = s->in->images[c->j],
                                       .similarity = v->similarity,
                                       .map = v->map};
    }
    return CF_OK;
}

cf_err cf_near_find(const cf_near_input *in, const cf_crew *crew, cf_near_result *result)
{
    near s = {.in = in};
    cf_err err = CF_OK;
    *result = (cf_near_result){0};
    if (in->n < 2) return CF_OK;
    CF_TRY_GOTO(find_candidates(&s, crew), out);
    CF_TRY_GOTO(cf_new(&s.verdicts, (size_t)s.n_candidates, sizeof *s.verdicts), out);
    CF_TRY_GOTO(cf_new(&s.benches, (size_t)crew->threads, sizeof *s.benches), out);
    for (int t = 0; t < crew->threads; t++) s.benches[t].at = -1;
    CF_TRY_GOTO(set_by_features(&s), out);
    CF_TRY_GOTO(cf_crew_each(crew, s.n_candidates, judge, &s), out);
    CF_TRY_GOTO(collect(&s, result), out);
out:
    if (s.forest) vl_kdforest_delete(s.forest);
    free(s.neighbors);
    free(s.distances);
    free(s.candidates);
    free(s.verdicts);
    for (int t = 0; s.benches && t < crew->threads; t++) cf_image_fini(&s.benches[t].room);
    free(s.benches);
    if (err != CF_OK) cf_near_result_fini(result);
    return err;
}

void cf_near_result_fini(cf_near_result *result)
{
    free(result->pairs);
    *result = (cf_near_result){0};
}
