/* The job scripts of launch/slurm/ inside the program, and how one is filled in. Threads: any.
 * Read first: cf_submit_fill. */
#ifndef CF_LAUNCH_SUBMIT_TEMPLATE_H
#define CF_LAUNCH_SUBMIT_TEMPLATE_H

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

/* A script as it stands in launch/slurm/NAME.sbatch. */
typedef struct cf_submit_template {
    const char *name; /* "one-node"; NULL ends the table */
    const char *text;
} cf_submit_template;
extern const cf_submit_template cf_submit_templates[];

/* What a line of the script becomes. */
typedef struct cf_submit_value {
    const char *name;  /* "--time" for `#SBATCH --time=`, "run" for the assignment `run=` */
    const char *value; /* as it is to stand there, quoted where needed; NULL: the line goes */
} cf_submit_value;

/* Appends the script to `out`: lines named in `values` filled in, the introduction for people who
 * do that by hand replaced by `title` (a comment's text), marks (<-) taken out, and `options`
 * (lines to follow "#SBATCH ", each ended by a newline) put where the script has its examples for a
 * site. CF_E_UNEXPECTED when the script has no such name, or no line for a value. */
CF_CHECKED cf_err cf_submit_fill(const char *name, const char *title, const cf_submit_value *values,
                                 int n_values, const char *options, cf_buf *out);

#endif
