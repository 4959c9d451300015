/* Convolutions of kernels/cuda/conv.h in plain double-precision loops, and data to test them on.
 *
 * Works on fp32 copies in host memory, in the same layouts; views, gradients through a norm and the
 * input's own normalisation are applied as conv.h says. Slow, for small shapes. Threads: any.
 * Read first: conv_reference_run. */
#ifndef CF_TESTS_CUDA_CONV_REFERENCE_H
#define CF_TESTS_CUDA_CONV_REFERENCE_H

#include "kernels/cuda/conv.h"

/* Output sizes of a padding: symmetric pads of `pad` on each side. */
cf_geometry conv_geometry(int n, int h, int w, int c, int k, int kernel, int stride, int pad,
                          int groups, cf_dtype dtype);

/* Random multiples of 1/128 in [-1, 1), times scale (a power of two), plus offset: exact in bf16
 * and fp16 for offset 0. */
void conv_fill(float *p, int64_t n, uint32_t draw, float scale, float offset);
/* Rounds each value as `dtype` stores it. */
void conv_round(cf_dtype dtype, float *p, int64_t n);

/* Elements of a call's tensors. */
int64_t conv_inputs(const cf_geometry *g);
int64_t conv_outputs(const cf_geometry *g);

/* Everything a call may read, host memory, fp32 with values exact in the geometry's dtype. NULL
 * where the call has NULL; view's x and gradient's g come from here, not from `call`. */
typedef struct conv_data {
    float *x, *weights;                          /* [n,h,w,c], [k,kernel,kernel,c/groups] */
    float *scale, *shift;                        /* [c] of the view of x */
    float *g, *y;                                /* [n,p,q,k] */
    float *a, *b, *d;                            /* [k] of the gradient */
    float *in_x, *in_scale, *in_shift, *in_mean; /* input_view: [n,h,w,c], [c] */
    cf_act act, in_act;
    float slope, in_slope;
} conv_data;

/* fused: also scale, shift, y, a, b, d and input_view's. Owned by the caller: conv_data_fini. */
void conv_data_init(conv_data *d, const cf_geometry *g, bool fused, cf_act act);
void conv_data_fini(conv_data *d);

/* What a pass should give. out: FORWARD [n,p,q,k], DATA [n,h,w,c], WEIGHTS [filter], not rounded.
 * first, second [channels]: the sums of `partials`, of values rounded to dtype; NULL: not wanted.
 */
void conv_reference_run(const cf_geometry *g, cf_conv_pass pass, const conv_data *d, double *out,
                        double *first, double *second);

/* Device copies of a conv_data and room for results, filled with NaN. */
typedef struct conv_device {
    cf_conv_call call;
    void *memory[20];
    int n_memory;
    int64_t parts;
} conv_device;

/* Lays out a call for `kernel` (parts and partials by kernel->parts). with_partials: also sums. */
void conv_device_init(conv_device *v, const cf_geometry *g, cf_conv_pass pass, const conv_data *d,
                      int64_t parts, bool with_partials);
/* Results as numbers: out as in conv_reference_run (WEIGHTS: parts added in order), sums joined in
 * order (NULL without partials). */
void conv_device_read(const conv_device *v, double *out, double *first, double *second);
void conv_device_fini(conv_device *v);

/* ||a - b|| / ||b||; NaN where a has one. */
double conv_distance(const double *a, const double *b, int64_t n);

/* Runs `kernel` and the reference on the same data and returns the distance of the results; *sums
 * is the larger distance of the two sums (0 without). 2.0 and a message on stderr when it fails. */
double conv_check(const cf_conv_kernel *kernel, const cf_geometry *g, cf_conv_pass pass, bool fused,
                  cf_act act, double *sums);

#endif
