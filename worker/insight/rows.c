#include "worker/insight/rows.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/dnnl_products.h"
#include "kernels/cpu/simd.h"
#include "worker/insight/axes.h"

enum { SAMPLED = 4096, SAMPLED_FOR_AXES = 2048, BLOCK = 64, WIDE = 8, FEW = 4 };

typedef double wide __attribute__((vector_size(64)));
typedef float narrow __attribute__((vector_size(32)));

typedef struct preparing {
    cf_rows *r;
    const float *x; /* [n][d] */
    double *mean;   /* owned, [d] */
} preparing;

CF_INLINE wide load_wide(const float *p)
{
    narrow x;
    memcpy(&x, p, sizeof x);
    return __builtin_convertvector(x, wide);
}

CF_INLINE double total(wide v)
{
    return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

double cf_rows_distance(const float *a, const float *b, int64_t d)
{
    wide sum = {0};
    int64_t j = 0;
    for (; j + FEW * CF_LANES <= d; j += FEW * CF_LANES) {
        cf_vec few = {0};
        for (int v = 0; v < FEW; v++) {
            cf_vec difference =
                cf_vec_load(a, j + v * CF_LANES, CF_F32) - cf_vec_load(b, j + v * CF_LANES, CF_F32);
            few = cf_vec_fma(difference, difference, few);
        }
        float squares[CF_LANES];
        cf_vec_store(squares, 0, CF_F32, few);
        sum += load_wide(squares) + load_wide(squares + WIDE);
    }
    for (; j + WIDE <= d; j += WIDE) {
        wide difference = load_wide(a + j) - load_wide(b + j);
        sum += difference * difference;
    }
    double rest = 0;
    for (; j < d; j++) rest += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
    return total(sum) + rest;
}

void cf_rows_round(const float *x, int64_t n, uint16_t *out)
{
    int64_t i = 0;
    for (; i + CF_LANES <= n; i += CF_LANES)
        cf_vec_store(out, i, CF_BF16, cf_vec_load(x, i, CF_F32));
    if (i < n)
        cf_vec_store_part(out, i, CF_BF16, (int)(n - i),
                          cf_vec_load_part(x, i, CF_F32, (int)(n - i)));
}

/* Any place near the middle will do: of a sample of the rows. */
static void find_mean(preparing *p)
{
    int64_t n = p->r->n, d = p->r->d, rows = n < SAMPLED ? n : SAMPLED;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < d; j++) p->mean[j] += (double)p->x[i * n / rows * d + j];
    for (int64_t j = 0; j < d; j++) p->mean[j] /= (double)rows;
}

/* What rounding takes from row i, and the length of what is left. */
static void weigh_loss(cf_rows *r, int64_t i)
{
    const float *row = r->x + i * r->d;
    uint16_t piece[CF_LANES];
    double left = 0, lost = 0;
    for (int64_t j = 0; j < r->d; j += CF_LANES) {
        int n = (int)(r->d - j < CF_LANES ? r->d - j : CF_LANES);
        cf_vec_store_part(piece, 0, CF_BF16, n, cf_vec_load_part(row, j, CF_F32, n));
        for (int l = 0; l < n; l++) {
            double value = (double)cf_scalar_load(piece, l, CF_BF16);
            left += value * value;
            lost += ((double)row[j + l] - value) * ((double)row[j + l] - value);
        }
    }
    r->squares[i] = (float)left;
    /* Moving to the middle rounded once, too. */
    r->lost[i] = (float)((sqrt(lost) + (double)FLT_EPSILON * sqrt(left)) * (1 + 1e-6));
}

static cf_err prepare_block(void *context, int worker, int64_t block)
{
    preparing *p = context;
    cf_rows *r = p->r;
    int64_t last = (block + 1) * BLOCK < r->n ? (block + 1) * BLOCK : r->n;
    (void)worker;
    for (int64_t i = block * BLOCK; i < last; i++) {
        float *row = r->x + i * r->d;
        for (int64_t j = 0; j < r->d; j++)
            row[j] = (float)((double)p->x[i * r->d + j] - p->mean[j]);
        if (r->lost != NULL) {
            weigh_loss(r, i);
            continue;
        }
        double sum = 0;
        for (int64_t j = 0; j < r->d; j++) sum += (double)row[j] * (double)row[j];
        r->squares[i] = (float)sum;
    }
    return CF_OK;
}

cf_err cf_rows_init(cf_rows *r, const float *x, int64_t n, int64_t d, cf_rows_kind kind,
                    const cf_crew *crew)
{
    preparing p = {.r = r, .x = x};
    size_t values = 0;
    cf_err err = CF_OK;
    memset(r, 0, sizeof *r);
    r->n = n;
    r->d = d;
    if (!cf_size_mul((size_t)n, (size_t)d, &values))
        return cf_fail(CF_E_USAGE, "%lld rows of %lld features are too many", (long long)n,
                       (long long)d);
    CF_TRY_GOTO(cf_new(&r->x, values, sizeof *r->x), out);
    CF_TRY_GOTO(cf_new(&r->squares, (size_t)n, sizeof *r->squares), out);
    CF_TRY_GOTO(cf_new(&p.mean, (size_t)d, sizeof *p.mean), out);
    if (kind == CF_ROWS_ROUNDED) CF_TRY_GOTO(cf_new(&r->lost, (size_t)n, sizeof *r->lost), out);
    find_mean(&p);
    CF_TRY_GOTO(cf_crew_each(crew, (n + BLOCK - 1) / BLOCK, prepare_block, &p), out);
    for (int64_t i = 0; i < n; i++) {
        r->longest = fmax(r->longest, sqrt((double)r->squares[i]));
        if (r->lost != NULL) r->most_lost = fmax(r->most_lost, (double)r->lost[i]);
    }
out:
    free(p.mean);
    return err;
}

/* ---- narrowed ---------------------------------------------------------------------------------
 */

typedef struct narrowing {
    cf_rows *r;
    const float *x; /* [n][d] */
    int64_t d;
    cf_axes axes;
    float *scratch; /* owned, [threads][BLOCK][d] */
    float *whole;   /* [n] */
} narrowing;

static cf_err narrow_block(void *context, int worker, int64_t block)
{
    narrowing *p = context;
    cf_rows *r = p->r;
    int64_t first = block * BLOCK, n = r->n - first < BLOCK ? r->n - first : BLOCK;
    float *moved = p->scratch + worker * BLOCK * p->d;
    for (int64_t i = 0; i < n; i++) {
        const float *row = p->x + (first + i) * p->d;
        double whole = 0, square = 0;
        for (int64_t j = 0; j < p->d; j++) {
            double away = (double)row[j] - p->axes.mean[j];
            moved[i * p->d + j] = (float)away;
            whole += (double)row[j] * (double)row[j];
            square += away * away;
        }
        p->whole[first + i] = (float)whole;
        r->squares[first + i] = (float)square;
    }
    return cf_cpu_products(moved, n, p->axes.axis, r->d, p->d, r->x + first * r->d);
}

static cf_err find_axes(narrowing *p, int64_t n)
{
    int64_t rows = n < SAMPLED_FOR_AXES ? n : SAMPLED_FOR_AXES;
    float *sample = NULL;
    CF_TRY(cf_new(&sample, (size_t)rows * (size_t)p->d, sizeof *sample));
    for (int64_t i = 0; i < rows; i++)
        memcpy(sample + i * p->d, p->x + i * n / rows * p->d, (size_t)p->d * sizeof *sample);
    cf_err err = cf_axes_find_roughly(sample, rows, p->d, CF_ROWS_AXES, &p->axes);
    free(sample);
    return err;
}

cf_err cf_rows_narrow(cf_rows *r, const float *x, int64_t n, int64_t d, const cf_crew *crew,
                      float *whole)
{
    narrowing p = {.r = r, .x = x, .d = d, .whole = whole};
    size_t block = (size_t)BLOCK * (size_t)d;
    cf_err err = CF_OK;
    memset(r, 0, sizeof *r);
    r->n = n;
    r->d = CF_ROWS_AXES;
    CF_TRY_GOTO(cf_new(&r->x, (size_t)n * CF_ROWS_AXES, sizeof *r->x), out);
    CF_TRY_GOTO(cf_new(&r->squares, (size_t)n, sizeof *r->squares), out);
    CF_TRY_GOTO(cf_new(&p.scratch, (size_t)crew->threads * block, sizeof *p.scratch), out);
    CF_TRY_GOTO(find_axes(&p, n), out);
    CF_TRY_GOTO(cf_crew_each(crew, (n + BLOCK - 1) / BLOCK, narrow_block, &p), out);
out:
    cf_axes_fini(&p.axes);
    free(p.scratch);
    return err;
}

void cf_rows_fini(cf_rows *r)
{
    free(r->x);
    free(r->squares);
    free(r->lost);
    memset(r, 0, sizeof *r);
}
