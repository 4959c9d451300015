#include "worker/insight/trust.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/dnnl_products.h"
#include "worker/data/crew.h"
#include "worker/insight/rows.h"

enum { QUERIES = 32, THEIRS = 512 };

typedef struct judging {
    const float *y; /* [n][2] */
    int k;
    cf_rows rows;
    int64_t stride, n_queries; /* of rows 0, stride, 2 stride, ... */
    double *losses;            /* owned, [n_queries] */
} judging;

/* The k nearest of row i in the picture, in no order; the lower index where two are as near. */
static void nearest_in_picture(const judging *t, int64_t i, int32_t *best)
{
    float distances[CF_NEIGHBOURS_MAX], u = t->y[2 * i], v = t->y[2 * i + 1];
    int n = 0;
    for (int64_t j = 0; j < t->rows.n; j++) {
        float du = t->y[2 * j] - u, dv = t->y[2 * j + 1] - v;
        float distance = du * du + dv * dv;
        if (j == i || (n == t->k && distance >= distances[n - 1])) continue;
        int at = n < t->k ? n++ : n - 1;
        for (; at > 0 && distance < distances[at - 1]; at--) {
            distances[at] = distances[at - 1];
            best[at] = best[at - 1];
        }
        distances[at] = distance;
        best[at] = (int32_t)j;
    }
}

/* How far beyond k the picture's k nearest of row i rank among `distances` [n] of x. */
static double lost_trust(const judging *t, int64_t i, const float *distances)
{
    int32_t best[CF_NEIGHBOURS_MAX];
    double loss = 0;
    nearest_in_picture(t, i, best);
    for (int b = 0; b < t->k; b++) {
        float own = distances[best[b]];
        int64_t rank = 1;
        for (int64_t j = 0; j < t->rows.n; j++) rank += distances[j] < own;
        rank -= distances[i] < own; /* the row itself has no rank */
        if (rank > t->k) loss += (double)(rank - t->k);
    }
    return loss;
}

static cf_err judge_block(void *context, int worker, int64_t block)
{
    const judging *t = context;
    const cf_rows *r = &t->rows;
    int64_t first = block * QUERIES;
    int64_t rows = t->n_queries - first < QUERIES ? t->n_queries - first : QUERIES;
    float *asked = NULL, *distances = NULL, *products = NULL;
    cf_err err = CF_OK;
    (void)worker;
    CF_TRY_GOTO(cf_new(&asked, (size_t)(rows * r->d), sizeof *asked), out);
    CF_TRY_GOTO(cf_new(&distances, (size_t)(rows * r->n), sizeof *distances), out);
    CF_TRY_GOTO(cf_new(&products, (size_t)QUERIES * THEIRS, sizeof *products), out);
    for (int64_t i = 0; i < rows; i++)
        memcpy(asked + i * r->d, r->x + (first + i) * t->stride * r->d,
               (size_t)r->d * sizeof *asked);
    for (int64_t from = 0; from < r->n; from += THEIRS) {
        int64_t m = r->n - from < THEIRS ? r->n - from : THEIRS;
        CF_TRY_GOTO(cf_cpu_products(asked, rows, r->x + from * r->d, m, r->d, products), out);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < m; j++)
                distances[i * r->n + from + j] = r->squares[from + j] - 2 * products[i * m + j];
    }
    for (int64_t i = 0; i < rows; i++)
        t->losses[first + i] = lost_trust(t, (first + i) * t->stride, distances + i * r->n);
out:
    free(products);
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
                          const cf_crew *asked, double *value)
{
    if (k < 1 || k > CF_NEIGHBOURS_MAX || 2 * (int64_t)k >= n || n > INT32_MAX || d < 1)
        return cf_fail(CF_E_USAGE, "trustworthiness of %d neighbours among %lld rows", k,
                       (long long)n);
    cf_crew crew = *asked;
    crew.threads = cf_crew_size(asked->threads);
    judging t = {.y = y, .k = k};
    t.stride = stride_of(n, most);
    t.n_queries = cf_trustworthiness_rows(n, most);
    double sum = 0;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&t.losses, (size_t)t.n_queries, sizeof *t.losses), out);
    CF_TRY_GOTO(cf_rows_init(&t.rows, x, n, d, CF_ROWS_FLOAT, &crew), out);
    CF_TRY_GOTO(cf_crew_each(&crew, (t.n_queries + QUERIES - 1) / QUERIES, judge_block, &t), out);
    for (int64_t q = 0; q < t.n_queries; q++) sum += t.losses[q];
    *value = 1 - 2 * sum / ((double)t.n_queries * k * (2.0 * (double)n - 3.0 * k - 1));
out:
    cf_rows_fini(&t.rows);
    free(t.losses);
    return err;
}
