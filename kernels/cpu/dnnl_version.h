/* What differs between oneDNN 2.6 and 3.x, for dnnl.c alone: 3.x made memory descriptors opaque and
 * dropped the operation descriptors. The only #if on the version. Read first: recipe. */
#ifndef CF_KERNELS_CPU_DNNL_VERSION_H
#define CF_KERNELS_CPU_DNNL_VERSION_H

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_version.h>
#include <stdbool.h>
#include <stddef.h>

typedef dnnl_memory_desc_t layout;

/* What a primitive is made of, in one struct for both interfaces. */
typedef struct recipe {
    dnnl_dims_t stride, dilation, pad_low, pad_high;
    layout src, weights, bias, dst;
    bool has_bias;
} recipe;

#if DNNL_VERSION_MAJOR >= 3
#define LAYOUT(md) (md)
#define BIAS(r)    ((r)->has_bias ? (r)->bias : NULL)
static inline dnnl_status_t layout_any(layout *md, int rank, const dnnl_dims_t dim,
                                       dnnl_data_type_t type)
{
    return dnnl_memory_desc_create_with_tag(md, rank, dim, type, dnnl_format_tag_any);
}
static inline dnnl_status_t layout_strided(layout *md, int rank, const dnnl_dims_t dim,
                                           dnnl_data_type_t type, const dnnl_dims_t stride)
{
    return dnnl_memory_desc_create_with_strides(md, rank, dim, type, stride);
}
static inline void layout_fini(layout *md)
{
    if (*md != NULL) (void)dnnl_memory_desc_destroy(*md);
    *md = NULL;
}
static inline dnnl_status_t layout_query(layout *md, const_dnnl_primitive_desc_t pd,
                                         dnnl_query_t what)
{
    return dnnl_memory_desc_clone(md, dnnl_primitive_desc_query_md(pd, what, 0));
}
static inline dnnl_status_t append_activation(dnnl_post_ops_t ops, float slope)
{
    return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, slope, 0.0f);
}
static inline dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_f32);
}
static inline dnnl_status_t conv_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                         const recipe *r, dnnl_primitive_attr_t attr)
{
    return dnnl_convolution_forward_primitive_desc_create(
        pd, engine, dnnl_forward_training, dnnl_convolution_direct, r->src, r->weights, BIAS(r),
        r->dst, r->stride, r->dilation, r->pad_low, r->pad_high, attr);
}
static inline dnnl_status_t conv_backward_data(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                               const recipe *r, dnnl_primitive_attr_t attr,
                                               dnnl_primitive_desc_t hint)
{
    return dnnl_convolution_backward_data_primitive_desc_create(
        pd, engine, dnnl_convolution_direct, r->src, r->weights, r->dst, r->stride, r->dilation,
        r->pad_low, r->pad_high, hint, attr);
}
static inline dnnl_status_t conv_backward_weights(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                                  const recipe *r, dnnl_primitive_attr_t attr,
                                                  dnnl_primitive_desc_t hint)
{
    return dnnl_convolution_backward_weights_primitive_desc_create(
        pd, engine, dnnl_convolution_direct, r->src, r->weights, NULL, r->dst, r->stride,
        r->dilation, r->pad_low, r->pad_high, hint, attr);
}
static inline dnnl_status_t matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const recipe *r,
                                   dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, engine, r->src, r->weights, NULL, r->dst, attr);
}
#else
#define LAYOUT(md) (&(md))
#define BIAS(r)    ((r)->has_bias ? &(r)->bias : NULL)
static inline dnnl_status_t layout_any(layout *md, int rank, const dnnl_dims_t dim,
                                       dnnl_data_type_t type)
{
    return dnnl_memory_desc_init_by_tag(md, rank, dim, type, dnnl_format_tag_any);
}
static inline dnnl_status_t layout_strided(layout *md, int rank, const dnnl_dims_t dim,
                                           dnnl_data_type_t type, const dnnl_dims_t stride)
{
    return dnnl_memory_desc_init_by_strides(md, rank, dim, type, stride);
}
static inline void layout_fini(layout *md)
{
    (void)md;
}
static inline dnnl_status_t layout_query(layout *md, const_dnnl_primitive_desc_t pd,
                                         dnnl_query_t what)
{
    const dnnl_memory_desc_t *found = dnnl_primitive_desc_query_md(pd, what, 0);
    if (found == NULL) return dnnl_invalid_arguments;
    *md = *found;
    return dnnl_success;
}
static inline dnnl_status_t append_activation(dnnl_post_ops_t ops, float slope)
{
    return dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, slope, 0.0f);
}
static inline dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f);
}
static inline dnnl_status_t conv_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                         const recipe *r, dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_training, dnnl_convolution_direct, &r->src, &r->weights, BIAS(r),
        &r->dst, r->stride, r->dilation, r->pad_low, r->pad_high);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
}
static inline dnnl_status_t conv_backward_data(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                               const recipe *r, dnnl_primitive_attr_t attr,
                                               dnnl_primitive_desc_t hint)
{
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_backward_data_desc_init(
        &desc, dnnl_convolution_direct, &r->src, &r->weights, &r->dst, r->stride, r->dilation,
        r->pad_low, r->pad_high);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(pd, &desc, attr, engine, hint);
}
static inline dnnl_status_t conv_backward_weights(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                                  const recipe *r, dnnl_primitive_attr_t attr,
                                                  dnnl_primitive_desc_t hint)
{
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_backward_weights_desc_init(
        &desc, dnnl_convolution_direct, &r->src, &r->weights, NULL, &r->dst, r->stride, r->dilation,
        r->pad_low, r->pad_high);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(pd, &desc, attr, engine, hint);
}
static inline dnnl_status_t matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const recipe *r,
                                   dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t desc;
    dnnl_status_t status = dnnl_matmul_desc_init(&desc, &r->src, &r->weights, NULL, &r->dst);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
}
#endif

#endif
