/* The table that the completion scripts of bash and zsh (launch/completion/) are made with when the
 * program is built, so that nothing is started while somebody types.
 *
 * Lines of five fields, parted by tabs and never empty ("-"):
 *   verb NAME - - SUMMARY, followed by what belongs to it:
 *   operand PLACE KIND ARGUMENT -      PLACE: 1, 2, ..., or * for those that may come again
 *   option|many --NAME[,-LETTER] KIND ARGUMENT HELP        many: may be given again
 *   key SECTION.NAME KIND - HELP       of the configuration, behind all verbs
 * KIND is what is completed: flag (nothing follows), none (a number, a name), file, folder, run
 * (run folders), yaml, cells, csv, scheme, set (KEY=VALUE), or words:A B. Threads: main only. Read
 * first: cf_completion_of_verb. */
#ifndef CF_LAUNCH_COMPLETION_H
#define CF_LAUNCH_COMPLETION_H

#include "kernels/base/buf.h"
#include "launch/options.h"

/* Appends a verb's lines; a cf_help_writer. An argument's kind is known by its name: CONFIG,
 * X.cells, P.csv, RUN, DIR, FILE, SRC, KEY=VALUE, A|B. */
void cf_completion_of_verb(const cf_verb *verb, const cf_option *options, int n_options,
                           cf_buf *out);
/* Appends the lines of the keys. */
void cf_completion_of_keys(cf_buf *out);

#endif
