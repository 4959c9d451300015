/* Weights of other programs become a run: checkpoints, scheme and configuration of a folder that
 * prediction opens. Threads: one caller. Read first: cf_import. */
#ifndef CF_WORKER_IMPORT_H
#define CF_WORKER_IMPORT_H

#include "proto/config.h"
#include "proto/scheme.h"

typedef struct cf_import_job {
    const char *const *files; /* [n_files] safetensors: file k gives the network of fold k */
    int n_files;
    const cf_config *config; /* train.ema 0: what is tested is what was imported */
    const cf_scheme *scheme;
    const char *dir;    /* made; must not hold anything but what an import left unfinished */
    const char *images; /* "160 x 160 px, 0.0863 um/px", as model_facts.h; "" where not known */
} cf_import_job;

/* All files are read, with their values, before anything is written, and run.yaml is written last:
 * a folder that has it is complete, and an import that was killed is repeated by the same command,
 * which removes its temporaries. Errors: CF_E_USAGE
 * where the folder is a run already or holds something else, CF_E_CHECKPOINT for tensors that are
 * missing or do not fit (weight_file.h), CF_E_DATA, CF_E_DISK. */
CF_CHECKED cf_err cf_import(const cf_import_job *job);

#endif
