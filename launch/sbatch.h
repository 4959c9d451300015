/* Handing a script to Slurm's sbatch. Threads: main only. */
#ifndef CF_LAUNCH_SBATCH_H
#define CF_LAUNCH_SBATCH_H

#include <stdbool.h>

#include "kernels/base/err.h"

typedef struct cf_sbatch_answer {
    char text[512]; /* what sbatch printed, with its newline */
    char job[32];   /* the job's number */
} cf_sbatch_answer;

/* Whether there is an sbatch on the PATH. */
bool cf_sbatch_is_there(void);
/* Runs `sbatch [option] script` and waits for it; its messages go to stderr. option: NULL for none.
 * CF_E_USAGE when sbatch refuses the script, CF_E_UNEXPECTED when it cannot be run. */
CF_CHECKED cf_err cf_sbatch(const char *script, const char *option, cf_sbatch_answer *answer);

#endif
