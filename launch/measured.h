/* A measured training step, read from the JSON of `cytofold bench --json` or from the report of
 * launch/gpu-check.sh, which holds one as `matek2021`. Threads: main only. Read first:
 * cf_measured. */
#ifndef CF_LAUNCH_MEASURED_H
#define CF_LAUNCH_MEASURED_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/graph/graph.h"
#include "proto/config.h"

typedef struct cf_measured {
    char backend[16], precision[16]; /* "cpu" or "cuda"; "fp32", "bf16", "fp16" */
    char device[256];                /* in words */
    int64_t batch, image_size, parameters;
    double step_seconds;   /* of `batch` images, update included */
    double update_seconds; /* 0: not told apart */
} cf_measured;

/* CF_E_USAGE naming file, line and column where a value is missing or out of range. */
CF_CHECKED cf_err cf_measured_read(const char *path, cf_measured *m);
/* CF_E_USAGE where it is of another network, image size or precision than `config` and its graph:
 * found against expected. Up to 1 % more or fewer parameters pass: other classes. */
CF_CHECKED cf_err cf_measured_check(const cf_measured *m, const char *path, const cf_config *config,
                                    const cf_graph *graph);

#endif
