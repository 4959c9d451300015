/* The digest of a flat buffer (kernels/math/digest.h) at the speed of memory. Threads: one caller.
 */
#ifndef CF_KERNELS_CPU_DIGEST_H
#define CF_KERNELS_CPU_DIGEST_H

#include <stdint.h>

/* Sum over values [n], whose first element has index `first`. The same on any number of threads. */
uint64_t cf_digest_run(const float *values, int64_t n, uint64_t first);

#endif
