#include "worker/insight/neighbours.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/dnnl_products.h"
#include "kernels/cpu/simd.h"
#include "worker/data/crew.h"
#include "worker/insight/rows.h"

/* Rows of a block that one thread holds against tiles of all rows: in bf16 some 3 MiB of products
 * and rows of 2,048 features, about what a core's second cache takes. */
enum { MINE = 256, THEIRS = 512 };
/* How many more than k are kept. Floats rank neighbours that are almost as near as each other by
 * chance; bf16 needs room for its proof. Below NARROW columns the products are not what takes time.
 */
enum { SPARE = 8, SPARE_ROUNDED = 50, NARROW = 64, MOST_KEPT = CF_NEIGHBOURS_MAX + SPARE_ROUNDED };

typedef struct candidate {
    float distance; /* squared; less the own row's square until it is measured */
    int32_t index;
} candidate;

/* What one thread works in. */
typedef struct bench {
    float *rows;                  /* owned, [MINE][d] */
    uint16_t *short_rows;         /* owned, [MINE][cf_cpu_tiles_stride] bf16; NULL: none wanted */
    float *products;              /* owned, [MINE][THEIRS] */
    candidate (*kept)[MOST_KEPT]; /* owned, [MINE] */
    int n_kept[MINE];
    uint16_t *tile;      /* owned, [THEIRS][d] bf16; NULL: none wanted */
    cf_cpu_tiles *tiles; /* owned; NULL: none wanted */
} bench;

typedef struct search {
    const float *x; /* [n][d] */
    int64_t n, d;
    int k, kept;
    bool rounded; /* products of bf16, with proof */
    cf_rows rows;
    char *tiles;    /* owned, bf16, packed: of rows 0 to THEIRS - 1, and so on; NULL: none wanted */
    bench *benches; /* owned, [threads] */
    const int64_t *asked; /* [n_asked] rows to search for; NULL: all */
    int64_t n_asked;
    uint8_t *again; /* owned, [n] 1 where the proof failed */
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

/* Whether any of CF_LANES candidates is as near as `worst`. */
CF_INLINE bool any_near(const float *products, const float *squares, float worst)
{
    cf_vec distance = cf_vec_load(squares, 0, CF_F32) - 2.0f * cf_vec_load(products, 0, CF_F32);
    cf_ivec near = distance <= cf_vec_set(worst);
    uint64_t words[8], any = 0;
    memcpy(words, &near, sizeof words);
    for (int w = 0; w < 8; w++) any |= words[w];
    return any != 0;
}

/* The nearest of rows from .. from + m - 1 go into the list of `row`. */
static void scan(const search *s, int64_t row, const float *products, int64_t from, int64_t m,
                 candidate *list, int *n_list)
{
    const float *squares = s->rows.squares + from;
    float worst = *n_list < s->kept ? INFINITY : list[s->kept - 1].distance;
    for (int64_t j = 0; j < m; j += CF_LANES) {
        int64_t last = j + CF_LANES < m ? j + CF_LANES : m;
        if (last == j + CF_LANES && !any_near(products + j, squares + j, worst)) continue;
        for (int64_t c = j; c < last; c++) {
            float distance = squares[c] - 2.0f * products[c];
            if (distance > worst || from + c == row) continue;
            insert(list, n_list, s->kept, (candidate){distance, (int32_t)(from + c)});
            if (*n_list == s->kept) worst = list[s->kept - 1].distance;
        }
    }
}

static int64_t row_at(const search *s, int64_t place)
{
    return s->asked != NULL ? s->asked[place] : place;
}

/* Rows of a block, the last block filled up with zeros. */
static void take_rows(const search *s, int64_t first, int64_t n, bench *b)
{
    size_t bytes = (size_t)s->d * sizeof *b->rows;
    for (int64_t i = 0; i < MINE; i++) {
        b->n_kept[i] = 0;
        if (i < n)
            memcpy(b->rows + i * s->d, s->rows.x + row_at(s, first + i) * s->d, bytes);
        else
            memset(b->rows + i * s->d, 0, bytes);
    }
    for (int64_t i = 0; s->rounded && i < MINE; i++)
        cf_rows_round(b->rows + i * s->d, s->d, b->short_rows + i * cf_cpu_tiles_stride(s->d));
}

static cf_err compare(const search *s, bench *b, int64_t n, int64_t from, int64_t m)
{
    if (s->rounded)
        return cf_cpu_tiles_run(b->tiles, b->short_rows,
                                s->tiles + (size_t)(from / THEIRS) * cf_cpu_tiles_bytes(b->tiles),
                                b->products);
    return cf_cpu_products(b->rows, n, s->rows.x + from * s->d, m, s->d, b->products);
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
    bool sure = !s->rounded || n_list == s->n - 1;
    for (; i < n_list; i++) {
        if (s->rounded && n == s->k &&
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
        s->again[row] = !measure(s, row, b->kept[i], b->n_kept[i]);
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
    size_t values = (size_t)MINE * (size_t)s->d;
    CF_TRY(cf_new(&s->benches, (size_t)threads, sizeof *s->benches));
    for (int t = 0; t < threads; t++) {
        bench *b = &s->benches[t];
        CF_TRY(cf_new_aligned(&b->rows, values, sizeof *b->rows));
        CF_TRY(cf_new_aligned(&b->products, (size_t)MINE * THEIRS, sizeof *b->products));
        CF_TRY(cf_new(&b->kept, MINE, sizeof *b->kept));
        if (!s->rounded) continue;
        CF_TRY(cf_new_aligned(&b->short_rows, MINE * (size_t)cf_cpu_tiles_stride(s->d),
                              sizeof *b->short_rows));
        CF_TRY(cf_new_aligned(&b->tile, (size_t)THEIRS * (size_t)s->d, sizeof *b->tile));
        /* Processors without bf16 multiply floats. */
        cf_err err = cf_cpu_tiles_create(MINE, THEIRS, s->d, &b->tiles);
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
    memset(b->tile, 0, (size_t)THEIRS * (size_t)s->d * sizeof *b->tile);
    cf_rows_round(s->rows.x + first * s->d, n * s->d, b->tile);
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
    s->kept = s->k + (s->rounded ? SPARE_ROUNDED : SPARE);
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

cf_err cf_neighbours_find(const float *x, int64_t n, int64_t d, int k, int threads,
                          cf_neighbours *out)
{
    memset(out, 0, sizeof *out);
    if (k < 1 || k > CF_NEIGHBOURS_MAX || k >= n || n > INT32_MAX || d < 1)
        return cf_fail(CF_E_USAGE,
                       "%d neighbours of each of %lld rows of %lld: expected 1 to %d, fewer than "
                       "the rows",
                       k, (long long)n, (long long)d, CF_NEIGHBOURS_MAX);
    cf_crew crew = {.threads = cf_crew_size(threads)};
    search s = {.x = x, .n = n, .d = d, .k = k, .out = out, .n_asked = n, .rounded = d >= NARROW};
    cf_err err = CF_OK;
    out->n = n;
    out->k = k;
    CF_TRY_GOTO(cf_new(&out->index, (size_t)(n * k), sizeof *out->index), out);
    CF_TRY_GOTO(cf_new(&out->distance, (size_t)(n * k), sizeof *out->distance), out);
    CF_TRY_GOTO(cf_new(&s.again, (size_t)n, sizeof *s.again), out);
    CF_TRY_GOTO(benches_init(&s, crew.threads), out);
    CF_TRY_GOTO(cf_rows_init(&s.rows, x, n, d, s.rounded ? CF_ROWS_ROUNDED : CF_ROWS_FLOAT, &crew),
                out);
    if (s.rounded) CF_TRY_GOTO(pack_tiles(&s, &crew), out);
    CF_TRY_GOTO(search_rows(&s, &crew), out);
    if (s.rounded) CF_TRY_GOTO(search_again(&s, &crew), out);
out:
    cf_rows_fini(&s.rows);
    benches_fini(&s, crew.threads);
    free(s.tiles);
    free(s.again);
    return err;
}

void cf_neighbours_fini(cf_neighbours *nb)
{
    free(nb->index);
    free(nb->distance);
    memset(nb, 0, sizeof *nb);
}
