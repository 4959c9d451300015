#include "coordinator/agreement.h"

#include <math.h>

/* Sums of integers held in doubles: exact up to 2^53, that is 9e7 images of one class. */
typedef struct margins {
    double total, right;
    double both, rows, columns; /* sums over classes of t_k p_k, t_k^2, p_k^2 */
} margins;

static margins margins_of(const int64_t *counts, int n)
{
    margins m = {0};
    for (int k = 0; k < n; k++) {
        int64_t row = 0, column = 0;
        for (int j = 0; j < n; j++) {
            row += counts[(int64_t)k * n + j];
            column += counts[(int64_t)j * n + k];
        }
        m.total += (double)row;
        m.right += (double)counts[(int64_t)k * n + k];
        m.both += (double)row * (double)column;
        m.rows += (double)row * (double)row;
        m.columns += (double)column * (double)column;
    }
    return m;
}

double cf_agreement_kappa(const int64_t *counts, int n)
{
    margins m = margins_of(counts, n);
    double square = m.total * m.total;
    return square > m.both ? (m.right * m.total - m.both) / (square - m.both) : (double)NAN;
}

double cf_agreement_mcc(const int64_t *counts, int n)
{
    margins m = margins_of(counts, n);
    double square = m.total * m.total, spread = (square - m.columns) * (square - m.rows);
    return spread > 0 ? (m.right * m.total - m.both) / sqrt(spread) : 0;
}
