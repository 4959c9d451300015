#include "kernels/cpu/digest.h"

#include <string.h>

#include "kernels/math/digest.h"

uint64_t cf_digest_run(const float *values, int64_t n, uint64_t first)
{
    uint64_t sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        sum += cf_digest_element(bits, first + (uint64_t)i);
    }
    return sum;
}
