/* ROC and precision-recall curves as points, of a class (one against the rest) or of a question of
 * the scheme. Rows of one score are one threshold, as in scikit-learn; points that a straight line
 * passes through anyway are left out. Threads: any. Read first: cf_curve, cf_curve_of_class. */
#ifndef CF_COORDINATOR_CURVES_H
#define CF_COORDINATOR_CURVES_H

#include "coordinator/auc.h"
#include "proto/csv.h"

typedef enum cf_curve_kind { CF_CURVE_ROC, CF_CURVE_PRECISION_RECALL } cf_curve_kind;

typedef struct cf_curve_point {
    double x, y;      /* ROC: false and true positive rate; precision-recall: recall, precision */
    double threshold; /* rows that score this or more are called positive; first point: +infinity */
} cf_curve_point;

typedef struct cf_curve {
    cf_curve_point *points; /* owned, [n], by falling threshold. ROC: from (0,0) to (1,1), points
                               of roc_curve(drop_intermediate=True). Precision-recall: from (0,1) to
                               recall 1, points of precision_recall_curve(drop_intermediate=True) */
    int64_t n;              /* 0: not defined (ROC: one side is empty; else: no positive row) */
    cf_areas areas;
} cf_curve;

/* scores, positive: [n], scores finite. */
CF_CHECKED cf_err cf_curve_make(cf_curve_kind kind, const double *scores, const bool *positive,
                                int64_t n, cf_curve *curve);
/* Over all rows of p: the score is the probability of class k. */
CF_CHECKED cf_err cf_curve_of_class(cf_curve_kind kind, const cf_predictions *p, int k,
                                    cf_curve *curve);
/* Over all rows of p: the score is the sum of the question's positive classes. */
CF_CHECKED cf_err cf_curve_of_question(cf_curve_kind kind, const cf_predictions *p,
                                       const cf_question *q, cf_curve *curve);
void cf_curve_fini(cf_curve *curve);

/* Score, row and truth of rows[0..n-1] of p (NULL: the first n) for class k, or, where q is not
 * NULL, for a question. */
void cf_curve_scores(const cf_predictions *p, const int64_t *rows, int64_t n, int k,
                     const cf_question *q, cf_scored *out);

#endif
