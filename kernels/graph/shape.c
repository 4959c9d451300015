#include "kernels/graph/shape.h"

#define CF_MOST_ELEMENTS (INT64_MAX / 64)

cf_err cf_shape_check_product(const char *node, int64_t a, int64_t b)
{
    int64_t product = 0;
    if (!__builtin_mul_overflow(a, b, &product) && product <= CF_MOST_ELEMENTS) return CF_OK;
    return cf_fail(CF_E_USAGE, "node %s: %lld x %lld elements are too many", node, (long long)a,
                   (long long)b);
}

cf_err cf_shape_check(const char *node, cf_shape s)
{
    if (s.n < 1 || s.h < 1 || s.w < 1 || s.c < 1) {
        return cf_fail(CF_E_USAGE, "node %s: empty shape %lldx%lldx%lldx%lld", node, (long long)s.n,
                       (long long)s.h, (long long)s.w, (long long)s.c);
    }
    CF_TRY(cf_shape_check_product(node, s.n, s.h));
    CF_TRY(cf_shape_check_product(node, s.n * s.h, s.w));
    return cf_shape_check_product(node, s.n * s.h * s.w, s.c);
}

/* One axis: output length and padding before and after. Output 0: the window does not fit. */
typedef struct axis {
    int64_t out;
    int before, after;
} axis;

static axis window_axis(int64_t in, const cf_conv *c)
{
    int64_t kernel = c->kernel, stride = c->stride, total = 0;
    axis a = {0, 0, 0};
    switch (c->pad) {
    case CF_PAD_SYMMETRIC:
        a.before = a.after = (c->kernel - 1) / 2;
        total = a.before + a.after;
        break;
    case CF_PAD_SAME:
        total = ((in + stride - 1) / stride - 1) * stride + kernel - in;
        total = total > 0 ? total : 0;
        a.before = (int)(total / 2);
        a.after = (int)(total - total / 2);
        break;
    case CF_PAD_VALID:
        break;
    }
    a.out = in + total >= kernel ? (in + total - kernel) / stride + 1 : 0;
    return a;
}

cf_err cf_shape_window(cf_node *node, int64_t k)
{
    const cf_conv *c = &node->conv;
    enum { LARGEST = 1 << 15 }; /* kernels and strides beyond any image */
    if (c->kernel < 1 || c->stride < 1 || c->kernel > LARGEST || c->stride > LARGEST) {
        return cf_fail(CF_E_USAGE, "node %s: kernel %d with stride %d", node->name, c->kernel,
                       c->stride);
    }
    axis rows = window_axis(node->in_shape.h, c), columns = window_axis(node->in_shape.w, c);
    if (rows.out < 1 || columns.out < 1) {
        return cf_fail(
            CF_E_USAGE, "node %s: a window of %d px does not fit its input of %lldx%lld px",
            node->name, c->kernel, (long long)node->in_shape.h, (long long)node->in_shape.w);
    }
    node->pad_top = rows.before;
    node->pad_bottom = rows.after;
    node->pad_left = columns.before;
    node->pad_right = columns.after;
    node->out_shape = (cf_shape){node->in_shape.n, rows.out, columns.out, k};
    CF_TRY(cf_shape_check(node->name, node->out_shape));
    return cf_shape_check_product(node->name, k, (int64_t)c->kernel * c->kernel * node->in_shape.c);
}
