#include "kernels/cpu/dnnl_products.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/dnnl.h"

/* oneDNN would cut long rows among threads and add the pieces up: other bits for another number. */
cf_err cf_cpu_products(const float *a, int64_t na, const float *b, int64_t nb, int64_t d,
                       float *out)
{
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    dnnl_status_t status = dnnl_sgemm('N', 'T', na, nb, d, 1.0f, a, d, b, d, 0.0f, out, nb);
    omp_set_num_threads(threads);
    if (status == dnnl_success) return CF_OK;
    return cf_fail(CF_E_UNEXPECTED, "oneDNN refuses products of %lld and %lld rows of %lld: %d",
                   (long long)na, (long long)nb, (long long)d, (int)status);
}

struct cf_cpu_tiles {
    cf_dnnl *engine;       /* owned */
    cf_dnnl_op *op, *pack; /* owned */
    void *scratch;         /* owned, enough for both */
};

static cf_err make_ops(cf_cpu_tiles *t, const cf_dnnl_matmul *spec)
{
    CF_TRY(cf_dnnl_create(&t->engine));
    CF_TRY(cf_dnnl_matmul_create(t->engine, spec, &t->op));
    CF_TRY(cf_dnnl_matmul_pack_create(t->engine, spec, t->op, &t->pack));
    size_t bytes = cf_dnnl_bytes(t->op, CF_DNNL_SCRATCH);
    size_t others = cf_dnnl_bytes(t->pack, CF_DNNL_SCRATCH);
    return cf_new_aligned(&t->scratch, (bytes > others ? bytes : others) + 1, 1);
}

cf_err cf_cpu_tiles_create(int64_t rows, int64_t columns, int64_t d, cf_cpu_tiles **out)
{
    cf_cpu_tiles *t = NULL;
    cf_dnnl_matmul spec = {.rows = rows,
                           .cols = columns,
                           .inner = d,
                           .a_stride = d,
                           .dst_stride = columns,
                           .dtype = CF_BF16,
                           .b_packed = true};
    *out = NULL;
    CF_TRY(cf_new(&t, 1, sizeof *t));
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    cf_err err = make_ops(t, &spec);
    omp_set_num_threads(threads);
    if (err == CF_OK)
        *out = t;
    else
        cf_cpu_tiles_destroy(t);
    return err;
}

void cf_cpu_tiles_destroy(cf_cpu_tiles *t)
{
    if (t == NULL) return;
    free(t->scratch);
    cf_dnnl_op_destroy(t->pack);
    cf_dnnl_op_destroy(t->op);
    cf_dnnl_destroy(t->engine);
    free(t);
}

size_t cf_cpu_tiles_bytes(const cf_cpu_tiles *t)
{
    return (cf_dnnl_bytes(t->op, CF_DNNL_WEIGHTS) + 63) / 64 * 64;
}

static cf_err run_alone(const cf_cpu_tiles *t, const cf_dnnl_op *op, void *const memory[])
{
    cf_dnnl_call *call = NULL;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    cf_err err = cf_dnnl_bind(t->engine, op, memory, &call);
    if (err == CF_OK) err = cf_dnnl_run(call);
    cf_dnnl_call_destroy(call);
    omp_set_num_threads(threads);
    return err;
}

/* oneDNN takes its inputs without const. */
static void *input(const void *p)
{
    return (void *)(uintptr_t)p;
}

cf_err cf_cpu_tiles_pack(cf_cpu_tiles *t, const uint16_t *b, void *packed)
{
    void *memory[CF_DNNL_N_ARGS] = {
        [CF_DNNL_SRC] = input(b), [CF_DNNL_DST] = packed, [CF_DNNL_SCRATCH] = t->scratch};
    return run_alone(t, t->pack, memory);
}

cf_err cf_cpu_tiles_run(cf_cpu_tiles *t, const uint16_t *a, const void *packed, float *out)
{
    void *memory[CF_DNNL_N_ARGS] = {[CF_DNNL_SRC] = input(a),
                                    [CF_DNNL_WEIGHTS] = input(packed),
                                    [CF_DNNL_DST] = out,
                                    [CF_DNNL_SCRATCH] = t->scratch};
    return run_alone(t, t->op, memory);
}
