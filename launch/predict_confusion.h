/* What became of each label that the source gave, as a table or a picture: rows the source's own
 * labels, columns the run's classes (Matek et al. 2021, figure 4). Threads: one caller. Read first:
 * cf_predict_confusion_save. */
#ifndef CF_LAUNCH_PREDICT_CONFUSION_H
#define CF_LAUNCH_PREDICT_CONFUSION_H

#include "launch/predict_summary.h"

/* CF_E_USAGE for a file that does not end in .csv, .png or .svg. */
CF_CHECKED cf_err cf_predict_confusion_check(const cf_strings *paths);
/* CF_E_USAGE for a picture among them where there are more than 200 labels, which are its rows. */
CF_CHECKED cf_err cf_predict_confusion_fits(const cf_strings *paths, int64_t n_labels);
/* Writes one file, whole or not at all. CSV: label, class, images, no_confident,
 * share_no_confident, then n_<CODE> and share_<CODE> (of the row's images) for each class; class is
 * empty where the label has none here; images without a label are a row with an empty one. A
 * picture: counts and percent of the row, and the share without a confident class; rows are named
 * "LABEL (CODE)", the code left out where it is the same. */
CF_CHECKED cf_err cf_predict_confusion_save(const cf_predict_summary *m, const char *path);

#endif
