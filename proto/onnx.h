/* ONNX models, written only: opset 17, IR version 8.
 *
 * A model is put together call by call, nodes in the order in which they run. What goes wrong on
 * the way (memory) is remembered and said by cf_onnx_write, so that the caller reads like the model
 * itself. Threads: one model, one thread. Read first: cf_onnx_node. */
#ifndef CF_PROTO_ONNX_H
#define CF_PROTO_ONNX_H

#include <stdint.h>

#include "kernels/base/err.h"

typedef struct cf_onnx cf_onnx;

typedef enum cf_onnx_type { CF_ONNX_FLOAT = 1, CF_ONNX_UINT8 = 2, CF_ONNX_INT64 = 7 } cf_onnx_type;

enum { CF_ONNX_OPSET = 17, CF_ONNX_MAX_RANK = 4, CF_ONNX_ANY = -1 /* as a dimension: images */ };

/* name, doc: copied, as all texts below. Owned by the caller. */
CF_CHECKED cf_err cf_onnx_create(const char *name, const char *doc, cf_onnx **out);
void cf_onnx_destroy(cf_onnx *m); /* accepts NULL */

/* Inputs and outputs of the whole model; dim: [rank], CF_ONNX_ANY for the number of images. */
void cf_onnx_input(cf_onnx *m, const char *name, cf_onnx_type type, const int64_t *dim, int rank);
void cf_onnx_output(cf_onnx *m, const char *name, cf_onnx_type type, const int64_t *dim, int rank);
/* Constants. values: row-major, borrowed until the model is destroyed. */
void cf_onnx_floats(cf_onnx *m, const char *name, const int64_t *dim, int rank,
                    const float *values);
/* One dimension; values: [n], copied. */
void cf_onnx_integers(cf_onnx *m, const char *name, const int64_t *values, int n);
/* A node of one output; inputs: [n_inputs]. Attributes follow by the calls below. */
void cf_onnx_node(cf_onnx *m, const char *op, const char *output, const char *const *inputs,
                  int n_inputs);
void cf_onnx_set_int(cf_onnx *m, const char *name, int64_t value);
void cf_onnx_set_float(cf_onnx *m, const char *name, float value);
void cf_onnx_set_ints(cf_onnx *m, const char *name, const int64_t *values, int n);
/* A line of the metadata. */
void cf_onnx_property(cf_onnx *m, const char *key, const char *value);

/* Writes atomically. Errors: CF_E_USAGE where it would be 2 GiB or more, which protobuf does not
 * take; CF_E_UNEXPECTED (memory), CF_E_DISK. */
CF_CHECKED cf_err cf_onnx_write(cf_onnx *m, const char *path);

#endif
