/* Costs of sums against closed forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "coordinator/network.h"

/* The same products in another order. */
#define TOLERANCE 1e-12

#define LATENCY 7e-6
#define RATE    2e9
#define BYTES   184e6

static cf_net one_node(double latency, double rate)
{
    return (cf_net){.ranks_per_node = 4096,
                    .inside = {latency, rate},
                    .between = {1e3, 1},
                    .host_bytes_per_second = (double)INFINITY};
}

static double seconds(const cf_net *net, int ranks, cf_reduction method, double bytes)
{
    cf_placement at = {.ranks = ranks, .first = 0, .shared = 1};
    return cf_network_sum_seconds(net, &at, method, bytes, NULL);
}

static void assert_close(double found, double expected)
{
    if (fabs(found - expected) > TOLERANCE * fabs(expected))
        print_message("found %.17g, expected %.17g\n", found, expected);
    assert_true(fabs(found - expected) <= TOLERANCE * fabs(expected));
}

static void one_rank_sends_nothing(void **state)
{
    (void)state;
    cf_net net = one_node(LATENCY, RATE);
    for (int m = 0; m < CF_REDUCTIONS; m++)
        assert_true(seconds(&net, 1, (cf_reduction)m, BYTES) == 0);
}

static void ring_moves_the_least_that_any_can(void **state)
{
    (void)state;
    cf_net net = one_node(0, RATE);
    for (int n = 2; n <= 1024; n++) {
        double least = 2.0 * (n - 1) / n * BYTES / RATE;
        assert_close(seconds(&net, n, CF_REDUCTION_RING, BYTES), least);
        assert_close(seconds(&net, n, CF_REDUCTION_SHARES, BYTES), least);
    }
}

static void bandwidth_alone_gives_the_textbook_factors(void **state)
{
    (void)state;
    cf_net net = one_node(0, RATE);
    for (int log = 1; log <= 10; log++) {
        int n = 1 << log;
        assert_close(seconds(&net, n, CF_REDUCTION_HALVING, BYTES),
                     2.0 * (n - 1) / n * BYTES / RATE);
        assert_close(seconds(&net, n, CF_REDUCTION_DOUBLING, BYTES), log * BYTES / RATE);
        assert_close(seconds(&net, n, CF_REDUCTION_TREE, BYTES), 2 * BYTES / RATE);
    }
}

static void latency_alone_counts_the_messages_in_turn(void **state)
{
    (void)state;
    cf_net net = one_node(LATENCY, (double)INFINITY);
    for (int log = 1; log <= 10; log++) {
        int n = 1 << log;
        assert_close(seconds(&net, n, CF_REDUCTION_RING, BYTES), 2.0 * (n - 1) * LATENCY);
        assert_close(seconds(&net, n, CF_REDUCTION_TREE, BYTES), 2.0 * log * LATENCY);
        assert_close(seconds(&net, n, CF_REDUCTION_HALVING, BYTES), 2.0 * log * LATENCY);
        assert_close(seconds(&net, n, CF_REDUCTION_DOUBLING, BYTES), log * LATENCY);
        assert_close(seconds(&net, n, CF_REDUCTION_SHARES, BYTES), 2 * LATENCY);
    }
}

/* Sanders, Speck and Träff: c pieces down a tree of height h take (h - 1 + c)(a + m b / c); the
 * formula is its minimum over c, with h for h - 1, so at most one latency and piece above it. */
static void tree_is_the_best_number_of_pieces(void **state)
{
    (void)state;
    cf_net net = one_node(LATENCY, RATE);
    for (int log = 2; log <= 10; log++) {
        double best = (double)INFINITY, stream = BYTES / RATE;
        for (int c = 1; c <= 20000; c++) best = fmin(best, 2 * (log + c) * (LATENCY + stream / c));
        double found = seconds(&net, 1 << log, CF_REDUCTION_TREE, BYTES);
        assert_true(found <= best * (1 + TOLERANCE));
        assert_true(found >= best * (1 - 1e-6)); /* c is a whole number there */
    }
    /* A short message is not cut. */
    assert_close(seconds(&net, 8, CF_REDUCTION_TREE, 8), 2 * 3 * (LATENCY + 8 / RATE));
}

static void odd_numbers_of_ranks_take_two_steps_more(void **state)
{
    (void)state;
    cf_net net = one_node(LATENCY, RATE);
    double more = 2 * (LATENCY + BYTES / RATE);
    for (int n = 3; n <= 1000; n++) {
        int power = 1;
        while (2 * power <= n) power *= 2;
        if (power == n) continue;
        /* Steps between ranks are the power's. */
        double halving = 0, doubling = 0, m = BYTES / 2;
        for (int d = 1; 2 * d <= n; d *= 2, m /= 2) {
            halving += 2 * (LATENCY + m / RATE);
            doubling += LATENCY + BYTES / RATE;
        }
        assert_close(seconds(&net, n, CF_REDUCTION_HALVING, BYTES), halving + more);
        assert_close(seconds(&net, n, CF_REDUCTION_DOUBLING, BYTES), doubling + more);
    }
}

static void best_is_a_tree_for_little_and_a_ring_for_much(void **state)
{
    (void)state;
    cf_net net = one_node(LATENCY, RATE);
    cf_placement at = {.ranks = 16, .first = 0, .shared = 1};
    cf_reduction taken = CF_REDUCTION_BEST;
    double little = cf_network_sum_seconds(&net, &at, CF_REDUCTION_BEST, 64, &taken);
    assert_int_equal(taken, CF_REDUCTION_TREE);
    assert_close(little, seconds(&net, 16, CF_REDUCTION_TREE, 64));
    double much = cf_network_sum_seconds(&net, &at, CF_REDUCTION_BEST, 1e10, &taken);
    assert_int_equal(taken, CF_REDUCTION_RING);
    assert_close(much, seconds(&net, 16, CF_REDUCTION_RING, 1e10));
}

/* k nodes of g ranks, inside for nothing: halving sends 2 (k-1)/k of the bytes out of each node, a
 * ring 2 (n-1)/n, and everybody's shares g times a ring's (1 - g/n)/(1 - 1/n). */
static void nodes_share_their_link(void **state)
{
    (void)state;
    const cf_net net = {.ranks_per_node = 4,
                        .inside = {0, (double)INFINITY},
                        .between = {0, RATE},
                        .host_bytes_per_second = (double)INFINITY};
    for (int k = 2; k <= 64; k *= 2) {
        double n = 4.0 * k, unit = BYTES / RATE;
        cf_placement at = {.ranks = 4 * k, .first = 0, .shared = 1};
        assert_close(cf_network_sum_seconds(&net, &at, CF_REDUCTION_HALVING, BYTES, NULL),
                     2.0 * (k - 1) / k * unit);
        assert_close(cf_network_sum_seconds(&net, &at, CF_REDUCTION_RING, BYTES, NULL),
                     2 * (n - 1) / n * unit);
        assert_close(cf_network_sum_seconds(&net, &at, CF_REDUCTION_SHARES, BYTES, NULL),
                     2 * 4 * (n - 4) / n * unit);
        at.shared = 2;
        assert_close(cf_network_sum_seconds(&net, &at, CF_REDUCTION_RING, BYTES, NULL),
                     4 * (n - 1) / n * unit);
    }
}

static void ranks_of_one_node_do_not_meet_the_link(void **state)
{
    (void)state;
    cf_net slow = one_node(LATENCY, RATE), fast = slow;
    slow.ranks_per_node = fast.ranks_per_node = 4;
    fast.between = (cf_link){0, (double)INFINITY};
    for (int first = 0; first < 12; first += 4) {
        for (int m = 0; m < CF_REDUCTIONS; m++) {
            cf_placement at = {.ranks = 4, .first = first, .shared = 1};
            double a = cf_network_sum_seconds(&slow, &at, (cf_reduction)m, BYTES, NULL);
            double b = cf_network_sum_seconds(&fast, &at, (cf_reduction)m, BYTES, NULL);
            assert_close(a, b);
        }
    }
    /* One rank further they stand on two nodes. */
    cf_placement across = {.ranks = 4, .first = 1, .shared = 1};
    assert_true(cf_network_sum_seconds(&slow, &across, CF_REDUCTION_RING, BYTES, NULL) > 1e3);
}

static void processors_pay_for_what_they_receive(void **state)
{
    (void)state;
    cf_net net = one_node(LATENCY, RATE);
    assert_true(cf_network_host_seconds(&net, 8, BYTES) == 0);
    net.host_bytes_per_second = 1e9;
    assert_true(cf_network_host_seconds(&net, 1, BYTES) == 0);
    assert_close(cf_network_host_seconds(&net, 8, BYTES), 2.0 * 7 / 8 * BYTES / 1e9);
}

static void impossible_networks_are_refused(void **state)
{
    (void)state;
    cf_net good = one_node(0, (double)INFINITY);
    assert_int_equal(cf_network_check(&good), CF_OK);
    cf_net bad[6] = {good, good, good, good, good, good};
    bad[0].ranks_per_node = 0;
    bad[1].inside.latency_seconds = -1e-9;
    bad[2].inside.bytes_per_second = 0;
    bad[3].between.latency_seconds = (double)NAN;
    bad[4].between.bytes_per_second = (double)NAN;
    bad[5].host_bytes_per_second = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(cf_network_check(&bad[i]), CF_E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank_sends_nothing),
        cmocka_unit_test(ring_moves_the_least_that_any_can),
        cmocka_unit_test(bandwidth_alone_gives_the_textbook_factors),
        cmocka_unit_test(latency_alone_counts_the_messages_in_turn),
        cmocka_unit_test(tree_is_the_best_number_of_pieces),
        cmocka_unit_test(odd_numbers_of_ranks_take_two_steps_more),
        cmocka_unit_test(best_is_a_tree_for_little_and_a_ring_for_much),
        cmocka_unit_test(nodes_share_their_link),
        cmocka_unit_test(ranks_of_one_node_do_not_meet_the_link),
        cmocka_unit_test(processors_pay_for_what_they_receive),
        cmocka_unit_test(impossible_networks_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
