#include "kernels/cpu/dnnl.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/dnnl_version.h"

struct cf_dnnl {
    dnnl_engine_t engine;
};

struct cf_dnnl_op {
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    layout layouts[CF_DNNL_N_ARGS];
    int names[CF_DNNL_N_ARGS]; /* oneDNN's DNNL_ARG_*; 0: no such argument */
    bool has[CF_DNNL_N_ARGS];  /* the layout is set */
    cf_dnnl_conv conv;         /* of a convolution */
};

struct cf_dnnl_call {
    const cf_dnnl_op *op; /* borrowed */
    dnnl_stream_t stream;
    int n;
    dnnl_exec_arg_t args[CF_DNNL_N_ARGS];
};

static cf_err check(dnnl_status_t status, const char *what)
{
    if (status == dnnl_success) return CF_OK;
    return cf_fail(status == dnnl_out_of_memory ? CF_E_UNEXPECTED : CF_E_DEVICE,
                   "oneDNN: %s: status %d", what, (int)status);
}

cf_err cf_dnnl_create(cf_dnnl **out)
{
    CF_TRY(cf_new(out, 1, sizeof **out));
    cf_err err = check(dnnl_engine_create(&(*out)->engine, dnnl_cpu, 0), "engine");
    if (err != CF_OK) {
        free(*out);
        *out = NULL;
    }
    return err;
}

void cf_dnnl_destroy(cf_dnnl *d)
{
    if (d == NULL) return;
    (void)dnnl_engine_destroy(d->engine);
    free(d);
}

void cf_dnnl_describe(char *text, size_t n)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, n, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}

static dnnl_data_type_t type_of(cf_dtype dtype)
{
    return dtype == CF_F32 ? dnnl_f32 : dtype == CF_BF16 ? dnnl_bf16 : dnnl_f16;
}

/* Logical dimensions N C H W over NHWC memory. */
static dnnl_status_t layout_nhwc(layout *md, int64_t n, int64_t h, int64_t w, int64_t c, cf_dtype t)
{
    const dnnl_dims_t dim = {n, c, h, w}, stride = {h * w * c, 1, w * c, c};
    return layout_strided(md, 4, dim, type_of(t), stride);
}

static int filter_dims(const cf_dnnl_conv *s, dnnl_dims_t dim)
{
    int rank = 0;
    if (s->groups > 1) dim[rank++] = s->groups;
    dim[rank++] = s->k / s->groups;
    dim[rank++] = s->c / s->groups;
    dim[rank++] = s->kernel;
    dim[rank++] = s->kernel;
    return rank;
}

/* The canonical filter [K,R,S,C/G]: groups lie one after the other in K. */
static dnnl_status_t layout_krsc(layout *md, const cf_dnnl_conv *s, cf_dtype t)
{
    dnnl_dims_t dim, stride;
    int rank = filter_dims(s, dim), i = 0;
    int64_t c = s->c / s->groups, filter = (int64_t)s->kernel * s->kernel * c;
    if (s->groups > 1) stride[i++] = s->k / s->groups * filter;
    stride[i++] = filter;
    stride[i++] = 1;
    stride[i++] = s->kernel * c;
    stride[i++] = c;
    return layout_strided(md, rank, dim, type_of(t), stride);
}

static void recipe_fini(recipe *r)
{
    layout_fini(&r->src);
    layout_fini(&r->weights);
    layout_fini(&r->dst);
    if (r->has_bias) layout_fini(&r->bias);
}

static dnnl_status_t conv_recipe(const cf_dnnl_conv *s, dnnl_data_type_t weights, recipe *r)
{
    for (int i = 0; i < 2; i++) r->stride[i] = s->stride;
    r->pad_low[0] = s->pad_top, r->pad_low[1] = s->pad_left;
    r->pad_high[0] = s->pad_bottom, r->pad_high[1] = s->pad_right;
    dnnl_dims_t filter;
    int rank = filter_dims(s, filter);
    dnnl_status_t status = layout_nhwc(&r->src, s->n, s->h, s->w, s->c, s->dtype);
    if (status == dnnl_success) status = layout_any(&r->weights, rank, filter, weights);
    if (status == dnnl_success) status = layout_nhwc(&r->dst, s->n, s->oh, s->ow, s->k, s->dtype);
    if (status == dnnl_success && s->bias) {
        const dnnl_dims_t dim = {s->k}, one = {1};
        r->has_bias = true;
        status = layout_strided(&r->bias, 1, dim, dnnl_f32, one);
    }
    return status;
}

/* attr: user-managed scratchpad and what the op adds after itself. */
static dnnl_status_t make_attr(dnnl_primitive_attr_t *attr, bool activate, float slope, bool sum)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    if (status != dnnl_success) return status;
    status = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success) status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success && sum) status = append_sum(ops);
    if (status == dnnl_success && activate) status = append_activation(ops, slope);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops != NULL) (void)dnnl_post_ops_destroy(ops);
    return status;
}

static cf_err take_layout(cf_dnnl_op *op, cf_dnnl_arg arg, dnnl_query_t query, int name)
{
    CF_TRY(check(layout_query(&op->layouts[arg], op->pd, query), "layout"));
    op->names[arg] = name;
    op->has[arg] = true;
    return CF_OK;
}

static cf_err finish(cf_dnnl_op *op)
{
    CF_TRY(check(dnnl_primitive_create(&op->primitive, op->pd), "primitive"));
    return take_layout(op, CF_DNNL_SCRATCH, dnnl_query_scratchpad_md, DNNL_ARG_SCRATCHPAD);
}

static cf_err take_conv_layouts(cf_dnnl_op *op, cf_dnnl_direction direction)
{
    bool data = direction == CF_DNNL_BACKWARD_DATA, weights = direction == CF_DNNL_BACKWARD_WEIGHTS;
    bool backward = data || weights;
    CF_TRY(take_layout(op, CF_DNNL_SRC, data ? dnnl_query_diff_src_md : dnnl_query_src_md,
                       data ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC));
    CF_TRY(take_layout(op, CF_DNNL_WEIGHTS,
                       weights ? dnnl_query_diff_weights_md : dnnl_query_weights_md,
                       weights ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS));
    CF_TRY(take_layout(op, CF_DNNL_DST, backward ? dnnl_query_diff_dst_md : dnnl_query_dst_md,
                       backward ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST));
    return CF_OK;
}

static cf_err take_bias(cf_dnnl_op *op)
{
    const dnnl_dims_t dim = {op->conv.k}, one = {1};
    CF_TRY(check(layout_strided(&op->layouts[CF_DNNL_BIAS], 1, dim, dnnl_f32, one), "layout"));
    op->names[CF_DNNL_BIAS] = DNNL_ARG_BIAS;
    op->has[CF_DNNL_BIAS] = true;
    return CF_OK;
}

static dnnl_status_t conv_pd(cf_dnnl *d, const recipe *r, cf_dnnl_direction direction,
                             dnnl_primitive_attr_t attr, const recipe *forward,
                             dnnl_primitive_desc_t *pd)
{
    if (direction == CF_DNNL_FORWARD) return conv_forward(pd, d->engine, r, attr);
    dnnl_primitive_desc_t hint = NULL;
    dnnl_status_t status = conv_forward(&hint, d->engine, forward, NULL);
    if (status != dnnl_success) return status;
    status = direction == CF_DNNL_BACKWARD_DATA
                 ? conv_backward_data(pd, d->engine, r, attr, hint)
                 : conv_backward_weights(pd, d->engine, r, attr, hint);
    (void)dnnl_primitive_desc_destroy(hint);
    return status;
}

cf_err cf_dnnl_conv_create(cf_dnnl *d, const cf_dnnl_conv *spec, cf_dnnl_direction direction,
                           cf_dnnl_op **out)
{
    recipe own = {0}, forward = {0};
    dnnl_primitive_attr_t attr = NULL;
    cf_err err = cf_new(out, 1, sizeof **out);
    if (err != CF_OK) return err;
    cf_dnnl_op *op = *out;
    op->conv = *spec;
    bool is_forward = direction == CF_DNNL_FORWARD;
    op->conv.bias = spec->bias && is_forward;
    dnnl_data_type_t type = type_of(spec->dtype);
    bool fp32 = direction == CF_DNNL_BACKWARD_WEIGHTS;
    CF_TRY_GOTO(check(conv_recipe(&op->conv, fp32 ? dnnl_f32 : type, &own), "layouts"), out);
    CF_TRY_GOTO(check(conv_recipe(&op->conv, type, &forward), "layouts"), out);
    CF_TRY_GOTO(
        check(make_attr(&attr, is_forward && spec->activate, spec->slope, false), "attributes"),
        out);
    CF_TRY_GOTO(check(conv_pd(d, &own, direction, attr, &forward, &op->pd), "convolution"), out);
    CF_TRY_GOTO(take_conv_layouts(op, direction), out);
    if (op->conv.bias) CF_TRY_GOTO(take_bias(op), out);
    CF_TRY_GOTO(finish(op), out);
out:
    recipe_fini(&own);
    recipe_fini(&forward);
    if (attr != NULL) (void)dnnl_primitive_attr_destroy(attr);
    if (err != CF_OK) {
        cf_dnnl_op_destroy(op);
        *out = NULL;
    }
    return err;
}

static dnnl_status_t matmul_recipe(const cf_dnnl_matmul *s, recipe *r)
{
    const dnnl_dims_t a = {s->rows, s->inner}, b = {s->inner, s->cols}, dst = {s->rows, s->cols};
    const dnnl_dims_t a_plain = {s->a_stride, 1}, a_turned = {1, s->a_stride};
    const dnnl_dims_t b_stride = {s->b_stride, 1}, dst_stride = {s->dst_stride, 1};
    dnnl_data_type_t type = type_of(s->dtype);
    dnnl_status_t status =
        layout_strided(&r->src, 2, a, type, s->a_transposed ? a_turned : a_plain);
    if (status == dnnl_success)
        status = s->b_packed ? layout_any(&r->weights, 2, b, type)
                             : layout_strided(&r->weights, 2, b, type, b_stride);
    if (status == dnnl_success) status = layout_strided(&r->dst, 2, dst, dnnl_f32, dst_stride);
    return status;
}

cf_err cf_dnnl_matmul_create(cf_dnnl *d, const cf_dnnl_matmul *spec, cf_dnnl_op **out)
{
    recipe r = {0};
    dnnl_primitive_attr_t attr = NULL;
    cf_err err = cf_new(out, 1, sizeof **out);
    if (err != CF_OK) return err;
    cf_dnnl_op *op = *out;
    CF_TRY_GOTO(check(matmul_recipe(spec, &r), "layouts"), out);
    CF_TRY_GOTO(check(make_attr(&attr, false, 0.0f, spec->accumulate), "attributes"), out);
    CF_TRY_GOTO(check(matmul(&op->pd, d->engine, &r, attr), "matmul"), out);
    CF_TRY_GOTO(take_layout(op, CF_DNNL_SRC, dnnl_query_src_md, DNNL_ARG_SRC), out);
    CF_TRY_GOTO(take_layout(op, CF_DNNL_WEIGHTS, dnnl_query_weights_md, DNNL_ARG_WEIGHTS), out);
    CF_TRY_GOTO(take_layout(op, CF_DNNL_DST, dnnl_query_dst_md, DNNL_ARG_DST), out);
    CF_TRY_GOTO(finish(op), out);
out:
    recipe_fini(&r);
    if (attr != NULL) (void)dnnl_primitive_attr_destroy(attr);
    if (err != CF_OK) {
        cf_dnnl_op_destroy(op);
        *out = NULL;
    }
    return err;
}

static cf_err reorder_create(cf_dnnl *d, layout *src, layout *dst, cf_dnnl_op **out)
{
    dnnl_primitive_attr_t attr = NULL;
    cf_err err = cf_new(out, 1, sizeof **out);
    if (err != CF_OK) return err;
    cf_dnnl_op *op = *out;
    CF_TRY_GOTO(check(make_attr(&attr, false, 0.0f, false), "attributes"), out);
    CF_TRY_GOTO(check(dnnl_reorder_primitive_desc_create(&op->pd, LAYOUT(*src), d->engine,
                                                         LAYOUT(*dst), d->engine, attr),
                      "reorder"),
                out);
    CF_TRY_GOTO(take_layout(op, CF_DNNL_SRC, dnnl_query_src_md, DNNL_ARG_FROM), out);
    CF_TRY_GOTO(take_layout(op, CF_DNNL_DST, dnnl_query_dst_md, DNNL_ARG_TO), out);
    CF_TRY_GOTO(finish(op), out);
out:
    if (attr != NULL) (void)dnnl_primitive_attr_destroy(attr);
    if (err != CF_OK) {
        cf_dnnl_op_destroy(op);
        *out = NULL;
    }
    return err;
}

/* A 1x1 filter that lies in memory as [C,K]. */
static dnnl_status_t layout_transposed(layout *md, const cf_dnnl_conv *s, cf_dtype t)
{
    const dnnl_dims_t dim = {s->k, s->c, 1, 1}, stride = {1, s->k, s->k, s->k};
    return layout_strided(md, 4, dim, type_of(t), stride);
}

cf_err cf_dnnl_pack_create(cf_dnnl *d, const cf_dnnl_op *conv, cf_dtype dtype, bool transposed,
                           cf_dnnl_op **out)
{
    layout canonical = {0}, packed = conv->layouts[CF_DNNL_WEIGHTS];
    CF_TRY(check(transposed ? layout_transposed(&canonical, &conv->conv, dtype)
                            : layout_krsc(&canonical, &conv->conv, dtype),
                 "layout"));
    cf_err err = reorder_create(d, &canonical, &packed, out);
    layout_fini(&canonical);
    return err;
}

cf_err cf_dnnl_matmul_pack_create(cf_dnnl *d, const cf_dnnl_matmul *spec, const cf_dnnl_op *matmul,
                                  cf_dnnl_op **out)
{
    const dnnl_dims_t dim = {spec->inner, spec->cols}, stride = {1, spec->inner};
    layout plain = {0}, packed = matmul->layouts[CF_DNNL_WEIGHTS];
    CF_TRY(check(layout_strided(&plain, 2, dim, type_of(spec->dtype), stride), "layout"));
    cf_err err = reorder_create(d, &plain, &packed, out);
    layout_fini(&plain);
    return err;
}

cf_err cf_dnnl_unpack_create(cf_dnnl *d, const cf_dnnl_op *conv, cf_dnnl_op **out)
{
    layout canonical = {0}, packed = conv->layouts[CF_DNNL_WEIGHTS];
    CF_TRY(check(layout_krsc(&canonical, &conv->conv, CF_F32), "layout"));
    cf_err err = reorder_create(d, &packed, &canonical, out);
    layout_fini(&canonical);
    return err;
}

void cf_dnnl_op_destroy(cf_dnnl_op *op)
{
    if (op == NULL) return;
    for (int i = 0; i < CF_DNNL_N_ARGS; i++)
        if (op->has[i]) layout_fini(&op->layouts[i]);
    if (op->primitive != NULL) (void)dnnl_primitive_destroy(op->primitive);
    if (op->pd != NULL) (void)dnnl_primitive_desc_destroy(op->pd);
    free(op);
}

size_t cf_dnnl_bytes(const cf_dnnl_op *op, cf_dnnl_arg arg)
{
    return op->has[arg] ? dnnl_memory_desc_get_size(LAYOUT(op->layouts[arg])) : 0;
}

const char *cf_dnnl_implementation(const cf_dnnl_op *op)
{
    const char *text = NULL;
    dnnl_status_t status = dnnl_primitive_desc_query(op->pd, dnnl_query_impl_info_str, 0, &text);
    return status == dnnl_success && text != NULL ? text : "?";
}

cf_err cf_dnnl_bind(cf_dnnl *d, const cf_dnnl_op *op, void *const memory[CF_DNNL_N_ARGS],
                    cf_dnnl_call **out)
{
    cf_err err = cf_new(out, 1, sizeof **out);
    if (err != CF_OK) return err;
    cf_dnnl_call *call = *out;
    call->op = op;
    CF_TRY_GOTO(
        check(dnnl_stream_create(&call->stream, d->engine, dnnl_stream_default_flags), "stream"),
        out);
    for (int i = 0; i < CF_DNNL_N_ARGS; i++) {
        if (cf_dnnl_bytes(op, (cf_dnnl_arg)i) == 0) continue;
        dnnl_exec_arg_t *arg = &call->args[call->n];
        CF_TRY_GOTO(
            check(dnnl_memory_create(&arg->memory, LAYOUT(op->layouts[i]), d->engine, memory[i]),
                  "memory"),
            out);
        arg->arg = op->names[i];
        call->n++;
    }
out:
    if (err != CF_OK) {
        cf_dnnl_call_destroy(call);
        *out = NULL;
    }
    return err;
}

void cf_dnnl_call_destroy(cf_dnnl_call *call)
{
    if (call == NULL) return;
    for (int i = 0; i < call->n; i++) (void)dnnl_memory_destroy(call->args[i].memory);
    if (call->stream != NULL) (void)dnnl_stream_destroy(call->stream);
    free(call);
}

cf_err cf_dnnl_run(cf_dnnl_call *call)
{
    dnnl_status_t status =
        dnnl_primitive_execute(call->op->primitive, call->stream, call->n, call->args);
    if (status == dnnl_success) status = dnnl_stream_wait(call->stream);
    return check(status, "execute");
}
