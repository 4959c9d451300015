#include "kernels/cpu/dense.h"

#include <stddef.h>

#include "kernels/cpu/simd.h"
#include "kernels/math/loss.h"

static int lanes_at(int64_t i, int64_t n)
{
    return n - i < CF_LANES ? (int)(n - i) : CF_LANES;
}

CF_INLINE float dot(const cf_dense *d, int64_t n, int64_t k, cf_dtype dtype)
{
    cf_vec sum = {0};
    for (int64_t i = 0; i < d->f; i += CF_LANES) {
        int lanes = lanes_at(i, d->f);
        sum += cf_vec_load_part(d->x, n * d->f + i, dtype, lanes) *
               cf_vec_load_part(d->weight, k * d->f + i, CF_F32, lanes);
    }
    return cf_vec_total(sum);
}

void cf_dense_forward(const cf_dense *d)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < d->n * d->k; i++) {
        int64_t n = i / d->k, k = i % d->k;
        float z = d->dtype == CF_BF16 ? dot(d, n, k, CF_BF16) : dot(d, n, k, CF_F32);
        d->logits[i] = z + (d->bias != NULL ? d->bias[k] : 0.0f);
    }
}

CF_INLINE void weight_gradient(const cf_dense *d, int64_t k, cf_dtype dtype)
{
    for (int64_t i = 0; i < d->f; i += CF_LANES) {
        int lanes = lanes_at(i, d->f);
        cf_vec sum = {0};
        for (int64_t n = 0; n < d->n; n++)
            sum += cf_vec_load_part(d->x, n * d->f + i, dtype, lanes) * d->glogits[n * d->k + k];
        cf_vec_store_part(d->gweight, k * d->f + i, CF_F32, lanes, sum);
    }
}

CF_INLINE void input_gradient(const cf_dense *d, int64_t n, cf_dtype dtype)
{
    for (int64_t i = 0; i < d->f; i += CF_LANES) {
        int lanes = lanes_at(i, d->f);
        cf_vec sum = {0};
        for (int64_t k = 0; k < d->k; k++)
            sum +=
                cf_vec_load_part(d->weight, k * d->f + i, CF_F32, lanes) * d->glogits[n * d->k + k];
        cf_vec_store_part(d->gx, n * d->f + i, dtype, lanes, sum);
    }
}

void cf_dense_backward(const cf_dense *d)
{
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < d->k; k++) {
        if (d->dtype == CF_BF16) {
            weight_gradient(d, k, CF_BF16);
        } else {
            weight_gradient(d, k, CF_F32);
        }
        if (d->gbias == NULL) continue;
        float sum = 0.0f;
        for (int64_t n = 0; n < d->n; n++) sum += d->glogits[n * d->k + k];
        d->gbias[k] = sum;
    }
    if (d->gx == NULL) return;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < d->n; n++) {
        if (d->dtype == CF_BF16) {
            input_gradient(d, n, CF_BF16);
        } else {
            input_gradient(d, n, CF_F32);
        }
    }
}

void cf_dense_loss(const cf_graph *g, int64_t n, const float *logits, const int *labels,
                   float *scratch, float *glogits, double *loss, double *correct)
{
    *loss = *correct = 0.0;
    for (int64_t i = 0; i < n; i++) {
        int right = 0;
        int64_t at = i * g->n_outputs;
        *loss +=
            (double)cf_loss_row(logits + at, g->n_outputs, g->class_of, g->n_classes, labels[i],
                                g->label_smoothing, 1.0f / (float)n, scratch, glogits + at, &right);
        *correct += right;
    }
    *loss /= (double)n;
    *correct /= (double)n;
}
