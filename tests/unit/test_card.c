/* Memory on a card that does not exist: estimates, refusals, turns of holding the images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake_cells.h"
#include "worker/card.h"
#include "worker/memory.h"
#include "worker/models.h"

typedef struct fixture {
    cf_config config;
    cf_backend_ops ops;
    cf_engine engine; /* its backend is the fixture's `card` */
} fixture;

/* A card: all that the functions under test can see of one. */
typedef struct card {
    size_t free_bytes;
    size_t held_bytes, reserve; /* as asked for */
    const void *pixels;
} card;

static cf_err memory(cf_backend *b, size_t *free_bytes, size_t *total_bytes)
{
    const card *c = (const card *)b;
    *free_bytes = c->free_bytes;
    *total_bytes = 2 * c->free_bytes;
    return CF_OK;
}

static cf_err hold_pixels(cf_backend *b, const void *pixels, size_t bytes, size_t reserve,
                          bool *held)
{
    card *c = (card *)b;
    c->pixels = pixels;
    c->held_bytes = bytes;
    c->reserve = reserve;
    *held = bytes + reserve <= c->free_bytes;
    return CF_OK;
}

static void fixture_init(fixture *f, card *c)
{
    static const char *const sets[] = {"model.outputs=7",      "model.image_size=96",
                                       "model.depths=[1, 2]",  "train.batch=96",
                                       "train.micro_batch=48", "train.ema=0.99"};
    memset(f, 0, sizeof *f);
    cf_config_defaults(&f->config);
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        assert_int_equal(cf_config_set(&f->config, sets[i]), CF_OK);
    assert_int_equal(cf_config_validate(&f->config), CF_OK);
    f->ops = (cf_backend_ops){.name = "card",
                              .on_device = true,
                              .augments = true,
                              .memory = memory,
                              .hold_pixels = hold_pixels};
    f->engine = (cf_engine){.config = &f->config, .ops = &f->ops, .backend = (cf_backend *)c};
    assert_int_equal(cf_model_build(&f->config, NULL, 48, &f->engine.graph), CF_OK);
}

static int64_t estimate_of(fixture *f, int64_t micro, int n_folds)
{
    cf_graph *g = NULL;
    cf_card_memory m;
    assert_int_equal(cf_model_build(&f->config, NULL, micro, &g), CF_OK);
    assert_int_equal(cf_card_memory_estimate(&f->config, g, n_folds, &m), CF_OK);
    assert_int_equal(m.total,
                     m.models + m.sums + m.arenas + m.packed + m.images + m.scratch + m.library);
    cf_graph_destroy(g);
    return m.total;
}

static void another_fold_costs_its_models_alone(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, NULL);
    const cf_graph *g = f.engine.graph;
    /* adam: weights, two moments; state; averages of weights and state */
    int64_t fold = 4 * (3 * g->n_weights + g->n_state + g->n_weights + g->n_state);
    assert_int_equal(estimate_of(&f, 48, 2) - estimate_of(&f, 48, 1), fold);
    assert_int_equal(estimate_of(&f, 48, 5) - estimate_of(&f, 48, 1), 4 * fold);
    cf_graph_destroy(f.engine.graph);
}

static void the_largest_divisor_that_fits_is_found(void **state)
{
    (void)state;
    static const int64_t divisors[] = {32, 24, 16, 12, 8, 6, 4, 3, 2, 1}; /* of 96, below 48 */
    fixture f;
    fixture_init(&f, NULL);
    for (size_t i = 0; i < sizeof divisors / sizeof divisors[0]; i++) {
        cf_card_memory m;
        int64_t micro = -1, bytes = estimate_of(&f, divisors[i], 3);
        assert_int_equal(cf_card_memory_fit(&f.config, NULL, 3, bytes, &micro, &m), CF_OK);
        assert_int_equal(micro, divisors[i]);
        assert_int_equal(m.total, bytes);
        int64_t next = i + 1 < sizeof divisors / sizeof divisors[0] ? divisors[i + 1] : 0;
        assert_int_equal(cf_card_memory_fit(&f.config, NULL, 3, bytes - 1, &micro, &m), CF_OK);
        assert_int_equal(micro, next);
    }
    cf_graph_destroy(f.engine.graph);
}

static void assert_said(const char *part)
{
    if (strstr(cf_err_text(), part) == NULL) fail_msg("no \"%s\" in: %s", part, cf_err_text());
}

static void a_run_that_does_not_fit_is_refused_with_one_that_would(void **state)
{
    (void)state;
    card c = {0};
    fixture f;
    char bytes[64];
    const cf_seat seat = {.host = "node7", .device = "0000:01", .rank = 3};
    fixture_init(&f, &c);
    int64_t needed = estimate_of(&f, 48, 2);
    c.free_bytes = (size_t)needed;
    assert_int_equal(cf_card_check(&f.engine, NULL, 2, &seat, 1), CF_OK);
    c.free_bytes = (size_t)needed - 1;
    assert_int_equal(cf_card_check(&f.engine, NULL, 2, &seat, 1), CF_E_DEVICE);
    assert_said("rank 3 on host node7");
    assert_said("train.micro_batch 32 would fit");
    snprintf(bytes, sizeof bytes, "%lld bytes", (long long)needed);
    assert_said(bytes);
    snprintf(bytes, sizeof bytes, "%zu bytes) are free", c.free_bytes);
    assert_said(bytes);
    c.free_bytes = 1000;
    assert_int_equal(cf_card_check(&f.engine, NULL, 2, &seat, 1), CF_E_DEVICE);
    assert_said("no micro-batch of train.batch 96 would fit");
    cf_graph_destroy(f.engine.graph);
}

static void workers_of_one_card_share_its_memory(void **state)
{
    (void)state;
    card c = {0};
    fixture f;
    const cf_seat seat = {.host = "node7", .device = "0000:01"};
    fixture_init(&f, &c);
    c.free_bytes = 3 * (size_t)estimate_of(&f, 48, 1);
    assert_int_equal(cf_card_check(&f.engine, NULL, 1, &seat, 3), CF_OK);
    assert_int_equal(cf_card_check(&f.engine, NULL, 1, &seat, 4), CF_E_DEVICE);
    assert_said("4 workers");
    cf_graph_destroy(f.engine.graph);
}

/* Of a sweep's other lanes: what is free tells little of what they will take. */
static void strangers_on_a_card_leave_an_equal_part_of_all_of_it(void **state)
{
    (void)state;
    card c = {0};
    fixture f;
    cf_seat seat = {.host = "node7", .device = "0000:01"};
    fixture_init(&f, &c);
    c.free_bytes = (size_t)estimate_of(&f, 48, 1); /* of twice as many */
    seat.strangers = 1;
    assert_int_equal(cf_card_check(&f.engine, NULL, 1, &seat, 1), CF_OK);
    seat.strangers = 2;
    assert_int_equal(cf_card_check(&f.engine, NULL, 1, &seat, 1), CF_E_DEVICE);
    assert_said("3 workers");
    c.free_bytes *= 2;
    assert_int_equal(cf_card_check(&f.engine, NULL, 1, &seat, 1), CF_OK);
    seat.strangers = 0;
    c.free_bytes /= 2;
    assert_int_equal(cf_card_check(&f.engine, NULL, 1, &seat, 1), CF_OK);
    cf_graph_destroy(f.engine.graph);
}

static void images_are_held_where_they_fit(void **state)
{
    (void)state;
    static const int32_t labels[3] = {0, 1, 0};
    card c = {.free_bytes = (size_t)8 << 30};
    cf_seat seat = {.host = "node7", .device = "0000:01"};
    fixture f;
    cf_cells cells;
    cf_comm *self = NULL;
    cf_raw_room room;
    fixture_init(&f, &c);
    assert_true(fake_cells_init(&cells, labels, 3, 2, 10));
    assert_int_equal(cf_comm_self_create(&self), CF_OK);
    assert_int_equal(cf_card_hold(self, &f.engine, &cells, &seat, &room), CF_OK);
    assert_true(room.held);
    assert_int_equal(c.held_bytes, 3 * 10 * 10 * 3);
    assert_ptr_equal(c.pixels, cf_cells_image(&cells, 0));
    assert_true(c.reserve > 0);
    seat.strangers = 1; /* they would not find room for their next point */
    assert_int_equal(cf_card_hold(self, &f.engine, &cells, &seat, &room), CF_OK);
    assert_false(room.held);
    seat.strangers = 0;
    c.free_bytes = c.reserve;
    assert_int_equal(cf_card_hold(self, &f.engine, &cells, &seat, &room), CF_OK);
    assert_false(room.held);
    self->ops->destroy(self);
    fake_cells_fini(&cells);
    cf_graph_destroy(f.engine.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_fold_costs_its_models_alone),
        cmocka_unit_test(the_largest_divisor_that_fits_is_found),
        cmocka_unit_test(a_run_that_does_not_fit_is_refused_with_one_that_would),
        cmocka_unit_test(workers_of_one_card_share_its_memory),
        cmocka_unit_test(strangers_on_a_card_leave_an_equal_part_of_all_of_it),
        cmocka_unit_test(images_are_held_where_they_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
