#include "worker/insight/neighbours.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/dnnl_products.h"
#include "worker/data/crew.h"

/* Rows of a block that one thread holds against blocks of all rows: 2.5 MiB of products and rows of
 * 2,048 features, about what a core's second cache takes. */
enum { MINE = 128, THEIRS = 512, QUERIES = 64 };
/* Products of floats rank neighbours that are almost as near as each other by chance: so many more
 * are kept, and measured again. */
enum { SPARE = 8, MOST_KEPT = CF_NEIGHBOURS_MAX + SPARE };

typedef struct candidate {
    float distance; /* squared */
    int32_t index;
} candidate;

typedef struct search {
    const float *x; /* [n][d] */
    const float *y; /* [n][2], trustworthiness only */
    int64_t n, d;
    int k, kept;
    float *centred;   /* owned, [n][d] less the mean row: small numbers cancel less */
    float *squares;   /* owned, [n] squared lengths of centred rows */
    float **products; /* owned, [threads] of [MINE][THEIRS] */
    cf_neighbours *out;
    int64_t stride, n_queries; /* trustworthiness: of rows 0, stride, 2 stride, ... */
    double *losses;            /* owned, [n_queries] */
} search;

/* ---- the common start -------------------------------------------------------------------------
 */

static cf_err centre(search *s)
{
    double *mean = NULL;
    CF_TRY(cf_new(&mean, (size_t)s->d, sizeof *mean));
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t c = 0; c < s->d; c++) mean[c] += (double)s->x[i * s->d + c];
    for (int64_t i = 0; i < s->n; i++) {
        double sum = 0;
        for (int64_t c = 0; c < s->d; c++) {
            float v = (float)((double)s->x[i * s->d + c] - mean[c] / (double)s->n);
            s->centred[i * s->d + c] = v;
            sum += (double)v * (double)v;
        }
        s->squares[i] = (float)sum;
    }
    free(mean);
    return CF_OK;
}

static void search_fini(search *s, int threads)
{
    for (int t = 0; s->products != NULL && t < threads; t++) free(s->products[t]);
    free(s->products);
    free(s->centred);
    free(s->squares);
    free(s->losses);
}

static cf_err search_init(search *s, int threads)
{
    size_t values = 0;
    if (__builtin_mul_overflow((size_t)s->n, (size_t)s->d, &values))
        return cf_fail(CF_E_USAGE, "%lld rows of %lld features are too many", (long long)s->n,
                       (long long)s->d);
    CF_TRY(cf_new(&s->centred, values, sizeof(float)));
    CF_TRY(cf_new(&s->squares, (size_t)s->n, sizeof(float)));
    CF_TRY(cf_new(&s->products, (size_t)threads, sizeof *s->products));
    for (int t = 0; t < threads; t++)
        CF_TRY(cf_new(&s->products[t], (size_t)MINE * THEIRS, sizeof(float)));
    return centre(s);
}

/* ---- neighbours -------------------------------------------------------------------------------
 */

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

static double squared_distance(const float *a, const float *b, int64_t d)
{
    double sum = 0;
    for (int64_t c = 0; c < d; c++) {
        double difference = (double)a[c] - (double)b[c];
        sum += difference * difference;
    }
    return sum;
}

static void measure_again(const search *s, int64_t row, const candidate *kept, int n_kept)
{
    candidate best[MOST_KEPT];
    int n = 0;
    for (int i = 0; i < n_kept; i++) {
        candidate c = {.index = kept[i].index};
        c.distance =
            (float)squared_distance(s->x + row * s->d, s->x + (int64_t)c.index * s->d, s->d);
        insert(best, &n, s->k, c);
    }
    for (int i = 0; i < s->k; i++) {
        s->out->index[row * s->k + i] = best[i].index;
        s->out->distance[row * s->k + i] = sqrtf(best[i].distance);
    }
}

static cf_err search_block(void *context, int worker, int64_t block)
{
    const search *s = context;
    int64_t first = block * MINE, rows = s->n - first < MINE ? s->n - first : MINE;
    float *products = s->products[worker];
    candidate(*kept)[MOST_KEPT] = NULL;
    int n_kept[MINE] = {0};
    cf_err err = CF_OK;
    CF_TRY(cf_new(&kept, MINE, sizeof *kept));
    for (int64_t from = 0; from < s->n && err == CF_OK; from += THEIRS) {
        int64_t m = s->n - from < THEIRS ? s->n - from : THEIRS;
        err = cf_cpu_products(s->centred + first * s->d, rows, s->centred + from * s->d, m, s->d,
                              products);
        for (int64_t i = 0; i < rows && err == CF_OK; i++) {
            const float *row = products + i * m, *squares = s->squares + from;
            float worst = n_kept[i] < s->kept ? INFINITY : kept[i][s->kept - 1].distance;
            for (int64_t j = 0; j < m; j++) {
                float distance = squares[j] - 2 * row[j]; /* its own square is the same for all */
                if (distance > worst || from + j == first + i) continue;
                insert(kept[i], &n_kept[i], s->kept, (candidate){distance, (int32_t)(from + j)});
                if (n_kept[i] == s->kept) worst = kept[i][s->kept - 1].distance;
            }
        }
    }
    for (int64_t i = 0; i < rows && err == CF_OK; i++)
        measure_again(s, first + i, kept[i], n_kept[i]);
    free(kept);
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
    search s = {.x = x, .n = n, .d = d, .k = k, .out = out};
    s.kept = k + SPARE < n - 1 ? k + SPARE : (int)(n - 1);
    cf_err err = CF_OK;
    out->n = n;
    out->k = k;
    CF_TRY_GOTO(cf_new(&out->index, (size_t)(n * k), sizeof *out->index), out);
    CF_TRY_GOTO(cf_new(&out->distance, (size_t)(n * k), sizeof *out->distance), out);
    CF_TRY_GOTO(search_init(&s, crew.threads), out);
    CF_TRY_GOTO(cf_crew_each(&crew, (n + MINE - 1) / MINE, search_block, &s), out);
out:
    search_fini(&s, crew.threads);
    return err;
}

void cf_neighbours_fini(cf_neighbours *nb)
{
    free(nb->index);
    free(nb->distance);
    memset(nb, 0, sizeof *nb);
}

/* ---- trustworthiness --------------------------------------------------------------------------
 */

/* The k nearest of row i in the picture. */
static void nearest_in_picture(const search *s, int64_t i, candidate *best)
{
    int n = 0;
    float u = s->y[2 * i], v = s->y[2 * i + 1];
    for (int64_t j = 0; j < s->n; j++) {
        float du = s->y[2 * j] - u, dv = s->y[2 * j + 1] - v;
        float distance = du * du + dv * dv;
        if (j == i || (n == s->k && distance > best[n - 1].distance)) continue;
        insert(best, &n, s->k, (candidate){distance, (int32_t)j});
    }
}

/* How far beyond k the picture's k nearest of row i rank among `distances` [n] of x. */
static double lost_trust(const search *s, int64_t i, const float *distances)
{
    candidate best[CF_NEIGHBOURS_MAX];
    double loss = 0;
    nearest_in_picture(s, i, best);
    for (int b = 0; b < s->k; b++) {
        float own = distances[best[b].index];
        int64_t rank = 1;
        for (int64_t j = 0; j < s->n; j++) rank += distances[j] < own;
        rank -= distances[i] < own; /* the row itself has no rank */
        if (rank > s->k) loss += (double)(rank - s->k);
    }
    return loss;
}

static cf_err trust_block(void *context, int worker, int64_t block)
{
    const search *s = context;
    int64_t first = block * QUERIES;
    int64_t rows = s->n_queries - first < QUERIES ? s->n_queries - first : QUERIES;
    float *asked = NULL, *distances = NULL, *products = s->products[worker];
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&asked, (size_t)(rows * s->d), sizeof *asked), out);
    CF_TRY_GOTO(cf_new(&distances, (size_t)(rows * s->n), sizeof *distances), out);
    for (int64_t i = 0; i < rows; i++)
        memcpy(asked + i * s->d, s->centred + (first + i) * s->stride * s->d,
               (size_t)s->d * sizeof *asked);
    for (int64_t from = 0; from < s->n; from += THEIRS) {
        int64_t m = s->n - from < THEIRS ? s->n - from : THEIRS;
        CF_TRY_GOTO(cf_cpu_products(asked, rows, s->centred + from * s->d, m, s->d, products), out);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < m; j++)
                distances[i * s->n + from + j] = s->squares[from + j] - 2 * products[i * m + j];
    }
    for (int64_t i = 0; i < rows; i++)
        s->losses[first + i] = lost_trust(s, (first + i) * s->stride, distances + i * s->n);
out:
    free(distances);
    free(asked);
    return err;
}

static int64_t stride_of(int64_t n, int64_t most)
{
    return most > 0 && most < n ? (n + most - 1) / most : 1;
}

int64_t cf_trustworthiness_rows(int64_t n, int64_t most)
{
    int64_t stride = stride_of(n, most);
    return (n + stride - 1) / stride;
}

cf_err cf_trustworthiness(const float *x, int64_t n, int64_t d, const float *y, int k, int64_t most,
                          int threads, double *value)
{
    if (k < 1 || k > CF_NEIGHBOURS_MAX || 2 * (int64_t)k >= n || n > INT32_MAX || d < 1)
        return cf_fail(CF_E_USAGE, "trustworthiness of %d neighbours among %lld rows", k,
                       (long long)n);
    cf_crew crew = {.threads = cf_crew_size(threads)};
    search s = {.x = x, .y = y, .n = n, .d = d, .k = k};
    s.stride = stride_of(n, most);
    s.n_queries = cf_trustworthiness_rows(n, most);
    double sum = 0;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&s.losses, (size_t)s.n_queries, sizeof *s.losses), out);
    CF_TRY_GOTO(search_init(&s, crew.threads), out);
    CF_TRY_GOTO(cf_crew_each(&crew, (s.n_queries + QUERIES - 1) / QUERIES, trust_block, &s), out);
    for (int64_t q = 0; q < s.n_queries; q++) sum += s.losses[q];
    *value = 1 - 2 * sum / ((double)s.n_queries * k * (2.0 * (double)n - 3.0 * k - 1));
out:
    search_fini(&s, crew.threads);
    return err;
}
