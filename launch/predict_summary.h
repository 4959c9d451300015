/* What predictions of another centre's images say in sum: how many land in no confident class, how
 * many of those with a class are right, what became of each label that the source gave. Threads:
 * one caller. Read first: cf_predict_summary. */
#ifndef CF_LAUNCH_PREDICT_SUMMARY_H
#define CF_LAUNCH_PREDICT_SUMMARY_H

#include "kernels/base/buf.h"
#include "proto/cells.h"
#include "proto/csv.h"

/* Of a set of images. Shares are over `labelled` but for no_confident, which is over all. */
typedef struct cf_predict_tally {
    int64_t n, labelled, no_confident;
    double accuracy, balanced_accuracy; /* mean recall over classes with images */
    /* The same where only classes that some image of all sets has can be predicted. */
    double mapped_accuracy, mapped_balanced_accuracy;
} cf_predict_tally;

/* A label as the source gave it. */
typedef struct cf_predict_given_row {
    char *name;         /* owned; "" for none */
    int label;          /* class, or CF_LABEL_UNKNOWN */
    int64_t n;          /* images */
    int64_t *predicted; /* owned, [n_classes] */
} cf_predict_given_row;

typedef struct cf_predict_summary {
    const cf_scheme *scheme; /* borrowed */
    cf_predict_tally all;
    cf_predict_tally *sites;      /* owned, [n_sites] in order of the cells file */
    const cf_strings *site_names; /* borrowed from the cells file */
    int n_sites;
    int n_mapped;                /* classes that some image has */
    cf_predict_given_row *given; /* owned, [n_given], in byte order of name */
    int n_given;
} cf_predict_summary;

/* Labels that the source gave, "no label" being one of them: rows of `given` in a summary to be. */
CF_CHECKED cf_err cf_predict_count_given(const cf_cells *cells, int64_t *n_labels);
/* cells and p: image by image the same, and borrowed as long as the summary is used. Release with
 * fini in any case. */
CF_CHECKED cf_err cf_predict_summarise(const cf_cells *cells, const cf_scheme *s,
                                       const cf_predictions *p, cf_predict_summary *out);
void cf_predict_summary_fini(cf_predict_summary *m);
/* A few lines, the table of given labels (where they are at most 25) and that of sites (where there
 * are several). */
CF_CHECKED cf_err cf_predict_summary_text(const cf_predict_summary *m, cf_buf *out);
/* Members of an object that is open: images, labelled, no_confident {classes, share}, accuracy,
 * balanced_accuracy, mapped {classes, accuracy, balanced_accuracy}, given [{label, class, images,
 * predicted {CODE: count}}], sites [{site, images, ...}]. */
void cf_predict_summary_json(const cf_predict_summary *m, cf_json *j);

#endif
