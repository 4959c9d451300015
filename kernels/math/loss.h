/* Softmax cross-entropy with merged output nodes and label smoothing, for host and device.
 * loss = -sum_c t_c ln P_c with P_c the sum of the softmax over the nodes of class c, t_c the
 * smoothed target; d loss / d z_o = p_o (1 - t_c(o) / P_c(o)). Read first: cf_loss_row. */
#ifndef CF_KERNELS_MATH_LOSS_H
#define CF_KERNELS_MATH_LOSS_H

#include <math.h>

#include "kernels/math/philox.h"

/* logits, grad: [n_outputs] fp32; class_of: [n_outputs]; scratch: [n_classes] fp32. Returns the
 * row's loss; *correct is 1 when the class of highest probability (the first on a tie) is the
 * label. grad is scaled by `scale` (1 / N). ln P is computed as logsumexp(class) - logsumexp(all):
 * finite for any finite logits. */
CF_HD float cf_loss_row(const float *logits, int n_outputs, const int *class_of, int n_classes,
                        int label, float smoothing, float scale, float *scratch, float *grad,
                        int *correct)
{
    float peak = logits[0];
    for (int o = 1; o < n_outputs; o++) peak = logits[o] > peak ? logits[o] : peak;
    for (int c = 0; c < n_classes; c++) scratch[c] = 0.0f;
    float total = 0.0f;
    for (int o = 0; o < n_outputs; o++) {
        float e = expf(logits[o] - peak);
        scratch[class_of[o]] += e;
        total += e;
    }
    int best = 0;
    for (int c = 1; c < n_classes; c++) best = scratch[c] > scratch[best] ? c : best;
    *correct = best == label;
    const float tiny = 1e-30f; /* keeps the logarithm finite when a class underflows */
    float loss = 0.0f, even = smoothing / (float)n_classes;
    for (int c = 0; c < n_classes; c++) {
        float t = (c == label ? 1.0f - smoothing : 0.0f) + even;
        float share = scratch[c] > tiny ? scratch[c] : tiny;
        if (t > 0.0f) loss -= t * (logf(share) - logf(total));
        scratch[c] = share;
    }
    for (int o = 0; o < n_outputs; o++) {
        int c = class_of[o];
        float t = (c == label ? 1.0f - smoothing : 0.0f) + even;
        float e = expf(logits[o] - peak);
        /* p_o - t_c e_o / sum over the class of e: both terms stay finite */
        float within = scratch[c] > tiny ? e / scratch[c] : 1.0f;
        grad[o] = (e / total - t * within) * scale;
    }
    return loss;
}

#endif
