/* What the program tells of itself: help, manual pages and the completion of shells are all made
 * from the tables of verbs (cf_verb), options (cf_option) and keys (proto/config_keys.def).
 *
 * A verb's table of options lives while its `run` runs, so the words below are given to the verb:
 * cf_options_parse hands its table to their writer. Threads: main only. Read first: cf_help_run. */
#ifndef CF_LAUNCH_HELP_H
#define CF_LAUNCH_HELP_H

#include "kernels/base/buf.h"
#include "launch/options.h"

/* Appends a text about one verb. */
typedef void (*cf_help_writer)(const cf_verb *verb, const cf_option *options, int n_options,
                               cf_buf *out);

typedef struct cf_exit_code {
    int code;
    const char *meaning; /* "run folder in use" */
} cf_exit_code;

/* The exit codes in rising order. */
const cf_exit_code *cf_exit_codes(int *n);
/* The writer that a word on a verb's command line asks for: --help, --man, --completion; NULL for
 * any other word. */
cf_help_writer cf_help_writer_of(const char *word);
/* `cytofold --help`: verbs and exit codes. */
void cf_help_overview(const cf_verb *const *verbs, int n_verbs, cf_buf *out);
/* Runs --help, --version, --man [VERB|cytofold.yaml] or --completion in argv[0], printing to
 * stdout. *done is false where argv[0] is none of them. CF_E_USAGE names a page that is not there.
 */
CF_CHECKED cf_err cf_help_run(const cf_verb *const *verbs, int n_verbs, int argc, char **argv,
                              bool *done);

#endif
