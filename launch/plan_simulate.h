/* `cytofold plan --simulate`: the whole run simulated on a stated network for several numbers of
 * workers, as a table. Threads: main only. Read first: cf_plan_simulate. */
#ifndef CF_LAUNCH_PLAN_SIMULATE_H
#define CF_LAUNCH_PLAN_SIMULATE_H

#include "coordinator/simulate.h"
#include "launch/options.h"
#include "launch/setup.h"

/* Options of the command line; 0 or NULL: the default. */
typedef struct cf_simulate_options {
    bool wanted;
    const char *measured; /* file */
    const char *method;   /* word of cf_reduction_names */
    int64_t ranks_per_node;
    double inside_us, inside_gbs, between_us, between_gbs, host_gbs;
} cf_simulate_options;

/* What the plan knows of the job; all borrowed. */
typedef struct cf_simulate_job {
    const char *config_path;
    const cf_setup *setup;
    const cf_graph *graph;
    cf_grid_cost cost; /* estimated or given times */
    bool micro_given;  /* --micro-seconds */
    bool card;         /* a GPU is meant */
    int64_t n_images;
    const char *workers; /* "8", "1,2,4,...,1024", NULL: powers of two to 1,024 */
} cf_simulate_job;

/* Appends the table (text) or one JSON object to `out`. CF_E_USAGE for options that do not fit. */
CF_CHECKED cf_err cf_plan_simulate(const cf_simulate_options *o, const cf_simulate_job *job,
                                   bool json, cf_buf *out);

#endif
