/* Times the engines of one pass on scratch buffers of its own.
 *
 * A fused engine is timed with all it is to apply and sum, another as it is: what others then have
 * to do for it is the caller's to add. Inside of engines.c. Waits for the stream. Threads: one
 * caller. Read first: cf_engine_trial_time. */
#ifndef CF_KERNELS_CUDA_ENGINES_TIME_H
#define CF_KERNELS_CUDA_ENGINES_TIME_H

#include "kernels/cuda/engines.h"

typedef struct cf_engine_trial {
    cudaStream_t stream;
    cf_cudnn *cudnn; /* NULL: own kernels only */
    const cf_geometry *geometry;
    cf_conv_pass pass;
    cf_engine_context context;
    void *memory;              /* owned, device */
    void *x, *y, *filter;      /* tensors of the shape, in dtype */
    void *x_again, *y_again;   /* the same shapes, for what fused engines read beside them */
    void *factors;             /* fp32 scale, shift, a, b, d, mean: [channels] each */
    void *partials, *gradient; /* of the candidate with most parts */
    void *workspace;
    cudaEvent_t start, stop;
} cf_engine_trial;

/* Room for all of the candidates, filled with numbers between -1 and 1 that are the same each time,
 * none of them zero. geometry: borrowed. Release with cf_engine_trial_close, also after a failure.
 */
CF_CHECKED cf_err cf_engine_trial_open(cf_engine_trial *t, const cf_engine_choice *candidates,
                                       int n);
void cf_engine_trial_close(cf_engine_trial *t);
/* *ns: median of several runs after a warm-up. */
CF_CHECKED cf_err cf_engine_trial_time(const cf_engine_trial *t, const cf_engine_choice *choice,
                                       double *ns);

/* Bytes read and written in a nanosecond by a copy on the device, at least 1e-3. */
CF_CHECKED cf_err cf_engine_copy_rate(cudaStream_t stream, double *bytes_per_ns);

/* The first that costs at most 2 % more than the cheapest: what is as good as equal is decided by
 * the order, not by the clock. n > 0. */
int cf_engine_cheapest(const double *cost, int n);

/* Kernel or plan. */
CF_CHECKED cf_err cf_engine_run(cudaStream_t stream, cf_cudnn *cudnn,
                                const cf_engine_choice *choice, const cf_conv_call *call);

#endif
