/* The manual pages, as mdoc(7) source: one for each verb, one for the program, one for the
 * configuration. Threads: main only. Read first: cf_manual_of_verb. */
#ifndef CF_LAUNCH_MANUAL_H
#define CF_LAUNCH_MANUAL_H

#include "kernels/base/buf.h"
#include "launch/options.h"

/* cytofold-VERB(1); a cf_help_writer. */
void cf_manual_of_verb(const cf_verb *verb, const cf_option *options, int n_options, cf_buf *out);
/* cytofold(1): verbs, environment, exit codes. */
void cf_manual_of_program(const cf_verb *const *verbs, int n_verbs, cf_buf *out);
/* cytofold.yaml(5): every key. */
void cf_manual_of_configuration(cf_buf *out);

#endif
