/* One question to Slurm: is this job still there? Threads: any. */
#ifndef CF_COORDINATOR_SLURM_JOB_H
#define CF_COORDINATOR_SLURM_JOB_H

typedef enum cf_slurm_job {
    CF_SLURM_JOB_UNKNOWN, /* no squeue, no answer in 10 s, or one that was not understood */
    CF_SLURM_JOB_THERE,   /* waiting or running */
    CF_SLURM_JOB_ENDING,  /* its last processes are awaited */
    CF_SLURM_JOB_GONE
} cf_slurm_job;

/* Runs `squeue -h -j ID -o %T` and waits for it, at most 10 s. */
cf_slurm_job cf_slurm_job_find(const char *id);

#endif
