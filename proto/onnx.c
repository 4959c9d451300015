#include "proto/onnx.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "onnx.pb-c.h"

enum { IR_VERSION = 8, ATTRIBUTE_FLOAT = 1, ATTRIBUTE_INT = 2, ATTRIBUTE_INTS = 7 };
#define MOST_BYTES ((size_t)INT32_MAX)

struct cf_onnx {
    Cf__Onnx__Model model;
    Cf__Onnx__Graph graph;
    Cf__Onnx__OperatorSet opset, *opsets[1];
    Cf__Onnx__Node *node; /* the last one; borrowed from graph */
    void **blocks;        /* owned: everything that the messages point to */
    size_t n_blocks, room;
    cf_err err; /* the first failure */
};

/* ---- memory -----------------------------------------------------------------------------------
 */

/* A zeroed block that lives as long as the model; NULL after a failure. */
static void *block(cf_onnx *m, size_t n, size_t bytes)
{
    void *p = NULL;
    if (m->err == CF_OK && m->n_blocks == m->room) {
        size_t room = m->room ? 2 * m->room : 256;
        m->err = cf_resize(&m->blocks, room, sizeof *m->blocks);
        if (m->err == CF_OK) m->room = room;
    }
    if (m->err == CF_OK) m->err = cf_new(&p, n, bytes);
    if (m->err == CF_OK) m->blocks[m->n_blocks++] = p;
    return p;
}

static char *text(cf_onnx *m, const char *from)
{
    size_t n = strlen(from) + 1;
    char *to = block(m, n, 1);
    if (to != NULL) memcpy(to, from, n);
    return to;
}

static int64_t *integers(cf_onnx *m, const int64_t *from, int n)
{
    int64_t *to = block(m, (size_t)n, sizeof *to);
    if (to != NULL) memcpy(to, from, (size_t)n * sizeof *to);
    return to;
}

/* Appends to a list of messages, whose room doubles at powers of two; a list of protobuf-c is an
 * array of pointers whatever they point to. */
static void append(cf_onnx *m, void *list, size_t *n, void *item)
{
    void **items, *larger;
    memcpy(&items, list, sizeof items);
    if (item == NULL) return;
    if ((*n & (*n - 1)) == 0) { /* 0, 1, 2, 4 ... */
        larger = block(m, *n ? 2 * *n : 1, sizeof *items);
        if (larger == NULL) return;
        if (*n > 0) memcpy(larger, items, *n * sizeof *items);
        memcpy(list, &larger, sizeof larger);
        items = larger;
    }
    items[(*n)++] = item;
}

cf_err cf_onnx_create(const char *name, const char *doc, cf_onnx **out)
{
    cf_onnx *m = NULL;
    *out = NULL;
    CF_TRY(cf_new(&m, 1, sizeof *m));
    cf__onnx__model__init(&m->model);
    cf__onnx__graph__init(&m->graph);
    cf__onnx__operator_set__init(&m->opset);
    m->graph.name = text(m, name);
    m->opset.domain = text(m, ""); /* the standard operators */
    m->opset.has_version = 1;
    m->opset.version = CF_ONNX_OPSET;
    m->opsets[0] = &m->opset;
    m->model.has_ir_version = 1;
    m->model.ir_version = IR_VERSION;
    m->model.producer_name = text(m, "cytofold");
    m->model.producer_version = text(m, CYTOFOLD_VERSION);
    m->model.doc_string = text(m, doc);
    m->model.graph = &m->graph;
    m->model.opset_import = m->opsets;
    m->model.n_opset_import = 1;
    if (m->err == CF_OK) {
        *out = m;
        return CF_OK;
    }
    cf_err err = m->err;
    cf_onnx_destroy(m);
    return err;
}

void cf_onnx_destroy(cf_onnx *m)
{
    if (m == NULL) return;
    for (size_t i = 0; i < m->n_blocks; i++) free(m->blocks[i]);
    free(m->blocks);
    free(m);
}

/* ---- values -----------------------------------------------------------------------------------
 */

static Cf__Onnx__Dimension *dimension(cf_onnx *m, int64_t size)
{
    Cf__Onnx__Dimension *d = block(m, 1, sizeof *d);
    if (d == NULL) return NULL;
    cf__onnx__dimension__init(d);
    d->has_dim_value = size != CF_ONNX_ANY;
    if (d->has_dim_value)
        d->dim_value = size;
    else
        d->dim_param = text(m, "N");
    return d;
}

static Cf__Onnx__ValueInfo *value(cf_onnx *m, const char *name, cf_onnx_type type,
                                  const int64_t *dim, int rank)
{
    Cf__Onnx__ValueInfo *v = block(m, 1, sizeof *v);
    Cf__Onnx__Type *t = block(m, 1, sizeof *t);
    Cf__Onnx__TensorType *tensor = block(m, 1, sizeof *tensor);
    Cf__Onnx__Shape *shape = block(m, 1, sizeof *shape);
    if (shape == NULL) return NULL; /* then m has failed, before or here */
    cf__onnx__value_info__init(v);
    cf__onnx__type__init(t);
    cf__onnx__tensor_type__init(tensor);
    cf__onnx__shape__init(shape);
    for (int d = 0; d < rank; d++) append(m, &shape->dim, &shape->n_dim, dimension(m, dim[d]));
    tensor->has_elem_type = 1;
    tensor->elem_type = (int32_t)type;
    tensor->shape = shape;
    t->tensor_type = tensor;
    v->name = text(m, name);
    v->type = t;
    return v;
}

void cf_onnx_input(cf_onnx *m, const char *name, cf_onnx_type type, const int64_t *dim, int rank)
{
    append(m, &m->graph.input, &m->graph.n_input, value(m, name, type, dim, rank));
}

void cf_onnx_output(cf_onnx *m, const char *name, cf_onnx_type type, const int64_t *dim, int rank)
{
    append(m, &m->graph.output, &m->graph.n_output, value(m, name, type, dim, rank));
}

static void constant(cf_onnx *m, const char *name, cf_onnx_type type, const int64_t *dim, int rank,
                     const void *values, size_t n_bytes)
{
    Cf__Onnx__Tensor *t = block(m, 1, sizeof *t);
    if (t == NULL) return;
    cf__onnx__tensor__init(t);
    t->dims = integers(m, dim, rank);
    t->n_dims = t->dims != NULL ? (size_t)rank : 0;
    t->has_data_type = 1;
    t->data_type = (int32_t)type;
    t->name = text(m, name);
    t->has_raw_data = 1;
    t->raw_data = (ProtobufCBinaryData){n_bytes, (uint8_t *)(uintptr_t)values}; /* only read */
    append(m, &m->graph.initializer, &m->graph.n_initializer, t);
}

void cf_onnx_floats(cf_onnx *m, const char *name, const int64_t *dim, int rank, const float *values)
{
    size_t n_bytes = sizeof *values;
    for (int d = 0; d < rank; d++)
        if (m->err == CF_OK && !cf_size_mul(n_bytes, (size_t)dim[d], &n_bytes))
            m->err = cf_fail(CF_E_USAGE, "tensor %s has more bytes than can be counted", name);
    constant(m, name, CF_ONNX_FLOAT, dim, rank, values, n_bytes);
}

void cf_onnx_integers(cf_onnx *m, const char *name, const int64_t *values, int n)
{
    const int64_t dim[1] = {n};
    const int64_t *copy = integers(m, values, n);
    if (copy != NULL) constant(m, name, CF_ONNX_INT64, dim, 1, copy, (size_t)n * sizeof *values);
}

/* ---- nodes ------------------------------------------------------------------------------------
 */

void cf_onnx_node(cf_onnx *m, const char *op, const char *output, const char *const *inputs,
                  int n_inputs)
{
    Cf__Onnx__Node *node = block(m, 1, sizeof *node);
    m->node = node;
    if (node == NULL) return;
    cf__onnx__node__init(node);
    node->op_type = text(m, op);
    node->name = text(m, output);
    append(m, &node->output, &node->n_output, text(m, output));
    for (int i = 0; i < n_inputs; i++) append(m, &node->input, &node->n_input, text(m, inputs[i]));
    append(m, &m->graph.node, &m->graph.n_node, node);
}

/* A new attribute of the last node; NULL after a failure. */
static Cf__Onnx__Attribute *attribute(cf_onnx *m, const char *name, int32_t type)
{
    Cf__Onnx__Attribute *a = m->node != NULL ? block(m, 1, sizeof *a) : NULL;
    if (a == NULL) return NULL;
    cf__onnx__attribute__init(a);
    a->name = text(m, name);
    a->has_type = 1;
    a->type = type;
    append(m, &m->node->attribute, &m->node->n_attribute, a);
    return a;
}

void cf_onnx_set_int(cf_onnx *m, const char *name, int64_t set)
{
    Cf__Onnx__Attribute *a = attribute(m, name, ATTRIBUTE_INT);
    if (a == NULL) return;
    a->has_i = 1;
    a->i = set;
}

void cf_onnx_set_float(cf_onnx *m, const char *name, float set)
{
    Cf__Onnx__Attribute *a = attribute(m, name, ATTRIBUTE_FLOAT);
    if (a == NULL) return;
    a->has_f = 1;
    a->f = set;
}

void cf_onnx_set_ints(cf_onnx *m, const char *name, const int64_t *values, int n)
{
    Cf__Onnx__Attribute *a = attribute(m, name, ATTRIBUTE_INTS);
    if (a == NULL) return;
    a->ints = integers(m, values, n);
    a->n_ints = a->ints != NULL ? (size_t)n : 0;
}

void cf_onnx_property(cf_onnx *m, const char *key, const char *set)
{
    Cf__Onnx__StringEntry *entry = block(m, 1, sizeof *entry);
    if (entry == NULL) return;
    cf__onnx__string_entry__init(entry);
    entry->key = text(m, key);
    entry->value = text(m, set);
    append(m, &m->model.metadata_props, &m->model.n_metadata_props, entry);
}

/* ---- the file ---------------------------------------------------------------------------------
 */

cf_err cf_onnx_write(cf_onnx *m, const char *path)
{
    uint8_t *bytes = NULL;
    if (m->err != CF_OK) return cf_where(m->err, "%s", path);
    size_t n = cf__onnx__model__get_packed_size(&m->model);
    if (n > MOST_BYTES)
        return cf_fail(CF_E_USAGE,
                       "%s would have %zu bytes; protobuf, which ONNX is written in, takes less "
                       "than 2 GiB: export fewer folds (--fold K)",
                       path, n);
    CF_TRY(cf_new(&bytes, n, 1));
    cf__onnx__model__pack(&m->model, bytes);
    cf_err err = cf_file_save(path, bytes, n);
    free(bytes);
    return err;
}
