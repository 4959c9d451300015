#include "worker/data/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "worker/data/check_describe.h"
#include "worker/data/crew.h"
#include "worker/data/fetch.h"

/* The first image of a group of equal ones whose label, and whose patient, is known; -1: none. */
typedef struct known {
    int32_t label, patient;
} known;

typedef struct check {
    const cf_check_options *options; /* borrowed */
    const cf_cells *cells;           /* borrowed */
    cf_check_result *result;         /* borrowed */
    cf_crew crew;
    const char *stage; /* what the progress counts */
    cf_describer *describer;
    uint32_t *scratch;  /* owned, [threads][6 * width] */
    cf_image *rooms;    /* owned, [threads]: decoded pixels */
    float *descriptors; /* owned, [n][CF_DESCRIBE_DIMS] */
    uint8_t *thumbs;    /* owned, [n][CF_THUMB_PIXELS] */
    int32_t *order;     /* owned, [n] */
    int32_t *first;     /* owned, [n]: the first image with the same pixels; itself for most */
    known *known;       /* owned, [n], at the first image of each group */
    int64_t capacity;   /* pairs that the list of duplicates has room for */
} check;

static bool on_progress(void *context, int64_t done, int64_t total)
{
    const check *c = context;
    const cf_check_options *o = c->options;
    return !o->progress || o->progress(o->context, c->stage, done, total);
}

/* ---- every image once ---- */

static cf_err look_at(void *context, int worker, int64_t i)
{
    check *c = context;
    const cf_cells *cells = c->cells;
    size_t bytes = (size_t)cells->height * (size_t)cells->width * 3;
    const uint8_t *pixels;
    float thumb[2 * CF_THUMB_PIXELS];
    cf_err err = cf_cells_fetch(cells, i, &c->rooms[worker], &pixels);
    c->result->damaged[i] = err == CF_E_DATA;
    if (err != CF_OK) return err == CF_E_DATA ? CF_OK : err; /* a finding, not a failure */
    c->result->damaged[i] = cf_hash64(pixels, bytes) != cells->hashes[i];
    cf_measure_image(pixels, cells->height, cells->width,
                     c->scratch + (size_t)worker * 6 * (size_t)cells->width,
                     &c->result->measures[i], thumb);
    cf_describe(c->describer, thumb, c->descriptors + i * CF_DESCRIBE_DIMS);
    uint8_t *small = c->thumbs + (size_t)i * CF_THUMB_PIXELS;
    for (int k = 0; k < CF_THUMB_PIXELS; k++) small[k] = (uint8_t)lrintf(thumb[k]);
    return CF_OK;
}

/* ---- equal images ---- */

typedef struct keyed {
    uint64_t hash;
    int32_t image;
} keyed;

static int compare_keys(const void *a, const void *b)
{
    const keyed *p = a, *q = b;
    if (p->hash != q->hash) return p->hash < q->hash ? -1 : 1;
    return (p->image > q->image) - (p->image < q->image);
}

static unsigned conflicts_of(const check *c, int32_t a, int32_t b)
{
    const cf_cells *cells = c->cells;
    const uint8_t *fold = c->options->fold_of;
    unsigned found = 0;
    if (fold && fold[a] != fold[b]) found |= CF_CONFLICT_FOLD;
    if (cells->labels[a] >= 0 && cells->labels[b] >= 0 && cells->labels[a] != cells->labels[b])
        found |= CF_CONFLICT_LABEL;
    if (cells->patients[a] >= 0 && cells->patients[b] >= 0 &&
        cells->patients[a] != cells->patients[b])
        found |= CF_CONFLICT_PATIENT;
    if (cells->sites[a] != cells->sites[b]) found |= CF_CONFLICT_SITE;
    return found;
}

static cf_err add_pair(check *c, cf_duplicate pair)
{
    cf_check_result *r = c->result;
    if (r->n_duplicates == c->capacity) {
        int64_t more = c->capacity > 0 ? 2 * c->capacity : 256;
        CF_TRY(cf_resize(&r->duplicates, (size_t)more, sizeof *r->duplicates));
        c->capacity = more;
    }
    pair.conflicts = conflicts_of(c, pair.a, pair.b);
    r->duplicates[r->n_duplicates++] = pair;
    return CF_OK;
}

/* The map back: from b to a. A map that flattens has none; it is left as it is. */
static cf_align_map inverse_of(const cf_align_map *map)
{
    const double(*m)[2] = map->m;
    double det = m[0][0] * m[1][1] - m[0][1] * m[1][0];
    if (fabs(det) < 1e-12) return *map;
    cf_align_map back = {{{m[1][1] / det, -m[0][1] / det}, {-m[1][0] / det, m[0][0] / det}},
                         {0, 0}};
    for (int k = 0; k < 2; k++) back.t[k] = -(back.m[k][0] * map->t[0] + back.m[k][1] * map->t[1]);
    return back;
}

/* Adds a pair of two groups of equal images, or of an image and its group. An image without a label
 * or a patient contradicts nobody, so the pair may hide that others of the groups do: these are
 * added too, at most one pair for labels and one for patients. */
static cf_err add_pairs(check *c, const cf_duplicate *pair, known of_a, known of_b)
{
    static const unsigned kinds[2] = {CF_CONFLICT_LABEL, CF_CONFLICT_PATIENT};
    const int32_t first[2] = {of_a.label, of_a.patient}, second[2] = {of_b.label, of_b.patient};
    unsigned told = conflicts_of(c, pair->a, pair->b);
    CF_TRY(add_pair(c, *pair));
    for (int k = 0; k < 2; k++) {
        int32_t a = first[k], b = second[k];
        if (a < 0 || b < 0 || told & kinds[k] || !(conflicts_of(c, a, b) & kinds[k])) continue;
        cf_duplicate other = *pair;
        other.a = a < b ? a : b;
        other.b = a < b ? b : a;
        if (a > b) other.map = inverse_of(&pair->map);
        CF_TRY(add_pair(c, other));
        told |= conflicts_of(c, a, b);
    }
    return CF_OK;
}

static void note_known(check *c, int32_t leader, int32_t i)
{
    known *k = &c->known[leader];
    if (k->label < 0 && c->cells->labels[i] >= 0) k->label = i;
    if (k->patient < 0 && c->cells->patients[i] >= 0) k->patient = i;
}

static cf_err compare_bytes(const cf_cells *cells, int32_t a, int32_t b, cf_image rooms[2],
                            bool *equal)
{
    size_t bytes = (size_t)cells->height * (size_t)cells->width * 3;
    const uint8_t *p, *q;
    CF_TRY(cf_cells_fetch(cells, a, &rooms[0], &p));
    CF_TRY(cf_cells_fetch(cells, b, &rooms[1], &q));
    *equal = memcmp(p, q, bytes) == 0;
    return CF_OK;
}

/* Equal hashes, then equal bytes: two images that only share a hash are not taken for one. */
static cf_err find_equal(check *c)
{
    const cf_cells *cells = c->cells;
    const cf_align_map same = {{{1, 0}, {0, 1}}, {0, 0}};
    keyed *keys;
    CF_TRY(cf_new(&keys, (size_t)cells->n, sizeof *keys));
    for (int64_t i = 0; i < cells->n; i++) keys[i] = (keyed){cells->hashes[i], (int32_t)i};
    qsort(keys, (size_t)cells->n, sizeof *keys, compare_keys);
    cf_err err = CF_OK;
    cf_image rooms[2] = {{0}, {0}};
    int32_t leader = -1;
    for (int64_t k = 0; k < cells->n && err == CF_OK; k++) {
        int32_t i = keys[k].image;
        bool equal = false;
        c->first[i] = i;
        c->known[i] = (known){-1, -1};
        if (c->result->damaged[i]) continue;
        if (leader >= 0 && cells->hashes[leader] == keys[k].hash)
            err = compare_bytes(cells, leader, i, rooms, &equal);
        if (!equal) leader = i;
        if (equal && err == CF_OK) {
            c->first[i] = leader;
            err = add_pairs(
                c,
                &(cf_duplicate){.a = leader, .b = i, .exact = true, .similarity = 1, .map = same},
                c->known[leader], (known){i, i});
        }
        note_known(c, leader, i);
    }
    for (int k = 0; k < 2; k++) cf_image_fini(&rooms[k]);
    free(keys);
    return err;
}

/* ---- near duplicates ---- */

/* One image of each group of equal ones, with something to see on it, moved to the front. */
static int64_t keep_different(check *c)
{
    int64_t n = 0;
    for (int32_t i = 0; i < c->cells->n; i++) {
        if (c->result->damaged[i] || c->first[i] != i || c->result->odd[i] & CF_ODD_FLAT) continue;
        memmove(c->descriptors + n * CF_DESCRIBE_DIMS,
                c->descriptors + (int64_t)i * CF_DESCRIBE_DIMS,
                CF_DESCRIBE_DIMS * sizeof *c->descriptors);
        memmove(c->thumbs + (size_t)n * CF_THUMB_PIXELS, c->thumbs + (size_t)i * CF_THUMB_PIXELS,
                CF_THUMB_PIXELS);
        c->order[n++] = i;
    }
    return n;
}

static cf_err find_near(check *c)
{
    cf_near_result found;
    int64_t n = keep_different(c);
    cf_describe_standardise(c->descriptors, n);
    cf_near_input in = {.cells = c->cells,
                        .images = c->order,
                        .descriptors = c->descriptors,
                        .thumbs = c->thumbs,
                        .n = n,
                        .similarity = c->options->similarity > 0 ? c->options->similarity
                                                                 : (float)CF_NEAR_SIMILARITY};
    CF_TRY(cf_near_find(&in, &c->crew, &found));
    cf_err err = CF_OK;
    for (int64_t k = 0; k < found.n && err == CF_OK; k++) {
        const cf_near_pair *p = &found.pairs[k];
        err = add_pairs(
            c, &(cf_duplicate){.a = p->a, .b = p->b, .similarity = p->similarity, .map = p->map},
            c->known[p->a], c->known[p->b]);
    }
    c->result->n_candidates = found.n_candidates;
    c->result->n_compared = found.n_compared;
    c->result->n_sift = found.n_sift;
    cf_near_result_fini(&found);
    return err;
}

/* ---- the result ---- */

static int most_serious_first(const void *a, const void *b)
{
    const cf_duplicate *p = a, *q = b;
    if (p->conflicts != q->conflicts) return p->conflicts > q->conflicts ? -1 : 1;
    if (p->exact != q->exact) return p->exact ? -1 : 1;
    if (p->a != q->a) return p->a < q->a ? -1 : 1;
    return (p->b > q->b) - (p->b < q->b);
}

/* The root of i's group; c->first serves as the forest of groups, lower numbers being nearer. */
static int32_t root_of(int32_t *parent, int32_t i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

static void count(check *c)
{
    cf_check_result *r = c->result;
    for (int32_t i = 0; i < c->cells->n; i++) c->first[i] = i;
    for (int64_t k = 0; k < r->n_duplicates; k++) {
        const cf_duplicate *d = &r->duplicates[k];
        r->n_exact += d->exact;
        r->n_near += !d->exact;
        for (int bit = 0; bit < 4; bit++) r->n_of_conflict[bit] += d->conflicts >> bit & 1;
        int32_t a = root_of(c->first, d->a), b = root_of(c->first, d->b);
        if (a != b) r->n_surplus++; /* every joining makes one image superfluous */
        c->first[a > b ? a : b] = a > b ? b : a;
    }
    memset(c->order, 0, (size_t)c->cells->n * sizeof *c->order);
    for (int64_t k = 0; k < r->n_duplicates; k++)
        c->order[r->duplicates[k].a] = c->order[r->duplicates[k].b] = 1;
    for (int64_t i = 0; i < c->cells->n; i++) {
        r->n_involved += c->order[i];
        r->n_damaged += r->damaged[i];
        if (r->damaged[i]) r->odd[i] = 0;
        r->n_odd += r->odd[i] != 0;
    }
}

static cf_err start(check *c)
{
    size_t n = (size_t)c->cells->n;
    cf_check_result *r = c->result;
    CF_TRY(cf_new(&r->measures, n, sizeof *r->measures));
    CF_TRY(cf_new(&r->damaged, n, 1));
    CF_TRY(cf_new(&r->odd, n, 1));
    CF_TRY(cf_new(&c->descriptors, n, CF_DESCRIBE_DIMS * sizeof *c->descriptors));
    CF_TRY(cf_new(&c->thumbs, n, CF_THUMB_PIXELS));
    CF_TRY(cf_new(&c->order, n, sizeof *c->order));
    CF_TRY(cf_new(&c->first, n, sizeof *c->first));
    CF_TRY(cf_new(&c->known, n, sizeof *c->known));
    CF_TRY(cf_new(&c->scratch, (size_t)c->crew.threads * 6 * (size_t)c->cells->width,
                  sizeof *c->scratch));
    CF_TRY(cf_new(&c->rooms, (size_t)c->crew.threads, sizeof *c->rooms));
    return cf_describer_create(&c->describer);
}

/* Damaged and one-coloured images say nothing about a site's colours. */
static cf_err compare_sites(const check *c)
{
    uint8_t *left_out;
    const cf_check_result *r = c->result;
    CF_TRY(cf_new(&left_out, (size_t)c->cells->n, 1));
    for (int64_t i = 0; i < c->cells->n; i++)
        left_out[i] = r->damaged[i] != 0 || (r->odd[i] & CF_ODD_FLAT) != 0;
    cf_err err = cf_sites_compare(c->cells, r->measures, left_out, &c->result->sites);
    free(left_out);
    return err;
}

cf_err cf_check(const cf_check_options *options, cf_check_result *result)
{
    *result = (cf_check_result){0};
    check c = {.options = options, .cells = options->cells, .result = result};
    c.crew = (cf_crew){
        .threads = cf_crew_size(options->threads), .progress = on_progress, .progress_context = &c};
    cf_err err;
    CF_TRY_GOTO(start(&c), out);
    CF_TRY_GOTO(cf_check_count_images(c.cells, result), out);
    c.stage = "looked at";
    CF_TRY_GOTO(cf_crew_each(&c.crew, c.cells->n, look_at, &c), out);
    CF_TRY_GOTO(cf_odd_find(c.cells, result->measures, result->odd), out);
    CF_TRY_GOTO(find_equal(&c), out);
    c.stage = "compared";
    CF_TRY_GOTO(find_near(&c), out);
    count(&c);
    if (result->n_duplicates > 1) /* else there may be no list */
        qsort(result->duplicates, (size_t)result->n_duplicates, sizeof *result->duplicates,
              most_serious_first);
    CF_TRY_GOTO(compare_sites(&c), out);
out:
    cf_describer_destroy(c.describer);
    for (int t = 0; c.rooms && t < c.crew.threads; t++) cf_image_fini(&c.rooms[t]);
    free(c.rooms);
    free(c.scratch);
    free(c.known);
    free(c.first);
    free(c.order);
    free(c.thumbs);
    free(c.descriptors);
    return err;
}

void cf_check_result_fini(cf_check_result *r)
{
    free(r->counts);
    free(r->measures);
    free(r->damaged);
    free(r->odd);
    free(r->duplicates);
    cf_sites_fini(&r->sites);
    *r = (cf_check_result){0};
}
