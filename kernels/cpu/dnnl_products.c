#include "kernels/cpu/dnnl_products.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

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
