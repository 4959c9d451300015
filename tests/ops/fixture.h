/* A small graph on a backend beside the reference: random weights, images and labels from one seed.
 *
 * The backend is the one that CYTOFOLD_TEST_DEVICE names, "cpu" without. Its memory may be a
 * device's: what the fixture holds is the host's, and copied. Read first: fixture_init. */
#ifndef CF_TESTS_OPS_FIXTURE_H
#define CF_TESTS_OPS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/backend.h"
#include "reference.h"

enum { FIXTURE_SEED = 20260 };

/* Fails the test with the library's message. */
#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != CF_OK) fail_msg("%s: %s", #expr, cf_err_text());                             \
    } while (0)

typedef struct fixture {
    cf_graph *g; /* owned */
    const cf_backend_ops *ops;
    cf_backend *backend;
    cf_memory_plan plan;
    cf_program *program;
    cf_dtype dtype;
    float *weights, *state, *images;
    int *labels;
    void *sums; /* [cf_sums_count + 1] int64 */
    /* The backend's memory. */
    void *b_weights, *b_state, *b_sums;
    reference expected;
} fixture;

/* The backend under test. */
const cf_backend_ops *fixture_ops(void);
/* Types to test, in this order: fp32, bf16, and fp16 where the backend scales its loss. Returns how
 * many. */
int fixture_dtypes(cf_dtype dtypes[3]);
/* An array in the backend's memory: a copy of `host`, or zeros for NULL. Freed by ops->free. */
void *fixture_upload(const cf_backend_ops *ops, cf_backend *b, const void *host, size_t bytes);

/* Takes the graph. All values are multiples of 2^-7 or so, exact in bf16. Prints the seed. fp16
 * programs get a scale of the loss of 1024. */
void fixture_init(fixture *f, cf_graph *g, cf_dtype dtype, cf_mode mode, int n_threads);
void fixture_fini(fixture *f);
/* Makes weights and state current in `p`. */
void fixture_set_weights(fixture *f, cf_program *p);
/* One micro-batch of `p`, added to sums in host memory [cf_sums_count + 1] of `bytes` bytes each.
 * The error is train's, or what fault says after it. */
cf_err fixture_add(fixture *f, cf_program *p, const cf_batch *batch, void *sums, size_t bytes);
/* Bytes of f->sums. */
size_t fixture_sums_bytes(const fixture *f);
/* One micro-batch on the backend into cleared sums, and on the reference. */
void fixture_train(fixture *f);
/* A sum as a number. */
double fixture_sum(const fixture *f, int64_t i);
/* Compares every gradient, the moments, loss and correct. tolerance: of the L2 norm of a tensor's
 * difference, in shares of the tensor's norm, and a hundredth of it in shares of the norm of all
 * gradients (a tensor whose gradient is zero but for rounding has nothing to be relative to). */
void fixture_compare(const fixture *f, double tolerance);

/* Conveniences for building graphs; each fails the test on an error. */
cf_graph *graph_new(int64_t n, int64_t h, int64_t w, int64_t c);
int graph_conv(cf_graph *g, const char *name, int in, int residual, cf_conv conv);
/* Mean over pixels, dense layer with bias, loss with merged nodes if n_outputs > n_classes. */
void graph_head(cf_graph *g, int in, int n_outputs, int n_classes, float smoothing);

#endif
