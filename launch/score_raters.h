/* `score --raters`: second raters beside the network. Threads: one caller. */
#ifndef CF_LAUNCH_SCORE_RATERS_H
#define CF_LAUNCH_SCORE_RATERS_H

#include <stdbool.h>

#include "proto/csv.h"

/* Prints the agreement of the raters in `path` with each other, themselves, the network of p and
 * its labels to standard output, as tables or as JSON; output: a file that gets the JSON, or NULL.
 */
CF_CHECKED cf_err cf_score_raters(const char *path, const cf_scheme *s, const cf_predictions *p,
                                  int n_resamples, const char *output, bool json);

#endif
