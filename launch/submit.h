/* The job script of a training, from launch/slurm/ and what the command line says. Threads: any.
 * Read first: cf_submit_job. */
#ifndef CF_LAUNCH_SUBMIT_H
#define CF_LAUNCH_SUBMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "kernels/base/file.h"

/* All texts are borrowed. */
typedef struct cf_submit_job {
    const char *config, *run, *program, *folder; /* absolute; folder: where the job starts */
    const char *stage;                           /* run.stage */
    const char *time, *partition, *account;      /* the last two: NULL for none */
    const cf_strings *sets, *options;            /* KEY=VALUE; sbatch's own: "--mem=64G" */
    int64_t nodes, gpus;                         /* of a node; 0: without GPUs */
    int64_t tasks;        /* of a node; 0: one for each GPU, or as many as fit on a whole node */
    int64_t cpus;         /* of a task */
    int64_t lead_s;       /* before the end of the wall time comes the signal to save */
    int64_t max_restarts; /* of a job */
    int array;            /* tasks of a job array; 0: one job for all */
    bool points;          /* a task is a point of a sweep, else a fold */
} cf_submit_job;

/* Appends the script that trains. CF_E_USAGE for a text that cannot stand in a script (control
 * characters; quotes, backslashes or $ in an #SBATCH line), by name. */
CF_CHECKED cf_err cf_submit_script(const cf_submit_job *job, cf_buf *out);
/* Appends the script that makes the table when all tasks of an array are done. */
CF_CHECKED cf_err cf_submit_report_script(const cf_submit_job *job, cf_buf *out);

/* Wall time as sbatch takes it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S. CF_E_USAGE for all else, for
 * nothing and for more than a year. */
CF_CHECKED cf_err cf_submit_time(const char *text, int64_t *seconds);

#endif
