/* Agreement of two labellings beyond chance, from their table of counts. Threads: any. Read first:
 * cf_agreement_kappa. */
#ifndef CF_COORDINATOR_AGREEMENT_H
#define CF_COORDINATOR_AGREEMENT_H

#include <stdint.h>

/* counts: [n][n], rows one labelling (the truth), columns the other (the prediction).
 * Cohen's kappa (Cohen 1960): (po - pe) / (1 - pe) with po the share on the diagonal and pe what
 * the margins give by chance. NaN where pe is 1 (both say one class only) or there are no counts.
 */
double cf_agreement_kappa(const int64_t *counts, int n);
/* Matthews' correlation for any number of classes (Gorodkin 2004): (c s - sum_k t_k p_k) /
 * sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2)), c right of s, t and p the margins. 0 where a
 * labelling says one class only, as scikit-learn. */
double cf_agreement_mcc(const int64_t *counts, int n);

#endif
