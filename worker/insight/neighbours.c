#include "worker/insight/neighbours.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/dnnl_products.h"
#include "kernels/cpu/simd_lanes.h"
#include "worker/data/crew.h"
#include "worker/insight/rows.h"

/* Rows of a block that one thread holds against tiles of all rows: in bf16 some 3 MiB of products
 * and rows of 2,048 features, about what a core's second cache takes. */
enum { MINE = 256, THEIRS = 512 };
/* How many more than k are kept. Floats rank neighbours that are almost as near as each other by
 * chance; bf16 needs room for its proof. Below NARROW columns the products are not what takes time.
 */
enum {
    SPARE = 8,
    SPARE_ROUNDED = 50,
    SPARE_NARROWED = 26,
    NARROW = 64,
    CHECKED = 64,
    MOST_KEPT = CF_NEIGHBOURS_MAX + SPARE_ROUNDED
};

typedef struct candidate {
    float distance; /* squared; less the own row's square until it is measured */
    int32_t index;
} candidate;

/* What one thread works in. */
typedef struct bench {
    float *rows;                  /* owned, [MINE][width] */
    uint16_t *short_rows;         /* owned, [MINE][width] bf16; NULL: none wanted */
    float *products;              /* owned, [MINE][THEIRS] */
    candidate (*kept)[MOST_KEPT]; /* owned, [MINE] */
    int n_kept[MINE];
    uint16_t *tile;      /* owned, [THEIRS][width] bf16; NULL: none wanted */
    cf_cpu_tiles *tiles; /* owned; NULL: none wanted */
} bench;

typedef struct search {
    const float *x; /* [n][d] */
    int64_t n, d;
    int k, kept;
    int64_t width; /* of the rows that are compared: d, or fewer axes */
    bool rounded;  /* products of bf16 */
    bool narrowed; /* approximate; else products of bf16 come with proof */
    cf_rows rows;
    char *tiles;    /* owned, bf16, packed: of rows 0 to THEIRS - 1, and so on; NULL: none wanted */
    bench *benches; /* owned, [threads] */
    const int64_t *asked; /* [n_asked] rows to search for; NULL: all */
    int64_t n_asked;
    uint8_t *again; /* owned, [n] 1 where the proof failed; NULL: nobody asks */
    cf_neighbours *out;
} search;

static bool nearer(candidate a, candidate b)
{
    return a.distance < b.distance || (a.distance == b.distance && a.index < b.index);
}

/* Keeps `list` [n] sorted, nearest first, at most `most` long. */
static void insert(candidate *list, int *n, int most, candidate c)
{
    if (*n == most && !nearer(c, list[most - 1])) return;
    int at = *n < most ? (*n)++ : most - 1;
    for (; at > 0 && nearer(c, list[at - 1]); at--) list[at] = list[at - 1];
    list[at] = c;
}

/* ---- comparing --------------------------------------------------------------------------------
 */

/* Squared distances of CF_LANES candidates, less the own row's square. */
CF_INLINE cf_vec distances_of(const float *products, const float *squares)
{
    return cf_vec_fma(cf_vec_load(products, 0, CF_F32), cf_vec_set(-2),
                      cf_vec_load(squares, 0, CF_F32));
}

CF_INLINE uint32_t near(const float *products, const float *squares, float worst)
{
    return cf_ivec_bits(distances_of(products, squares) <= cf_vec_set(worst));
}

/* A row's list while it grows. */
typedef struct growing {
    candidate *list;
    int *n, kept;
    int64_t row, from; /* its own place, and that of the first candidate */
    float worst;
} growing;

static void take(growing *g, const float *products, const float *squares, int64_t j)
{
    float distance = cf_vec_fma(cf_vec_set(products[j]), cf_vec_set(-2), cf_vec_set(squares[j]))[0];
    if (!(distance <= g->worst) || g->from + j == g->row) return;
    insert(g->list, g->n, g->kept, (candidate){distance, (int32_t)(g->from + j)});
    if (*g->n == g->kept) g->worst = g->list[g->kept - 1].distance;
}

/* The nearest of rows from .. from + m - 1 go into the list of `row`. */
static void scan(const search *s, int64_t row, const float *products, int64_t from, int64_t m,
                 candidate *list, int *n_list)
{
    const float *squares = s->rows.squares + from;
    growing g = {list, n_list, s->kept, row, from, INFINITY};
    int64_t j = 0;
    if (*n_list == s->kept) g.worst = list[s->kept - 1].distance;
    for (; j + 4 * CF_LANES <= m; j += 4 * CF_LANES) {
        uint64_t bits = 0;
        for (int v = 0; v < 4; v++)
            bits |= (uint64_t)near(products + j + v * CF_LANES, squares + j + v * CF_LANES, g.worst)
                    << v * CF_LANES;
        for (; bits != 0; bits &= bits - 1) take(&g, products, squares, j + __builtin_ctzll(bits));
    }
    for (; j < m; j++) take(&g, products, squares, j);
}

static int64_t row_at(const search *s, int64_t place)
{
    return s->asked != NULL ? s->asked[place] : place;
}

/* Rows of a block, the last block filled up with zeros. */
static void take_rows(const search *s, int64_t first, int64_t n, bench *b)
{
    size_t bytes = (size_t)s->width * sizeof *b->rows;
    for (int64_t i = 0; i < MINE; i++) {
        b->n_kept[i] = 0;
        if (i < n)
            memcpy(b->rows + i * s->width, s->rows.x + row_at(s, first + i) * s->width, bytes);
        else
            memset(b->rows + i * s->width, 0, bytes);
    }
    if (s->rounded) cf_rows_round(b->rows, MINE * s->width, b->short_rows);
}

static cf_err compare(const search *s, bench *b, int64_t n, int64_t from, int64_t m)
{
    if (s->rounded)
        return cf_cpu_tiles_run(b->tiles, b->short_rows,
                                s->tiles + (size_t)(from / THEIRS) * cf_cpu_tiles_bytes(b->tiles),
                                b->products);
    return cf_cpu_products(b->rows, n, s->rows.x + from * s->width, m, s->width, b->products);
}

/* ---- measuring --------------------------------------------------------------------------------
 */

/* The least that candidates behind `c` in the list of `row` can be away, whatever rounding did to
 * both rows and to their product. */
static double least_distance(const search *s, int64_t row, candidate c)
{
    const cf_rows *r = &s->rows;
    double square = (double)r->squares[row], length = sqrt(square), most = r->longest;
    double slack = 2 * (double)s->d * (double)FLT_EPSILON * length * most +
                   4 * (double)FLT_EPSILON * (most + length) * (most + length);
    double least = (double)c.distance + square - slack;
    return (least > 0 ? sqrt(least) : 0) - (double)r->lost[row] - r->most_lost;
}

/* Measures the list of `row`, nearest first, until nobody behind can be among the k nearest. False:
 * the list ended before that was sure. */
static bool measure(const search *s, int64_t row, const candidate *list, int n_list)
{
    candidate best[CF_NEIGHBOURS_MAX];
    int n = 0, i = 0;
    bool proven = s->rounded && !s->narrowed, sure = !proven || n_list == s->n - 1;
    for (; i < n_list; i++) {
        if (proven && n == s->k &&
            least_distance(s, row, list[i]) > sqrt((double)best[n - 1].distance) * (1 + 1e-6))
            break;
        candidate c = {.index = list[i].index};
        c.distance =
            (float)cf_rows_distance(s->x + row * s->d, s->x + (int64_t)c.index * s->d, s->d);
        insert(best, &n, s->k, c);
    }
    for (int j = 0; j < s->k; j++) {
        s->out->index[row * s->k + j] = best[j].index;
        s->out->distance[row * s->k + j] = sqrtf(best[j].distance);
    }
    return sure || i < n_list;
}

static cf_err search_block(void *context, int worker, int64_t block)
{
    const search *s = context;
    bench *b = &s->benches[worker];
    int64_t first = block * MINE, n = s->n_asked - first < MINE ? s->n_asked - first : MINE;
    take_rows(s, first, n, b);
    for (int64_t from = 0; from < s->n; from += THEIRS) {
        int64_t m = s->n - from < THEIRS ? s->n - from : THEIRS;
        int64_t stride = s->rounded ? THEIRS : m;
        CF_TRY(compare(s, b, n, from, m));
        for (int64_t i = 0; i < n; i++)
            scan(s, row_at(s, first + i), b->products + i * stride, from, m, b->kept[i],
                 &b->n_kept[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t row = row_at(s, first + i);
        if (b->n_kept[i] < s->k)
            return cf_fail(CF_E_NUMERIC, "row %lld: distances that are not finite", (long long)row);
        bool sure = measure(s, row, b->kept[i], b->n_kept[i]);
        if (s->again != NULL) s->again[row] = !sure;
    }
    return CF_OK;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static void benches_fini(search *s, int threads)
{
    for (int t = 0; s->benches != NULL && t < threads; t++) {
        bench *b = &s->benches[t];
        cf_cpu_tiles_destroy(b->tiles);
        free(b->kept);
        free(b->products);
        free(b->tile);
        free(b->short_rows);
        free(b->rows);
    }
    free(s->benches);
}

static cf_err benches_init(search *s, int threads)
{
    size_t values = (size_t)MINE * (size_t)s->width;
    CF_TRY(cf_new(&s->benches, (size_t)threads, sizeof *s->benches));
    for (int t = 0; t < threads; t++) {
        bench *b = &s->benches[t];
        CF_TRY(cf_new_aligned(&b->rows, values, sizeof *b->rows));
        CF_TRY(cf_new_aligned(&b->products, (size_t)MINE * THEIRS, sizeof *b->products));
        CF_TRY(cf_new(&b->kept, MINE, sizeof *b->kept));
        if (!s->rounded) continue;
        CF_TRY(cf_new_aligned(&b->short_rows, values, sizeof *b->short_rows));
        CF_TRY(cf_new_aligned(&b->tile, (size_t)THEIRS * (size_t)s->width, sizeof *b->tile));
        /* Processors without bf16 multiply floats. */
        cf_err err = cf_cpu_tiles_create(MINE, THEIRS, s->width, &b->tiles);
        if (err == CF_E_DEVICE) s->rounded = false;
        if (err != CF_OK && err != CF_E_DEVICE) return err;
    }
    return CF_OK;
}

/* The last tile is filled up with zeros. */
static cf_err pack_tile(void *context, int worker, int64_t tile)
{
    const search *s = context;
    bench *b = &s->benches[worker];
    int64_t first = tile * THEIRS, n = s->n - first < THEIRS ? s->n - first : THEIRS;
    memset(b->tile, 0, (size_t)THEIRS * (size_t)s->width * sizeof *b->tile);
    cf_rows_round(s->rows.x + first * s->width, n * s->width, b->tile);
    return cf_cpu_tiles_pack(b->tiles, b->tile,
                             s->tiles + (size_t)tile * cf_cpu_tiles_bytes(b->tiles));
}

static cf_err pack_tiles(search *s, const cf_crew *crew)
{
    int64_t n_tiles = (s->n + THEIRS - 1) / THEIRS;
    CF_TRY(cf_new_aligned(&s->tiles, (size_t)n_tiles, cf_cpu_tiles_bytes(s->benches->tiles)));
    return cf_crew_each(crew, n_tiles, pack_tile, s);
}

static cf_err search_rows(search *s, const cf_crew *crew)
{
    s->kept = s->k + (s->narrowed ? SPARE_NARROWED : s->rounded ? SPARE_ROUNDED : SPARE);
    if (s->kept > s->n - 1) s->kept = (int)(s->n - 1);
    return cf_crew_each(crew, (s->n_asked + MINE - 1) / MINE, search_block, s);
}

/* The rows whose neighbours bf16 left open, as floats. */
static cf_err search_again(search *s, const cf_crew *crew)
{
    int64_t *asked = NULL, n = 0;
    CF_TRY(cf_new(&asked, (size_t)s->n, sizeof *asked));
    for (int64_t i = 0; i < s->n; i++)
        if (s->again[i]) asked[n++] = i;
    s->asked = asked;
    s->n_asked = s->out->n_again = n;
    s->rounded = false;
    cf_err err = n > 0 ? search_rows(s, crew) : CF_OK;
    free(asked);
    return err;
}

static cf_err make_room(cf_neighbours *nb, int64_t n, int k)
{
    nb->n = n;
    nb->k = k;
    CF_TRY(cf_new(&nb->index, (size_t)(n * k), sizeof *nb->index));
    return cf_new(&nb->distance, (size_t)(n * k), sizeof *nb->distance);
}

static cf_err search_all(search *s, const cf_crew *crew)
{
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&s->again, (size_t)s->n, sizeof *s->again), out);
    CF_TRY_GOTO(benches_init(s, crew->threads), out);
    CF_TRY_GOTO(cf_rows_init(&s->rows, s->x, s->n, s->d,
                             s->rounded ? CF_ROWS_ROUNDED : CF_ROWS_FLOAT, crew),
                out);
    if (s->rounded) CF_TRY_GOTO(pack_tiles(s, crew), out);
    CF_TRY_GOTO(search_rows(s, crew), out);
    if (s->rounded) CF_TRY_GOTO(search_again(s, crew), out);
out:
    cf_rows_fini(&s->rows);
    return err;
}

/* The share of the true neighbours of some rows that are in s->out. squares: [n] of x. */
static cf_err check_some(const search *s, float *squares, const cf_crew *crew)
{
    int64_t asked[CHECKED], found = 0;
    cf_neighbours sure = {0};
    /* `rows` borrows x, which nobody writes. */
    search t = {.x = s->x, .n = s->n, .d = s->d, .width = s->d, .k = s->k, .out = &sure};
    t.rows = (cf_rows){.n = s->n, .d = s->d, .x = (float *)(uintptr_t)s->x, .squares = squares};
    t.asked = asked;
    t.n_asked = CHECKED;
    cf_err err = CF_OK;
    for (int i = 0; i < CHECKED; i++) asked[i] = i * s->n / CHECKED;
    CF_TRY_GOTO(make_room(&sure, s->n, s->k), out);
    CF_TRY_GOTO(benches_init(&t, crew->threads), out);
    CF_TRY_GOTO(search_rows(&t, crew), out);
    for (int i = 0; i < CHECKED; i++) {
        const int32_t *a = sure.index + asked[i] * s->k, *b = s->out->index + asked[i] * s->k;
        for (int j = 0; j < s->k * s->k; j++) found += a[j / s->k] == b[j % s->k];
    }
    s->out->found = (double)found / (CHECKED * s->k);
out:
    benches_fini(&t, crew->threads);
    cf_neighbours_fini(&sure);
    return err;
}

static cf_err search_narrowed(search *s, const cf_crew *crew)
{
    float *squares = NULL;
    cf_err err = CF_OK;
    s->narrowed = s->out->approximate = true;
    s->width = CF_ROWS_AXES;
    CF_TRY_GOTO(cf_new(&squares, (size_t)s->n, sizeof *squares), out);
    CF_TRY_GOTO(benches_init(s, crew->threads), out);
    CF_TRY_GOTO(cf_rows_narrow(&s->rows, s->x, s->n, s->d, crew, squares), out);
    if (s->rounded) CF_TRY_GOTO(pack_tiles(s, crew), out);
    CF_TRY_GOTO(search_rows(s, crew), out);
    CF_TRY_GOTO(check_some(s, squares, crew), out);
out:
    cf_rows_fini(&s->rows);
    free(squares);
    return err;
}

cf_err cf_neighbours_find(const float *x, int64_t n, int64_t d, int k, const cf_crew *asked,
                          cf_neighbours *out)
{
    memset(out, 0, sizeof *out);
    if (k < 1 || k > CF_NEIGHBOURS_MAX || k >= n || n > INT32_MAX || d < 1)
        return cf_fail(CF_E_USAGE,
                       "%d neighbours of each of %lld rows of %lld: expected 1 to %d, fewer than "
                       "the rows",
                       k, (long long)n, (long long)d, CF_NEIGHBOURS_MAX);
    cf_crew crew = *asked;
    crew.threads = cf_crew_size(asked->threads);
    search s = {.x = x, .n = n, .d = d, .width = d, .k = k, .out = out, .n_asked = n};
    s.rounded = d >= NARROW;
    out->found = 1;
    bool narrowed = n >= CF_NEIGHBOURS_MANY && d >= CF_NEIGHBOURS_LONG;
    cf_err err = make_room(out, n, k);
    if (err == CF_OK) err = narrowed ? search_narrowed(&s, &crew) : search_all(&s, &crew);
    benches_fini(&s, crew.threads);
    free(s.tiles);
    free(s.again);
    return err;
}

cf_err cf_neighbours_first(const cf_neighbours *nb, int k, cf_neighbours *out)
{
    *out =
        (cf_neighbours){.n_again = nb->n_again, .approximate = nb->approximate, .found = nb->found};
    CF_TRY(make_room(out, nb->n, k));
    for (int64_t i = 0; i < nb->n; i++)
        for (int j = 0; j < k; j++) {
            out->index[i * k + j] = nb->index[i * nb->k + j];
            out->distance[i * k + j] = nb->distance[i * nb->k + j];
        }
    return CF_OK;
}

void cf_neighbours_fini(cf_neighbours *nb)
{
    free(nb->index);
    free(nb->distance);
    memset(nb, 0, sizeof *nb);
}
