#include "kernels/cuda/cudnn_graph.h"

#include <stdio.h>
#include <string.h>

cf_err cf_cudnn_check(cudnnStatus_t status, const char *what)
{
    if (status == CUDNN_STATUS_SUCCESS) return CF_OK;
    char text[512] = "";
    cudnnGetLastErrorString(text, sizeof text);
    text[sizeof text - 1] = '\0';
    text[strcspn(text, "\n")] = '\0'; /* what follows is the library's own trace */
    return cf_fail(CF_E_DEVICE, "cuDNN: %s: %s%s%s", what, cudnnGetErrorString(status),
                   text[0] ? ": " : "", text);
}

cf_err cf_cudnn_new(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    char what[64];
    *out = NULL;
    cudnnStatus_t status = cudnnBackendCreateDescriptor(type, out);
    snprintf(what, sizeof what, "cudnnBackendCreateDescriptor of type %d", (int)type);
    return cf_cudnn_check(status, what);
}

void cf_cudnn_free(cudnnBackendDescriptor_t *d)
{
    if (*d) (void)cudnnBackendDestroyDescriptor(*d);
    *d = NULL;
}

cf_err cf_cudnn_set(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                    cudnnBackendAttributeType_t type, int64_t n, const void *values)
{
    char what[64];
    cudnnStatus_t status = cudnnBackendSetAttribute(d, name, type, n, values);
    snprintf(what, sizeof what, "cudnnBackendSetAttribute of attribute %d", (int)name);
    return cf_cudnn_check(status, what);
}

cf_err cf_cudnn_set_descriptor(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                               cudnnBackendDescriptor_t value)
{
    return cf_cudnn_set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

cf_err cf_cudnn_finalize(cudnnBackendDescriptor_t d, const char *what)
{
    return cf_where(cf_cudnn_check(cudnnBackendFinalize(d), "cudnnBackendFinalize"), "%s", what);
}

/* ---- one convolution --------------------------------------------------------------------------
 */

static cudnnDataType_t data_type(cf_dtype dtype)
{
    return dtype == CF_F32    ? CUDNN_DATA_FLOAT
           : dtype == CF_BF16 ? CUDNN_DATA_BFLOAT16
                              : CUDNN_DATA_HALF;
}

/* Dimensions are always given as n, c, h, w; the strides say that channels come last. */
static cf_err make_tensor(int64_t id, cf_dtype dtype, int64_t n, int64_t c, int64_t h, int64_t w,
                          cudnnBackendDescriptor_t *out)
{
    cudnnDataType_t type = data_type(dtype);
    int64_t dims[4] = {n, c, h, w}, strides[4] = {h * w * c, 1, w * c, c}, alignment = 16;
    CF_TRY(cf_cudnn_new(CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
    CF_TRY(cf_cudnn_set(*out, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    CF_TRY(cf_cudnn_set(*out, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims));
    CF_TRY(cf_cudnn_set(*out, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides));
    CF_TRY(cf_cudnn_set(*out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment));
    CF_TRY(cf_cudnn_set(*out, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id));
    return cf_cudnn_finalize(*out, "tensor");
}

/* Padding behind the last row or column. With a stride the last window may end before the input
 * does; cuDNN rounds down as well, so that needs no padding. */
static int64_t pad_behind(int out, int in, int pad_before, const cf_geometry *g)
{
    int64_t pad = (int64_t)(out - 1) * g->stride + g->kernel - in - pad_before;
    return pad > 0 ? pad : 0;
}

static cf_err make_convolution(const cf_geometry *g, cudnnBackendDescriptor_t *out)
{
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t n = 2, pre[2] = {g->pad_top, g->pad_left};
    int64_t post[2] = {pad_behind(g->p, g->h, g->pad_top, g),
                       pad_behind(g->q, g->w, g->pad_left, g)};
    int64_t stride[2] = {g->stride, g->stride}, dilation[2] = {1, 1};
    CF_TRY(cf_cudnn_new(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, out));
    cudnnBackendDescriptor_t d = *out;
    CF_TRY(cf_cudnn_set(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    CF_TRY(
        cf_cudnn_set(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
    CF_TRY(cf_cudnn_set(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &n));
    CF_TRY(cf_cudnn_set(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, n, pre));
    CF_TRY(cf_cudnn_set(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, n, post));
    CF_TRY(cf_cudnn_set(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, n, stride));
    CF_TRY(cf_cudnn_set(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, n, dilation));
    return cf_cudnn_finalize(d, "convolution");
}

/* The attributes' names differ by pass, the rest does not. */
typedef struct operation_names {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
} operation_names;

static const operation_names NAMES[] = {
    [CF_CONV_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [CF_CONV_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [CF_CONV_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static cf_err make_operation(cf_conv_pass pass, cf_cudnn_graph *graph)
{
    const operation_names *names = &NAMES[pass];
    float alpha = 1.0f, beta = 0.0f;
    CF_TRY(cf_cudnn_new(names->type, &graph->operation));
    cudnnBackendDescriptor_t d = graph->operation;
    CF_TRY(cf_cudnn_set_descriptor(d, names->convolution, graph->convolution));
    CF_TRY(cf_cudnn_set_descriptor(d, names->x, graph->x));
    CF_TRY(cf_cudnn_set_descriptor(d, names->w, graph->w));
    CF_TRY(cf_cudnn_set_descriptor(d, names->y, graph->y));
    CF_TRY(cf_cudnn_set(d, names->alpha, CUDNN_TYPE_FLOAT, 1, &alpha));
    CF_TRY(cf_cudnn_set(d, names->beta, CUDNN_TYPE_FLOAT, 1, &beta));
    return cf_cudnn_finalize(d, "operation");
}

cf_err cf_cudnn_graph_init(const cf_cudnn_device *device, const cf_geometry *g, cf_conv_pass pass,
                           cf_dtype filter, cf_cudnn_graph *out)
{
    memset(out, 0, sizeof *out);
    CF_TRY(make_tensor(CF_CUDNN_X, g->dtype, g->n, g->c, g->h, g->w, &out->x));
    CF_TRY(make_tensor(CF_CUDNN_W, filter, g->k, g->c / g->groups, g->kernel, g->kernel, &out->w));
    CF_TRY(make_tensor(CF_CUDNN_Y, g->dtype, g->n, g->k, g->p, g->q, &out->y));
    CF_TRY(make_convolution(g, &out->convolution));
    CF_TRY(make_operation(pass, out));
    CF_TRY(cf_cudnn_new(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &out->graph));
    CF_TRY(cf_cudnn_set_descriptor(out->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, out->operation));
    if (device->handle)
        CF_TRY(cf_cudnn_set(out->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
                            &device->handle));
    return cf_cudnn_finalize(out->graph, "operation graph");
}

void cf_cudnn_graph_fini(cf_cudnn_graph *graph)
{
    cf_cudnn_free(&graph->graph);
    cf_cudnn_free(&graph->operation);
    cf_cudnn_free(&graph->convolution);
    cf_cudnn_free(&graph->y);
    cf_cudnn_free(&graph->w);
    cf_cudnn_free(&graph->x);
}
