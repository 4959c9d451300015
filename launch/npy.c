#include "launch/npy.h"

#include <assert.h>

#include "kernels/base/buf.h"
#include "kernels/base/file.h"

enum { ALIGNMENT = 64, BEFORE = 10, AT_LENGTH = 8 };

/* Magic, version, length of what follows, a Python dictionary; together a multiple of ALIGNMENT
 * bytes. All machines that this runs on are little-endian. */
static void put_header(const int64_t *dims, int n_dims, cf_buf *out)
{
    cf_buf_add(out, "\x93NUMPY\x01\x00\x00\x00", BEFORE);
    cf_buf_printf(out, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < n_dims; i++)
        cf_buf_printf(out, "%s%lld", i > 0 ? ", " : "", (long long)dims[i]);
    cf_buf_printf(out, "), }");
    while ((out->len + 1) % ALIGNMENT != 0 && !out->failed) cf_buf_add(out, " ", 1);
    cf_buf_add(out, "\n", 1);
    if (out->failed) return;
    out->data[AT_LENGTH] = (char)((out->len - BEFORE) & 0xff);
    out->data[AT_LENGTH + 1] = (char)((out->len - BEFORE) >> 8);
}

static cf_err save(const char *path, const cf_buf *header, const float *values, size_t n)
{
    cf_file file;
    CF_TRY(cf_file_create(path, &file));
    cf_err err = cf_file_write(&file, header->data, header->len);
    if (err == CF_OK) err = cf_file_write(&file, values, n * sizeof *values);
    if (err == CF_OK) return cf_file_commit(&file);
    cf_file_abandon(&file);
    return err;
}

cf_err cf_npy_save(const char *path, const int64_t *dims, int n_dims, const float *values)
{
    cf_buf header = {0};
    size_t n = 1;
    assert(n_dims >= 2 && n_dims <= CF_NPY_MAX_DIMS);
    for (int i = 0; i < n_dims; i++) n *= (size_t)dims[i];
    put_header(dims, n_dims, &header);
    cf_err err = cf_buf_check(&header);
    if (err == CF_OK) err = save(path, &header, values, n);
    cf_buf_fini(&header);
    return err;
}
