/* Which engine runs which pass, and from that who writes and sums what (program.h). */
#include "kernels/cuda/program.h"

static cf_geometry geometry_of(const cf_program *p, const cf_node *n)
{
    bool images = p->graph->nodes[n->in].op == CF_OP_INPUT;
    return (cf_geometry){.n = (int)n->in_shape.n,
                         .h = (int)n->in_shape.h,
                         .w = (int)n->in_shape.w,
                         .c = images ? p->input_c : (int)n->in_shape.c,
                         .k = (int)n->out_shape.c,
                         .p = (int)n->out_shape.h,
                         .q = (int)n->out_shape.w,
                         .kernel = n->conv.kernel,
                         .stride = n->conv.stride,
                         .pad_top = n->pad_top,
                         .pad_left = n->pad_left,
                         .groups = n->conv.groups,
                         .dtype = p->options.dtype};
}

static size_t shape_bytes(const cf_program *p, cf_shape s)
{
    return (size_t)cf_shape_elements(s) * cf_dtype_bytes(p->options.dtype);
}

/* By a batch normalisation: engines apply and sum with one factor a channel. */
static bool is_fusible(const cf_program *p, int node)
{
    return p->nodes[node].normalised && !p->nodes[node].per_image;
}

/* Normalised, without a residual, and read by one node only, as its input: that node can apply the
 * normalisation itself, and sum the gradient it gives back. */
static bool is_passing(const cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    if (!is_fusible(p, node) || n->residual >= 0 || n->n_uses != 1) return false;
    return p->graph->nodes[n->uses[0]].in == node;
}

/* Read once, as a residual, with nothing between its normalisation and the sum. */
static bool is_folding(const cf_program *p, int node)
{
    const cf_node *n = &p->graph->nodes[node];
    if (!p->nodes[node].normalised || n->residual >= 0 || n->n_uses != 1) return false;
    return n->conv.act == CF_ACT_NONE && p->graph->nodes[n->uses[0]].in != node;
}

/* ---- engines ----------------------------------------------------------------------------------
 */

/* What an engine that cannot fuse makes others read and write, in bytes of device memory. */
static cf_engine_context context_of(const cf_program *p, int node, cf_conv_pass pass)
{
    const cf_node *n = &p->graph->nodes[node];
    size_t x = shape_bytes(p, n->in_shape), y = shape_bytes(p, n->out_shape);
    bool behind_norm = is_passing(p, n->in), normalised = is_fusible(p, node);
    bool train = p->options.mode == CF_MODE_TRAIN;
    cf_engine_context c = {0};
    switch (pass) {
    case CF_CONV_FORWARD: /* normalise x: read and write; sum y: read */
        c.want_view = behind_norm;
        c.want_partials = normalised && train;
        c.unfused_bytes = (behind_norm ? 2 * x : 0) + (c.want_partials ? y : 0);
        break;
    case CF_CONV_DATA: /* half of a pass that reads g and y and writes gy; one over the input */
        c.want_view = normalised;
        c.want_partials = behind_norm;
        c.unfused_bytes = (normalised ? 3 * y / 2 : 0) + (behind_norm ? 3 * x : 0);
        break;
    case CF_CONV_WEIGHTS:
        c.want_view = normalised || behind_norm;
        c.unfused_bytes = normalised ? 3 * y / 2 : 0;
        break;
    }
    return c;
}

static cf_err choose_pass(cf_program *p, int node, cf_conv_pass pass, cf_engine_choice *choice)
{
    cf_engine_context context = context_of(p, node, pass);
    return cf_where(cf_engines_choose(p->engines, &p->nodes[node].geometry, pass, &context, choice),
                    "node %s", p->graph->nodes[node].name);
}

static cf_err choose_node(cf_program *p, int node)
{
    cf_cuda_node *own = &p->nodes[node];
    CF_TRY(choose_pass(p, node, CF_CONV_FORWARD, &own->forward));
    if (p->options.mode != CF_MODE_TRAIN) return CF_OK;
    CF_TRY(choose_pass(p, node, CF_CONV_WEIGHTS, &own->weights));
    if (p->graph->nodes[p->graph->nodes[node].in].op == CF_OP_INPUT) return CF_OK;
    return choose_pass(p, node, CF_CONV_DATA, &own->data);
}

static bool is_fused(const cf_engine_choice *c)
{
    return c->kernel != NULL && c->kernel->fused;
}

/* ---- who does what ----------------------------------------------------------------------------
 */

static bool reader_normalises(const cf_program *p, int node)
{
    if (!is_passing(p, node)) return false;
    int reader = p->graph->nodes[node].uses[0];
    cf_op op = p->graph->nodes[reader].op;
    if (op == CF_OP_MAXPOOL) return true;
    if (op != CF_OP_CONV || !is_fused(&p->nodes[reader].forward)) return false;
    return p->options.mode == CF_MODE_INFER || is_fused(&p->nodes[reader].weights);
}

static bool reader_sums(const cf_program *p, int node)
{
    if (p->options.mode != CF_MODE_TRAIN || !is_passing(p, node)) return false;
    int reader = p->graph->nodes[node].uses[0];
    return p->graph->nodes[reader].op == CF_OP_CONV && is_fused(&p->nodes[reader].data);
}

static bool takes_gradient_on_load(const cf_program *p, int node)
{
    const cf_cuda_node *own = &p->nodes[node];
    if (p->options.mode != CF_MODE_TRAIN || !is_fusible(p, node) || !is_fused(&own->weights))
        return false;
    bool images = p->graph->nodes[p->graph->nodes[node].in].op == CF_OP_INPUT;
    return images || is_fused(&own->data);
}

/* Images are stored with a fourth channel of zeros, so that a pixel is 8 bytes; where somebody else
 * than a convolution with one group reads them, as they are. */
static int stored_channels(const cf_graph *g)
{
    const cf_node *input = &g->nodes[0];
    if (input->out_shape.c != 3) return (int)input->out_shape.c;
    for (int u = 0; u < input->n_uses; u++) {
        const cf_node *reader = &g->nodes[input->uses[u]];
        if (reader->op != CF_OP_CONV || reader->in != 0 || reader->conv.groups != 1) return 3;
    }
    return 4;
}

cf_err cf_cuda_choose(cf_program *p)
{
    const cf_graph *g = p->graph;
    p->input_c = stored_channels(g);
    for (int i = 0; i < g->n_nodes; i++) {
        cf_norm norm = g->nodes[i].op == CF_OP_CONV ? g->nodes[i].conv.norm : CF_NORM_NONE;
        p->nodes[i].normalised = norm != CF_NORM_NONE;
        p->nodes[i].per_image = norm == CF_NORM_GROUP;
    }
    for (int i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op != CF_OP_CONV) continue;
        p->nodes[i].geometry = geometry_of(p, &g->nodes[i]);
        CF_TRY(choose_node(p, i));
    }
    for (int i = 0; i < g->n_nodes; i++) {
        p->nodes[i].virtual = reader_normalises(p, i);
        p->nodes[i].folded = is_folding(p, i);
        p->nodes[i].summed_by_reader = reader_sums(p, i);
        p->nodes[i].virtual_gradient = takes_gradient_on_load(p, i);
    }
    return CF_OK;
}
