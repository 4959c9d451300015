/* How far people agree with each other, with themselves, with the network and with the labels: what
 * Matek et al. 2019 put beside their network's errors.
 *
 * A rater's label of an image is that of its first round there; later rounds are compared with it.
 * Intervals are bootstrap ones over images, by patient where the predictions have patients
 * (resample.h). Threads: any. Read first: cf_raters_compare. */
#ifndef CF_COORDINATOR_RATERS_H
#define CF_COORDINATOR_RATERS_H

#include "kernels/base/buf.h"
#include "proto/csv.h"
#include "proto/raters.h"

enum { CF_WHO_NETWORK = -1, CF_WHO_TRUTH = -2 };

/* A figure with its 95 % interval; NaN where it is not defined. */
typedef struct cf_rated_figure {
    double value, low, high;
} cf_rated_figure;

typedef struct cf_rater_pair {
    int rows, columns; /* raters, CF_WHO_NETWORK or CF_WHO_TRUTH; twice the same rater: its first
                          label of an image and each later one */
    int64_t n;         /* pairs of labels: images, but a rater's repeats count each */
    cf_rated_figure agreement; /* share of equal ones */
    cf_rated_figure kappa;     /* Cohen 1960 */
    int64_t *counts;           /* owned, [n_classes][n_classes] */
} cf_rater_pair;

typedef struct cf_rater_study {
    const cf_scheme *scheme;     /* borrowed */
    const cf_raters *raters;     /* borrowed */
    int64_t n_images, n_unknown; /* rated; of them, not in the predictions */
    int64_t n_patients;          /* drawn by patient: how many; 0: by image */
    cf_rater_pair *pairs; /* owned, [n_pairs]: raters with each other, with themselves, with the
                             network, with the truth, network with the truth; those without a common
                             image are left out */
    int n_pairs;
    /* Krippendorff's alpha for nominal data (Krippendorff 2004, 11.3), over images with two raters
     * or more, and Fleiss' kappa (Fleiss 1971), over images that all raters labelled. */
    cf_rated_figure alpha, fleiss;
    int64_t n_alpha, n_fleiss;
    int n_resamples;
} cf_rater_study;

/* p: the network's predictions; an image in several folds is refused, CF_E_DATA, as is a file of
 * raters without any of its images. n_resamples: 0 for none, up to CF_RATERS_MAX_RESAMPLES. All are
 * borrowed as long as the study is used; release with fini in any case. */
enum { CF_RATERS_MAX_RESAMPLES = 1000000 };
CF_CHECKED cf_err cf_raters_compare(const cf_scheme *s, const cf_predictions *p, const cf_raters *r,
                                    int n_resamples, uint64_t seed, cf_rater_study *out);
void cf_rater_study_fini(cf_rater_study *study);

/* Tables: a line a comparison, then the network's confusion with each rater; where more than 40
 * classes were said, a line in its place. */
CF_CHECKED cf_err cf_rater_study_markdown(const cf_rater_study *study, cf_buf *out);
/* {scheme, images, images_without_prediction, patients, resamples, classes, raters, comparisons
 * [{rows, columns, pairs, agreement {value, low, high}, kappa {...}, confusion}],
 * krippendorff_alpha {images, value, low, high}, fleiss_kappa {...}}; rows and columns are {rater:
 * NAME} or {source: "network"} or {source: "labels"}. */
CF_CHECKED cf_err cf_rater_study_json(const cf_rater_study *study, cf_buf *out);

#endif
