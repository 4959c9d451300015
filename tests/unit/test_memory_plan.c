#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/graph/graph.h"
#include "kernels/math/philox.h"
#include "worker/models.h"

/* ---- an independent reading of the contract
 * -------------------------------------------------------- Runs a plan on paper: every 64-byte line
 * of the arena is tagged with the buffer written there last, and every buffer a step reads must
 * still carry its own tag. */

enum { LINE = 64 };

typedef struct paper {
    const cf_graph *g;
    const cf_memory_plan *plan;
    uint32_t *tags; /* owned, [lines] */
    int step;
} paper;

static bool exists(const paper *p, int node, cf_slot slot)
{
    return p->plan->buffers[node][slot].bytes > 0;
}

static void touch(paper *p, int node, cf_slot slot, bool write)
{
    const cf_buffer *b = &p->plan->buffers[node][slot];
    uint32_t tag = (uint32_t)(node * CF_N_SLOTS + (int)slot + 1);
    const char *name = p->g->nodes[node].name;
    if (b->bytes == 0) fail_msg("step %d: %s has no buffer in slot %d", p->step, name, (int)slot);
    if (b->offset % LINE != 0) fail_msg("%s slot %d at %zu", name, (int)slot, b->offset);
    if (p->step < b->first || p->step > b->last) {
        fail_msg("step %d: %s slot %d lives in %d-%d", p->step, name, (int)slot, b->first, b->last);
    }
    size_t first = b->offset / LINE, n = (b->bytes + LINE - 1) / LINE;
    if ((first + n) * LINE > p->plan->arena_bytes)
        fail_msg("%s slot %d past the arena", name, (int)slot);
    for (size_t i = first; i < first + n; i++) {
        if (!write && p->tags[i] != tag) {
            fail_msg("step %d: %s slot %d was overwritten by node %d slot %d", p->step, name,
                     (int)slot, (int)(p->tags[i] - 1) / CF_N_SLOTS,
                     (int)(p->tags[i] - 1) % CF_N_SLOTS);
        }
        p->tags[i] = tag;
    }
}

static void forward(paper *p, int i)
{
    const cf_node *node = &p->g->nodes[i];
    bool train = p->plan->mode == CF_MODE_TRAIN;
    p->step = i;
    if (node->in >= 0) touch(p, node->in, CF_SLOT_Z, false);
    if (node->op == CF_OP_LOSS) {
        if (train) touch(p, i, CF_SLOT_GIN, true);
        return;
    }
    if (exists(p, i, CF_SLOT_Y)) {
        assert_true(node->conv.norm != CF_NORM_NONE);
        touch(p, i, CF_SLOT_Y, true);
        touch(p, node->in, CF_SLOT_Z, false); /* while Y is written, the input is read */
        touch(p, i, CF_SLOT_Y, false);
    }
    if (node->residual >= 0) touch(p, node->residual, CF_SLOT_Z, false);
    touch(p, i, CF_SLOT_Z, true);
    if (train && exists(p, i, CF_SLOT_Y)) touch(p, i, CF_SLOT_Y, false);
    if (node->residual >= 0) touch(p, node->residual, CF_SLOT_Z, false);
}

static void read_contributions(paper *p, int i)
{
    const cf_node *node = &p->g->nodes[i];
    for (int u = 0; u < node->n_uses; u++) {
        const cf_node *reader = &p->g->nodes[node->uses[u]];
        touch(p, node->uses[u], reader->in == i ? CF_SLOT_GIN : CF_SLOT_GRES, false);
    }
}

/* An overwritten contribution is fine once read, so after the first write only the new ones must
 * hold. */
static void backward(paper *p, int i)
{
    const cf_node *node = &p->g->nodes[i];
    p->step = 2 * p->g->n_nodes - 1 - i;
    if (node->op == CF_OP_INPUT) return;
    if (node->op == CF_OP_LOSS) {
        touch(p, node->in, CF_SLOT_Z, false);
        touch(p, i, CF_SLOT_GIN, false);
        return;
    }
    read_contributions(p, i);
    if (node->conv.act != CF_ACT_NONE) touch(p, i, CF_SLOT_Z, false);
    if (node->conv.norm != CF_NORM_NONE) touch(p, i, CF_SLOT_Y, false);
    bool residual = exists(p, i, CF_SLOT_GRES);
    if (residual) touch(p, i, CF_SLOT_GRES, true);
    touch(p, i, CF_SLOT_GY, true);
    if (node->conv.norm != CF_NORM_NONE) touch(p, i, CF_SLOT_Y, false);
    if (node->op != CF_OP_AVGPOOL) touch(p, node->in, CF_SLOT_Z, false);
    if (p->g->nodes[node->in].op != CF_OP_INPUT) touch(p, i, CF_SLOT_GIN, true);
    if (residual) touch(p, i, CF_SLOT_GRES, false);
    touch(p, i, CF_SLOT_GY, false);
}

static void run_on_paper(const cf_graph *g, const cf_memory_plan *plan)
{
    paper p = {
        .g = g, .plan = plan, .tags = calloc(plan->arena_bytes / LINE + 1, sizeof(uint32_t))};
    assert_non_null(p.tags);
    for (int i = 0; i < g->n_nodes; i++) forward(&p, i);
    if (plan->mode == CF_MODE_TRAIN) {
        for (int i = g->n_nodes - 1; i >= 0; i--) backward(&p, i);
    }
    free(p.tags);
}

/* ---- lives ------------------------------------------------------------------------------------
 */

static bool shares_by_contract(const cf_memory_plan *plan, int a, int s, int b, int t)
{
    int root_a = a, slot_a = s, root_b = b, slot_b = t;
    while (plan->buffers[root_a][slot_a].alias_node >= 0) {
        const cf_buffer *x = &plan->buffers[root_a][slot_a];
        root_a = x->alias_node;
        slot_a = (int)x->alias_slot;
    }
    while (plan->buffers[root_b][slot_b].alias_node >= 0) {
        const cf_buffer *x = &plan->buffers[root_b][slot_b];
        root_b = x->alias_node;
        slot_b = (int)x->alias_slot;
    }
    return root_a == root_b && slot_a == slot_b;
}

static void no_two_lives_share_bytes(const cf_memory_plan *plan)
{
    int n = plan->n_nodes * CF_N_SLOTS;
    for (int x = 0; x < n; x++) {
        const cf_buffer *p = &plan->buffers[x / CF_N_SLOTS][x % CF_N_SLOTS];
        for (int y = 0; y < x; y++) {
            const cf_buffer *q = &plan->buffers[y / CF_N_SLOTS][y % CF_N_SLOTS];
            bool both_live = p->bytes && q->bytes && p->first <= q->last && q->first <= p->last;
            bool overlap = p->offset < q->offset + q->bytes && q->offset < p->offset + p->bytes;
            if (!both_live || !overlap) continue;
            if (!shares_by_contract(plan, x / CF_N_SLOTS, x % CF_N_SLOTS, y / CF_N_SLOTS,
                                    y % CF_N_SLOTS)) {
                fail_msg("node %d slot %d and node %d slot %d share bytes", x / CF_N_SLOTS,
                         x % CF_N_SLOTS, y / CF_N_SLOTS, y % CF_N_SLOTS);
            }
        }
    }
}

/* The most bytes alive at one step: no plan can need less. */
static size_t peak_of_lives(const cf_memory_plan *plan)
{
    size_t peak = 0;
    for (int step = 0; step < 2 * plan->n_nodes; step++) {
        size_t sum = 0;
        for (int i = 0; i < plan->n_nodes; i++) {
            for (int s = 0; s < CF_N_SLOTS; s++) {
                const cf_buffer *b = &plan->buffers[i][s];
                bool own = b->alias_node < 0;
                if (own && b->first <= step && step <= b->last) sum += b->bytes;
            }
        }
        peak = sum > peak ? sum : peak;
    }
    return peak;
}

/* All properties of both plans of a graph; returns the training arena. */
static size_t check_plans(const cf_graph *g, cf_dtype dtype, size_t *inference)
{
    size_t bytes[2];
    for (int mode = 0; mode < 2; mode++) {
        cf_memory_plan plan;
        assert_int_equal(cf_graph_plan(g, mode ? CF_MODE_INFER : CF_MODE_TRAIN, dtype, &plan),
                         CF_OK);
        no_two_lives_share_bytes(&plan);
        run_on_paper(g, &plan);
        assert_true(plan.arena_bytes >= peak_of_lives(&plan));
        bytes[mode] = plan.arena_bytes;
        cf_memory_plan_fini(&plan);
    }
    assert_true(bytes[1] < bytes[0]);
    *inference = bytes[1];
    return bytes[0];
}

/* ---- random graphs ----------------------------------------------------------------------------
 */

static cf_conv random_conv(cf_rng *r, cf_shape in)
{
    static const int kernels[] = {1, 3, 5};
    cf_conv c = {.k = 4 * (int64_t)(1 + cf_rng_below(r, 6)),
                 .kernel = kernels[cf_rng_below(r, 3)],
                 .stride = in.h > 2 && cf_rng_below(r, 4) == 0 ? 2 : 1,
                 .groups = in.c % 4 == 0 && cf_rng_below(r, 2) ? 4 : 1,
                 .pad = cf_rng_below(r, 2) ? CF_PAD_SAME : CF_PAD_SYMMETRIC,
                 .bias = cf_rng_below(r, 2) == 1,
                 .norm = cf_rng_below(r, 3) ? CF_NORM_BATCH : CF_NORM_NONE,
                 .norm_eps = 1e-5f,
                 .norm_momentum = 0.9f,
                 .act = cf_rng_below(r, 3) ? CF_ACT_RELU : CF_ACT_NONE};
    return c;
}

/* An earlier node of the shape the convolution will give, or -1. */
static int find_residual(const cf_graph *g, int in, const cf_conv *c)
{
    cf_shape s = g->nodes[in].out_shape;
    if (c->stride != 1) return -1;
    for (int i = in - 1; i >= 0; i--) {
        cf_shape t = g->nodes[i].out_shape;
        if (t.h == s.h && t.w == s.w && t.c == c->k && g->nodes[i].n_uses < CF_GRAPH_MAX_USES)
            return i;
    }
    return -1;
}

/* The next node of a chain; now and then a sum with an earlier node, a projected shortcut, a pool.
 */
static int grow(cf_graph *g, cf_rng *r, int x, int index)
{
    char name[32], side_name[32];
    snprintf(name, sizeof name, "n%d", index);
    snprintf(side_name, sizeof side_name, "n%d.side", index);
    cf_shape in = g->nodes[x].out_shape;
    uint32_t kind = cf_rng_below(r, 8);
    if (kind == 0 && in.h > 2) {
        cf_conv w = {.kernel = 3, .stride = 2, .pad = CF_PAD_SAME};
        assert_int_equal(cf_graph_maxpool(g, name, x, &w, &x), CF_OK);
        return x;
    }
    cf_conv c = random_conv(r, in);
    int residual = kind < 5 ? find_residual(g, x, &c) : -1;
    if (kind == 1) {
        cf_conv side = random_conv(r, in);
        int inner = 0;
        side.k = c.k;
        c.stride = side.stride = 1;
        assert_int_equal(cf_graph_conv(g, side_name, x, -1, &side, &residual), CF_OK);
        snprintf(side_name, sizeof side_name, "n%d.in", index);
        assert_int_equal(cf_graph_conv(g, side_name, x, -1, &c, &inner), CF_OK);
        x = inner;
        c.groups = 1;
    }
    assert_int_equal(cf_graph_conv(g, name, x, residual, &c, &x), CF_OK);
    return x;
}

static cf_graph *random_graph(cf_rng *r)
{
    const int class_of[3] = {0, 1, 2};
    cf_graph *g = NULL;
    int x = 0, n = 1 + (int)cf_rng_below(r, 16);
    int64_t side = 4 + cf_rng_below(r, 12);
    assert_int_equal(cf_graph_create(&g), CF_OK);
    assert_int_equal(cf_graph_input(g, (cf_shape){1 + cf_rng_below(r, 3), side, side, 3}, &x),
                     CF_OK);
    for (int i = 0; i < n; i++) x = grow(g, r, x, i);
    if (cf_rng_below(r, 2)) assert_int_equal(cf_graph_avgpool(g, "pool", x, &x), CF_OK);
    assert_int_equal(cf_graph_dense(g, "fc", x, 3, true, &x), CF_OK);
    assert_int_equal(cf_graph_loss(g, x, class_of, 3, 0.0f), CF_OK);
    return g;
}

static void random_graphs_keep_every_value_they_read(void **state)
{
    (void)state;
    const uint64_t seed = 2024;
    int with_residual = 0, with_many_uses = 0;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint32_t i = 0; i < 300; i++) {
        cf_rng r = cf_rng_at(seed, 0, 0, i, CF_PURPOSE_TEST);
        cf_graph *g = random_graph(&r);
        size_t inference = 0;
        for (int n = 0; n < g->n_nodes; n++) {
            with_residual += g->nodes[n].residual >= 0;
            with_many_uses += g->nodes[n].n_uses > 2;
        }
        (void)check_plans(g, i % 2 ? CF_BF16 : CF_F32, &inference);
        cf_graph_destroy(g);
    }
    assert_true(with_residual > 100 && with_many_uses > 10); /* the graphs were worth the name */
}

/* ---- the real networks ------------------------------------------------------------------------
 */

static cf_config *resnext50(void)
{
    cf_config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    cf_config_defaults(config);
    config->model_outputs = 22;
    return config;
}

static void real_networks_keep_every_value_they_read(void **state)
{
    (void)state;
    cf_config *config = resnext50();
    for (int network = 0; network < 2; network++) {
        cf_graph *g = NULL;
        config->model_network = network ? CF_NETWORK_SEQUENTIAL : CF_NETWORK_RESNEXT;
        assert_int_equal(cf_model_build(config, NULL, 2, &g), CF_OK);
        size_t inference = 0, train = check_plans(g, CF_BF16, &inference);
        print_message("%s, 2 images of 250 px, bf16: training %.1f MB, inference %.1f MB\n",
                      network ? "sequential" : "resnext", (double)train / 1e6,
                      (double)inference / 1e6);
        cf_graph_destroy(g);
    }
    free(config);
}

/* The plan is allowed 5 % over the bytes that must be alive at once: greedy placing needs
 * 0.1 % here, and a worse rule would show. */
static void resnext_arena_is_near_its_lower_bound(void **state)
{
    (void)state;
    cf_config *config = resnext50();
    cf_graph *g = NULL;
    assert_int_equal(cf_model_build(config, NULL, 8, &g), CF_OK);
    for (int mode = 0; mode < 2; mode++) {
        cf_memory_plan plan;
        assert_int_equal(cf_graph_plan(g, mode ? CF_MODE_INFER : CF_MODE_TRAIN, CF_BF16, &plan),
                         CF_OK);
        size_t peak = peak_of_lives(&plan);
        print_message("%s: arena %zu bytes, alive at once %zu\n", mode ? "inference" : "training",
                      plan.arena_bytes, peak);
        assert_true((double)plan.arena_bytes <= 1.05 * (double)peak);
        cf_memory_plan_fini(&plan);
    }
    cf_graph_destroy(g);
    free(config);
}

static void logits_and_their_gradient_are_fp32(void **state)
{
    (void)state;
    cf_config *config = resnext50();
    cf_graph *g = NULL;
    cf_memory_plan plan;
    assert_int_equal(cf_model_build(config, NULL, 8, &g), CF_OK);
    assert_int_equal(cf_graph_plan(g, CF_MODE_TRAIN, CF_BF16, &plan), CF_OK);
    int fc = cf_graph_find(g, "fc"), loss = cf_graph_find(g, "loss");
    assert_int_equal(plan.buffers[fc][CF_SLOT_Z].bytes, 8 * 22 * 4);
    assert_int_equal(plan.buffers[loss][CF_SLOT_GIN].bytes, 8 * 22 * 4);
    assert_int_equal(plan.buffers[fc][CF_SLOT_GY].offset, plan.buffers[loss][CF_SLOT_GIN].offset);
    assert_int_equal(plan.buffers[fc][CF_SLOT_GIN].bytes, 8 * 2048 * 2);
    cf_memory_plan_fini(&plan);
    cf_graph_destroy(g);
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs_keep_every_value_they_read),
        cmocka_unit_test(real_networks_keep_every_value_they_read),
        cmocka_unit_test(resnext_arena_is_near_its_lower_bound),
        cmocka_unit_test(logits_and_their_gradient_are_fp32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
