/* Arrays of fp32 as NumPy's files (format 1.0), for numpy.load. Threads: any. Read first:
 * cf_npy_save. */
#ifndef CF_LAUNCH_NPY_H
#define CF_LAUNCH_NPY_H

#include <stdint.h>

#include "kernels/base/err.h"

enum { CF_NPY_MAX_DIMS = 4 };

/* values: the product of dims [n_dims] (2 to CF_NPY_MAX_DIMS), the last one fastest. Atomic;
 * CF_E_DISK. Source: NumPy's documentation, numpy.lib.format. */
CF_CHECKED cf_err cf_npy_save(const char *path, const int64_t *dims, int n_dims,
                              const float *values);

#endif
