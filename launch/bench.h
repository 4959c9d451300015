/* A training step on random images, for `cytofold bench`: forward, loss, backward, optimizer and
 * packing the new weights; on a device that augments by itself, augmentation too.
 *
 * Reads no data and writes nothing but a file of engine choices when one is named. Threads: one
 * caller. Read first: cf_bench_step. */
#ifndef CF_LAUNCH_BENCH_H
#define CF_LAUNCH_BENCH_H

#include "kernels/backend.h"
#include "kernels/base/file.h"
#include "proto/config.h"

typedef struct cf_bench_options {
    const char *config; /* file; NULL: standard ResNeXt-50, 250x250, 22 outputs */
    const char *precision, *device;
    const char *engines; /* file of engine choices, read and added to; NULL: none */
    cf_strings overrides;
    int64_t batch, threads, repeats, steps;
    bool phases; /* time kinds of work, where that costs time */
    bool json;
} cf_bench_options;

/* One network on one backend. Pointers without "host" are backend memory. All owned. */
typedef struct cf_bench {
    cf_config config;
    const cf_backend_ops *ops;
    cf_backend *backend;
    cf_graph *g;
    cf_memory_plan plan;
    cf_dtype dtype;
    cf_reduce reduce;
    cf_program *program;
    float *weights, *state, *moment1, *moment2, *momentum; /* [n_weights] or [n_state] */
    uint8_t *decay;                                        /* [n_weights] */
    void *sums;                                            /* [cf_sums_count + 1] */
    float *host_weights, *host_state;
    float *host_images;      /* [batch,H,W,3], for backends that do not augment */
    uint8_t *host_pixels;    /* [n_pixels,H,W,3], for those that do */
    cf_raw_image *raw;       /* [batch] */
    int *host_labels;        /* [batch] */
    int64_t n_pixels;        /* stored images */
    bool held;               /* they are on the device */
    bool waits;              /* after every step: needed to tell the update's time */
    int64_t step, update_ns; /* update_ns is 0 where it is not waited for */
} cf_bench;

/* Errors: CF_E_DEVICE, CF_E_USAGE. Close it in any case. */
CF_CHECKED cf_err cf_bench_open(const cf_bench_options *o, cf_bench *b);
void cf_bench_close(cf_bench *b);
/* Issues one step. */
CF_CHECKED cf_err cf_bench_step(cf_bench *b);
/* Waits for all steps; CF_E_NUMERIC when one of them met a value that is not finite. */
CF_CHECKED cf_err cf_bench_finish(cf_bench *b);

#endif
