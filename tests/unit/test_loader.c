#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake_cells.h"
#include "worker/data/loader.h"

enum { N = 37, SIDE = 20, SIZE = 16, BATCH = 5, FLOATS = SIZE * SIZE * 3, REQUESTS = 200 };

typedef struct fixture {
    cf_cells cells;
    cf_config config;
    int64_t images[REQUESTS][BATCH];
    cf_request requests[REQUESTS];
} fixture;

static cf_config config_of(int threads, int prefetch)
{
    cf_config config;
    cf_config_defaults(&config);
    config.model_image_size = SIZE;
    config.augment_rotation = 90;
    config.augment_brightness = 0.3;
    config.run_loader_threads = threads;
    config.run_prefetch = prefetch;
    return config;
}

static void fixture_init(fixture *f)
{
    int32_t labels[N];
    for (int i = 0; i < N; i++) labels[i] = i % 4;
    assert_true(fake_cells_init(&f->cells, labels, N, 4, SIDE));
    cf_rng rng = cf_rng_at(8, 0, 0, 0, CF_PURPOSE_TEST);
    for (int r = 0; r < REQUESTS; r++) {
        for (int i = 0; i < BATCH; i++) f->images[r][i] = cf_rng_below(&rng, N);
        f->requests[r] = (cf_request){.images = f->images[r],
                                      .n_images = 1 + (int)cf_rng_below(&rng, BATCH),
                                      .augment = (int)cf_rng_below(&rng, 2),
                                      .fold = r % 3,
                                      .epoch = r / 7,
                                      .first_draw = r * BATCH};
    }
}

/* What a batch must hold, from the request alone. */
static void assert_batch(const fixture *f, const cf_request *r, const cf_prepared *b)
{
    cf_normalize norm;
    float expected[FLOATS];
    cf_normalize_from(&f->config, &norm);
    assert_int_equal(b->n_images, r->n_images);
    for (int i = 0; i < BATCH; i++) {
        cf_augment t;
        if (i >= r->n_images) {
            memset(expected, 0, sizeof expected);
        } else {
            if (r->augment)
                cf_augment_draw(&f->config, SIDE, SIDE, r->fold, r->epoch, r->first_draw + i, &t);
            else
                cf_augment_plain(&f->config, SIDE, SIDE, &t);
            cf_augment_apply(cf_cells_image(&f->cells, r->images[i]), SIDE, SIDE, &t, &norm, SIZE,
                             expected);
        }
        assert_memory_equal(b->images + (size_t)i * FLOATS, expected, sizeof expected);
        assert_int_equal(b->labels[i], i < r->n_images ? f->cells.labels[r->images[i]] : 0);
    }
}

/* A raw batch, applied as a backend would: pixels and map give the same image. */
static void assert_raw_batch(const fixture *f, const cf_request *r, const cf_prepared *b, bool held)
{
    static float images[BATCH * FLOATS];
    cf_batch batch = cf_prepared_batch(b, CF_MODE_TRAIN);
    assert_null(batch.images);
    assert_int_equal(batch.n_raw, r->n_images);
    memset(images, 0, sizeof images);
    for (int i = 0; i < batch.n_raw; i++) {
        const cf_raw_image *raw = &batch.raw[i];
        const uint8_t *pixels = raw->pixels;
        assert_int_equal(raw->height, SIDE);
        assert_int_equal(raw->width, SIDE);
        assert_int_equal(raw->offset, held ? r->images[i] * SIDE * SIDE * 3 : -1);
        if (held) pixels = cf_cells_image(&f->cells, 0) + raw->offset;
        cf_augment_apply(pixels, SIDE, SIDE, &raw->augment, &batch.normalize, SIZE,
                         images + (size_t)i * FLOATS);
    }
    cf_prepared whole = *b;
    whole.images = images;
    assert_batch(f, r, &whole);
}

typedef struct pinned {
    int n_blocks;
} pinned;

static cf_err alloc_host(void *ctx, size_t bytes, void **out)
{
    ((pinned *)ctx)->n_blocks++;
    *out = malloc(bytes);
    return *out != NULL ? CF_OK : CF_E_UNEXPECTED;
}

static void free_host(void *ctx, void *p)
{
    ((pinned *)ctx)->n_blocks--;
    free(p);
}

static void raw_batches_hold_pixels_and_the_same_map(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    f.config = config_of(3, 4);
    for (int held = 0; held < 2; held++) {
        cf_loader *l;
        pinned memory = {0};
        const cf_raw_room room = {held, &memory, alloc_host, free_host};
        assert_int_equal(cf_loader_create_raw(&f.cells, &f.config, BATCH, &room, &l), CF_OK);
        assert_int_equal(memory.n_blocks, held ? 0 : 4);
        for (int r = 0; r < REQUESTS; r++)
            assert_int_equal(cf_loader_request(l, &f.requests[r]), CF_OK);
        for (int r = 0; r < REQUESTS; r++) {
            cf_prepared batch;
            int64_t wait;
            assert_int_equal(cf_loader_next(l, &batch, &wait), CF_OK);
            assert_raw_batch(&f, &f.requests[r], &batch, held);
        }
        cf_loader_destroy(l);
        assert_int_equal(memory.n_blocks, 0);
    }
    fake_cells_fini(&f.cells);
}

static void damaged_image_is_named_in_raw_mode_too(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    static const int64_t bad[2] = {3, 11};
    const cf_request request = {.images = bad, .n_images = 2, .augment = 1};
    const cf_raw_room room = {.held = true};
    cf_loader *l;
    cf_prepared batch;
    int64_t wait;
    f.config = config_of(1, 2);
    fake_cells_pixels(&f.cells, 11)[100] ^= 1;
    assert_int_equal(cf_loader_create_raw(&f.cells, &f.config, BATCH, &room, &l), CF_OK);
    assert_int_equal(cf_loader_request(l, &request), CF_OK);
    assert_int_equal(cf_loader_next(l, &batch, &wait), CF_E_DATA);
    if (!strstr(cf_err_text(), f.cells.ids[11])) fail_msg("no id in: %s", cf_err_text());
    cf_loader_destroy(l);
    fake_cells_fini(&f.cells);
}

/* All requests at once, then all batches, with every mix of threads and slots. */
static void batches_come_in_order_whatever_the_threads(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    for (int threads = 1; threads <= 4; threads++) {
        for (int prefetch = 1; prefetch <= 7; prefetch += 3) {
            cf_loader *l;
            f.config = config_of(threads, prefetch);
            assert_int_equal(cf_loader_create(&f.cells, &f.config, BATCH, &l), CF_OK);
            for (int r = 0; r < REQUESTS; r++)
                assert_int_equal(cf_loader_request(l, &f.requests[r]), CF_OK);
            for (int r = 0; r < REQUESTS; r++) {
                cf_prepared batch;
                int64_t wait;
                assert_int_equal(cf_loader_next(l, &batch, &wait), CF_OK);
                assert_true(wait >= 0);
                assert_batch(&f, &f.requests[r], &batch);
            }
            cf_loader_destroy(l);
        }
    }
    fake_cells_fini(&f.cells);
}

static void requests_may_come_between_batches(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    cf_loader *l;
    f.config = config_of(2, 3);
    assert_int_equal(cf_loader_create(&f.cells, &f.config, BATCH, &l), CF_OK);
    cf_rng rng = cf_rng_at(9, 0, 0, 0, CF_PURPOSE_TEST);
    int asked = 0, taken = 0;
    while (taken < REQUESTS) {
        int more = asked < REQUESTS && (asked == taken || cf_rng_below(&rng, 2));
        if (more) {
            assert_int_equal(cf_loader_request(l, &f.requests[asked++]), CF_OK);
            continue;
        }
        cf_prepared batch;
        int64_t wait;
        assert_int_equal(cf_loader_next(l, &batch, &wait), CF_OK);
        assert_batch(&f, &f.requests[taken++], &batch);
    }
    cf_loader_destroy(l);
    fake_cells_fini(&f.cells);
}

static void batch_stays_whole_until_the_next_call(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    cf_loader *l;
    f.config = config_of(4, 2);
    assert_int_equal(cf_loader_create(&f.cells, &f.config, BATCH, &l), CF_OK);
    for (int r = 0; r < 40; r++) assert_int_equal(cf_loader_request(l, &f.requests[r]), CF_OK);
    for (int r = 0; r < 40; r++) {
        cf_prepared batch;
        int64_t wait;
        assert_int_equal(cf_loader_next(l, &batch, &wait), CF_OK);
        /* the other threads run on meanwhile: the batch must be the same at the second look */
        assert_batch(&f, &f.requests[r], &batch);
        assert_batch(&f, &f.requests[r], &batch);
    }
    cf_loader_destroy(l);
    fake_cells_fini(&f.cells);
}

static void stopping_in_the_middle_leaves_nothing_behind(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    for (int taken = 0; taken < 6; taken++) {
        cf_loader *l;
        f.config = config_of(3, 4);
        assert_int_equal(cf_loader_create(&f.cells, &f.config, BATCH, &l), CF_OK);
        for (int r = 0; r < REQUESTS; r++)
            assert_int_equal(cf_loader_request(l, &f.requests[r]), CF_OK);
        for (int r = 0; r < taken; r++) {
            cf_prepared batch;
            int64_t wait;
            assert_int_equal(cf_loader_next(l, &batch, &wait), CF_OK);
        }
        cf_loader_destroy(l); /* joins: a thread left over would touch freed memory under ASan */
    }
    cf_loader_destroy(NULL);
    fake_cells_fini(&f.cells);
}

static void damaged_image_is_named_and_the_others_go_on(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    cf_loader *l;
    f.config = config_of(2, 3);
    fake_cells_pixels(&f.cells, 11)[100] ^= 1;
    static const int64_t good[2] = {1, 2}, bad[2] = {3, 11};
    cf_request first = {.images = good, .n_images = 2}, second = {.images = bad, .n_images = 2};
    cf_prepared batch;
    int64_t wait;
    assert_int_equal(cf_loader_create(&f.cells, &f.config, BATCH, &l), CF_OK);
    assert_int_equal(cf_loader_request(l, &first), CF_OK);
    assert_int_equal(cf_loader_request(l, &second), CF_OK);
    assert_int_equal(cf_loader_request(l, &first), CF_OK);
    assert_int_equal(cf_loader_next(l, &batch, &wait), CF_OK);
    assert_int_equal(cf_loader_next(l, &batch, &wait), CF_E_DATA);
    if (!strstr(cf_err_text(), f.cells.ids[11])) fail_msg("no id in: %s", cf_err_text());
    assert_int_equal(cf_loader_next(l, &batch, &wait), CF_OK);
    assert_batch(&f, &first, &batch);
    cf_loader_destroy(l);
    fake_cells_fini(&f.cells);
}

static void impossible_requests_are_refused(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    cf_loader *l;
    f.config = config_of(1, 2);
    static const int64_t outside[1] = {N}, negative[1] = {-1};
    cf_request requests[] = {{.images = outside, .n_images = 1},
                             {.images = negative, .n_images = 1},
                             {.images = f.images[0]},
                             {.images = f.images[0], .n_images = BATCH + 1}};
    cf_prepared batch;
    int64_t wait;
    assert_int_equal(cf_loader_create(&f.cells, &f.config, 0, &l), CF_E_UNEXPECTED);
    f.config.model_image_size = CF_AUGMENT_MAX_SIZE + 1;
    assert_int_equal(cf_loader_create(&f.cells, &f.config, BATCH, &l), CF_E_USAGE);
    f.config.model_image_size = SIZE;
    assert_int_equal(cf_loader_create(&f.cells, &f.config, BATCH, &l), CF_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(cf_loader_request(l, &requests[i]), CF_E_UNEXPECTED);
    /* nothing was queued: to wait would be to wait for ever */
    assert_int_equal(cf_loader_next(l, &batch, &wait), CF_E_UNEXPECTED);
    cf_loader_destroy(l);
    fake_cells_fini(&f.cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_in_order_whatever_the_threads),
        cmocka_unit_test(requests_may_come_between_batches),
        cmocka_unit_test(batch_stays_whole_until_the_next_call),
        cmocka_unit_test(stopping_in_the_middle_leaves_nothing_behind),
        cmocka_unit_test(damaged_image_is_named_and_the_others_go_on),
        cmocka_unit_test(impossible_requests_are_refused),
        cmocka_unit_test(raw_batches_hold_pixels_and_the_same_map),
        cmocka_unit_test(damaged_image_is_named_in_raw_mode_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
