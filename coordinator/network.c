#include "coordinator/network.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

const char *const cf_reduction_names[CF_REDUCTIONS] = {"ring",    "tree",   "doubling",
                                                       "halving", "shares", "best"};

/* A placement as the formulas need it. */
typedef struct route {
    double n, m;
    double most;             /* ranks of the fullest node */
    double nodes;            /* nodes touched */
    double a_in, b_in;       /* latency and seconds a byte inside a node */
    double a_out, b_out;     /* and of a node's whole link, as this group has it */
    double a_slow, b_single; /* of the slowest link that one stream meets */
} route;

static double height(double n)
{
    return ceil(log2(n) - 1e-12);
}

static route find_route(const cf_net *net, const cf_placement *at, double bytes)
{
    int g = net->ranks_per_node, last = at->first + at->ranks - 1;
    int nodes = last / g - at->first / g + 1;
    int head = g - at->first % g; /* ranks that the first node has room for */
    int most = at->ranks < head ? at->ranks : head;
    if (nodes > 2) most = g;
    if (nodes > 1 && last % g + 1 > most) most = last % g + 1;
    route r = {.n = at->ranks, .m = bytes, .most = most, .nodes = nodes};
    r.a_in = net->inside.latency_seconds;
    r.b_in = 1 / net->inside.bytes_per_second;
    r.a_out = net->between.latency_seconds;
    r.b_out = at->shared / net->between.bytes_per_second;
    bool inner = most > 1, outer = nodes > 1;
    r.a_slow = fmax(inner ? r.a_in : 0, outer ? r.a_out : 0);
    r.b_single = fmax(inner ? r.b_in : 0, outer ? r.b_out : 0);
    return r;
}

static double ring(const route *r)
{
    return 2 * (r->n - 1) * (r->a_slow + r->m / r->n * r->b_single);
}

static double tree(const route *r)
{
    double h_in = height(r->most), h_out = height(r->nodes);
    double latencies = h_in * r->a_in + h_out * r->a_out, stream = r->m * r->b_single;
    double whole = latencies + r->m * (h_in * r->b_in + h_out * r->b_out);
    double pieces = sqrt(latencies) + sqrt(stream);
    return 2 * fmin(pieces * pieces, whole);
}

/* An exchange of m bytes by all ranks at once, between ranks `distance` apart. */
static double exchange(const route *r, double distance, double m)
{
    if (distance < r->most || r->nodes < 2) return r->a_in + m * r->b_in;
    return r->a_out + m * r->most * r->b_out;
}

/* The ranks above the largest power of two hand theirs over first and get the result last. */
static double odd_ranks(const route *r)
{
    double power = exp2(floor(log2(r->n) + 1e-12));
    return power < r->n ? 2 * (r->a_slow + r->m * r->b_single) : 0;
}

static double doubling(const route *r)
{
    double sum = odd_ranks(r);
    for (double distance = 1; distance * 2 <= r->n; distance *= 2)
        sum += exchange(r, distance, r->m);
    return sum;
}

static double halving(const route *r)
{
    double sum = odd_ranks(r), m = r->m / 2;
    for (double distance = 1; distance * 2 <= r->n; distance *= 2, m /= 2)
        sum += 2 * exchange(r, distance, m);
    return sum;
}

static double shares(const route *r)
{
    double inner = r->most > 1 ? r->a_in + (r->most - 1) / r->n * r->m * r->b_in : 0;
    double outer = 0;
    if (r->nodes > 1) outer = r->a_out + r->most * (r->n - r->most) / r->n * r->m * r->b_out;
    return 2 * fmax(inner, outer);
}

static cf_err check_link(const cf_link *link, const char *name)
{
    if (!(link->latency_seconds >= 0 && isfinite(link->latency_seconds)))
        return cf_fail(CF_E_USAGE, "latency of a link %s: %g s, expected 0 or more", name,
                       link->latency_seconds);
    if (!(link->bytes_per_second > 0))
        return cf_fail(CF_E_USAGE, "bandwidth of a link %s: %g bytes/s, expected more than 0", name,
                       link->bytes_per_second);
    return CF_OK;
}

cf_err cf_network_check(const cf_net *net)
{
    if (net->ranks_per_node < 1)
        return cf_fail(CF_E_USAGE, "%d GPUs a node, expected at least 1", net->ranks_per_node);
    CF_TRY(check_link(&net->inside, "inside a node"));
    CF_TRY(check_link(&net->between, "between nodes"));
    if (!(net->host_bytes_per_second > 0))
        return cf_fail(CF_E_USAGE, "processor's rate of a sum: %g bytes/s, expected more than 0",
                       net->host_bytes_per_second);
    return CF_OK;
}

double cf_network_sum_seconds(const cf_net *net, const cf_placement *at, cf_reduction method,
                              double bytes, cf_reduction *taken)
{
    static double (*const costs[])(const route *) = {ring, tree, doubling, halving, shares};
    route r = find_route(net, at, bytes);
    if (method == CF_REDUCTION_BEST)
        method = tree(&r) < ring(&r) ? CF_REDUCTION_TREE : CF_REDUCTION_RING;
    if (taken != NULL) *taken = method;
    return at->ranks > 1 ? costs[method](&r) : 0;
}

double cf_network_host_seconds(const cf_net *net, int ranks, double bytes)
{
    return 2.0 * (ranks - 1) / ranks * bytes / net->host_bytes_per_second;
}
