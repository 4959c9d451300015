/* What only a backend with memory and a queue of its own has: images it augments itself, a pixel
 * store, recorded steps, scaled losses, ranges of sums that are ready early. Skipped by name on a
 * backend without. */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "kernels/math/philox.h"

enum { N = 4, SIZE = 18, STORED_H = 25, STORED_W = 22, STORE = N * STORED_H * STORED_W * 3 };

/* A normalised convolution read by another, a pool, and groups: every kind of pass. */
static cf_graph *small_graph(void)
{
    cf_graph *g = graph_new(N, SIZE, SIZE, 3);
    cf_conv conv = {.k = 32, .kernel = 3, .norm = CF_NORM_BATCH, .act = CF_ACT_RELU};
    cf_conv window = {.kernel = 3, .stride = 2};
    int a = graph_conv(g, "stem", 0, -1, conv), pool = -1;
    OK(cf_graph_maxpool(g, "max", a, &window, &pool));
    cf_conv grouped = conv;
    grouped.groups = 8;
    int b = graph_conv(g, "grouped", pool, -1, grouped);
    conv.kernel = 1;
    int c = graph_conv(g, "sum", b, pool, conv);
    graph_head(g, c, 5, 4, 0.1f);
    return g;
}

/* Random pixels, and a map for each image that rotates, reduces, erases and colours. */
typedef struct raw_batch {
    uint8_t *pixels; /* owned, [STORE] */
    cf_raw_image images[N];
    cf_batch batch;
} raw_batch;

static float uniform(cf_rng *rng, float low, float high)
{
    return low + (high - low) * cf_rng_uniform(rng);
}

static void raw_init(raw_batch *r, const fixture *f)
{
    cf_rng rng = cf_rng_at(FIXTURE_SEED, 0, 0, 77, CF_PURPOSE_TEST);
    r->pixels = malloc(STORE);
    assert_non_null(r->pixels);
    for (int i = 0; i < STORE; i++) r->pixels[i] = (uint8_t)cf_rng_below(&rng, 256);
    for (int i = 0; i < N; i++) {
        cf_augment t = {.a = {uniform(&rng, 0.7f, 1.9f), uniform(&rng, -0.3f, 0.3f), 1.5f,
                              uniform(&rng, -0.3f, 0.3f), uniform(&rng, 0.7f, 1.9f), -2.0f},
                        .erase = {3, 4, 3 + i, 9}};
        for (int c = 0; c < 3; c++) {
            t.gain[c] = uniform(&rng, 0.8f, 1.2f);
            t.offset[c] = uniform(&rng, -0.1f, 0.1f);
        }
        r->images[i] = (cf_raw_image){.pixels = r->pixels + i * STORED_H * STORED_W * 3,
                                      .offset = -1,
                                      .height = STORED_H,
                                      .width = STORED_W,
                                      .augment = t};
    }
    r->batch = (cf_batch){.labels = f->labels,
                          .raw = r->images,
                          .n_raw = N,
                          .normalize = {{0.5f, 0.4f, 0.7f}, {4.0f, 3.5f, 5.0f}}};
}

/* The same batch, augmented by the host with the shared formula. */
static void augment_on_host(const raw_batch *r, float *images)
{
    for (int i = 0; i < N; i++) {
        const cf_raw_image *raw = &r->images[i];
        cf_augment_source source =
            cf_augment_source_of(raw->pixels, STORED_H, STORED_W, &raw->augment);
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++, images += 3)
                cf_augment_pixel(&source, &raw->augment, &r->batch.normalize, x, y, images);
    }
}

static void add_batch(fixture *f, const cf_batch *batch, void *sums)
{
    memset(sums, 0, fixture_sums_bytes(f));
    OK(fixture_add(f, f->program, batch, sums, sizeof(int64_t)));
}

static void *new_sums(const fixture *f)
{
    void *sums = calloc(1, fixture_sums_bytes(f));
    assert_non_null(sums);
    return sums;
}

typedef void (*with_fixture)(fixture *f);

static void for_each_type(with_fixture check)
{
    cf_dtype dtypes[3];
    int n = fixture_dtypes(dtypes);
    for (int t = 0; t < n; t++) {
        fixture f;
        fixture_init(&f, small_graph(), dtypes[t], CF_MODE_TRAIN, 1);
        check(&f);
        fixture_fini(&f);
    }
}

/* ---- images -----------------------------------------------------------------------------------
 */

static void check_raw(fixture *f)
{
    raw_batch r;
    void *expected = new_sums(f), *found = new_sums(f);
    raw_init(&r, f);
    augment_on_host(&r, f->images);
    cf_batch ready = {.images = f->images, .labels = f->labels};
    add_batch(f, &ready, expected);
    add_batch(f, &r.batch, found);
    assert_memory_equal(expected, found, fixture_sums_bytes(f));
    bool held = false;
    OK(f->ops->hold_pixels(f->backend, r.pixels, STORE, 0, &held));
    assert_true(held);
    for (int i = 0; i < N; i++) r.images[i].offset = r.images[i].pixels - r.pixels;
    for (int i = 0; i < N; i++) r.images[i].pixels = NULL;
    for (int again = 0; again < 3; again++) {
        add_batch(f, &r.batch, found);
        assert_memory_equal(expected, found, fixture_sums_bytes(f));
    }
    free(r.pixels);
    free(found);
    free(expected);
}

/* Augmented by the host, by the device from pixels that come along, and from its pixel store. */
static void images_give_the_same_bits_from_anywhere(void **state)
{
    (void)state;
    if (!fixture_ops()->augments) skip();
    for_each_type(check_raw);
}

static void store_that_does_not_fit_is_not_held(void **state)
{
    (void)state;
    if (fixture_ops()->hold_pixels == NULL) skip();
    fixture f;
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_TRAIN, 1);
    static uint8_t pixels[STORE];
    size_t free_bytes = 0, total = 0;
    bool held = true;
    OK(f.ops->memory(f.backend, &free_bytes, &total));
    assert_in_range(free_bytes, 1, total);
    OK(f.ops->hold_pixels(f.backend, pixels, STORE, total, &held));
    assert_false(held);
    fixture_fini(&f);
}

static void short_batch_gives_the_logits_of_its_images(void **state)
{
    (void)state;
    if (!fixture_ops()->augments) skip();
    fixture f;
    raw_batch r;
    float whole[N * 5], part[N * 5];
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_INFER, 1);
    raw_init(&r, &f);
    OK(f.ops->infer(f.program, &r.batch, whole));
    for (r.batch.n_raw = 1; r.batch.n_raw < N; r.batch.n_raw++) {
        OK(f.ops->infer(f.program, &r.batch, part));
        assert_memory_equal(whole, part, (size_t)r.batch.n_raw * 5 * sizeof *part);
    }
    free(r.pixels);
    fixture_fini(&f);
}

/* ---- steps ------------------------------------------------------------------------------------
 */

/* Recordings are kept by buffer of sums; more buffers than are kept. */
static void check_recordings(fixture *f)
{
    enum { BUFFERS = 6 };
    cf_batch batch = {.images = f->images, .labels = f->labels};
    size_t bytes = fixture_sums_bytes(f);
    void *expected = new_sums(f), *found = new_sums(f), *buffers[BUFFERS];
    add_batch(f, &batch, expected);
    for (int i = 0; i < BUFFERS; i++) buffers[i] = fixture_upload(f->ops, f->backend, NULL, bytes);
    for (int i = 0; i < 2 * BUFFERS + 1; i++) {
        void *sums = buffers[i * 5 % BUFFERS];
        OK(f->ops->zero(f->backend, sums, bytes));
        OK(f->ops->train(f->program, &batch, sums));
        OK(f->ops->copy_out(f->backend, found, sums, bytes));
        assert_memory_equal(expected, found, bytes);
    }
    for (int i = 0; i < BUFFERS; i++) f->ops->free(f->backend, buffers[i]);
    free(found);
    free(expected);
}

static void steps_into_many_buffers_give_the_same_bits(void **state)
{
    (void)state;
    if (!fixture_ops()->on_device) skip();
    for_each_type(check_recordings);
}

/* A power of two goes through every product and rounding unchanged. fp16 has too few exponents for
 * that: its gradients underflow without a scale, which is what it is for. */
static void check_scale(fixture *f)
{
    if (f->dtype == CF_F16) return;
    cf_batch batch = {.images = f->images, .labels = f->labels};
    void *expected = new_sums(f), *found = new_sums(f);
    OK(f->ops->set_scale(f->program, 1.0f));
    add_batch(f, &batch, expected);
    for (float scale = 0.25f; scale < 1e5f; scale *= 64.0f) {
        OK(f->ops->set_scale(f->program, scale));
        add_batch(f, &batch, found);
        assert_memory_equal(expected, found, fixture_sums_bytes(f));
    }
    free(found);
    free(expected);
}

static void scaled_loss_gives_the_same_bits(void **state)
{
    (void)state;
    if (fixture_ops()->set_scale == NULL) skip();
    for_each_type(check_scale);
}

static void overflow_of_a_scaled_loss_raises_the_flag(void **state)
{
    (void)state;
    if (fixture_ops()->set_scale == NULL) skip();
    fixture f;
    fixture_init(&f, small_graph(), CF_F16, CF_MODE_TRAIN, 1);
    cf_batch batch = {.images = f.images, .labels = f.labels};
    int64_t *sums = new_sums(&f);
    OK(f.ops->set_scale(f.program, 16777216.0f)); /* gradients of 0.01 and above overflow */
    assert_int_equal(fixture_add(&f, f.program, &batch, sums, sizeof *sums), CF_E_NUMERIC);
    assert_non_null(strstr(cf_err_text(), "gradient of"));
    assert_int_not_equal(sums[cf_sums_count(f.g)], 0);
    OK(f.ops->set_scale(f.program, 1024.0f));
    add_batch(&f, &batch, sums);
    assert_int_equal(sums[cf_sums_count(f.g)], 0);
    free(sums);
    fixture_fini(&f);
}

static void ready_ranges_cover_the_sums_once(void **state)
{
    (void)state;
    if (fixture_ops()->ready == NULL) skip();
    fixture f;
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_TRAIN, 1);
    const cf_ready *ranges = NULL;
    int n = f.ops->ready(f.program, &ranges);
    int64_t count = cf_sums_count(f.g) + 1;
    uint8_t *covered = calloc((size_t)count, 1);
    assert_non_null(covered);
    assert_true(n > 1);
    for (int i = 0; i < n; i++) {
        assert_true(ranges[i].first >= 0 && ranges[i].count > 0);
        assert_true(ranges[i].first + ranges[i].count <= count);
        for (int64_t k = 0; k < ranges[i].count; k++) covered[ranges[i].first + k]++;
    }
    for (int64_t k = 0; k < count; k++) assert_int_equal(covered[k], 1);
    /* The flag's range is the last: it may be raised until the end. */
    assert_int_equal(ranges[n - 1].first + ranges[n - 1].count, count);
    free(covered);
    fixture_fini(&f);
}

static void timed_program_gives_the_same_bits(void **state)
{
    (void)state;
    if (!fixture_ops()->on_device) skip();
    fixture f;
    fixture_init(&f, small_graph(), CF_F32, CF_MODE_TRAIN, 1);
    cf_batch batch = {.images = f.images, .labels = f.labels};
    cf_compile_options o = {.mode = CF_MODE_TRAIN, .dtype = CF_F32, .timed = true};
    cf_program *timed = NULL;
    const char *const *names = NULL;
    const int64_t *ns = NULL;
    void *expected = new_sums(&f), *found = new_sums(&f);
    OK(f.ops->compile(f.backend, f.g, &f.plan, &o, &timed));
    fixture_set_weights(&f, timed);
    add_batch(&f, &batch, expected);
    for (int again = 0; again < 2; again++) {
        memset(found, 0, fixture_sums_bytes(&f));
        OK(fixture_add(&f, timed, &batch, found, sizeof(int64_t)));
        assert_memory_equal(expected, found, fixture_sums_bytes(&f));
    }
    assert_true(f.ops->phases(timed, &names, &ns) > 4);
    assert_int_equal(f.ops->phases(f.program, &names, &ns), 0);
    f.ops->release(timed);
    free(found);
    free(expected);
    fixture_fini(&f);
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static void memory_that_is_not_there_is_refused(void **state)
{
    (void)state;
    const cf_backend_ops *ops = fixture_ops();
    if (ops->memory == NULL) skip();
    cf_backend *b = NULL;
    size_t free_bytes = 0, total = 0;
    void *p = NULL;
    OK(ops->open(-1, 1, &b));
    OK(ops->memory(b, &free_bytes, &total));
    assert_int_equal(ops->alloc(b, 2 * total, &p), CF_E_DEVICE);
    assert_non_null(strstr(cf_err_text(), "out of memory"));
    OK(ops->alloc(b, 1024, &p)); /* the refusal left nothing behind */
    ops->free(b, p);
    ops->close(b);
}

static void device_that_is_not_there_is_refused(void **state)
{
    (void)state;
    const cf_backend_ops *ops = fixture_ops();
    if (ops->count == NULL) skip();
    cf_backend *b = NULL;
    assert_int_equal(ops->open(ops->count(), 1, &b), CF_E_DEVICE);
    assert_null(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_give_the_same_bits_from_anywhere),
        cmocka_unit_test(store_that_does_not_fit_is_not_held),
        cmocka_unit_test(short_batch_gives_the_logits_of_its_images),
        cmocka_unit_test(steps_into_many_buffers_give_the_same_bits),
        cmocka_unit_test(scaled_loss_gives_the_same_bits),
        cmocka_unit_test(overflow_of_a_scaled_loss_raises_the_flag),
        cmocka_unit_test(ready_ranges_cover_the_sums_once),
        cmocka_unit_test(timed_program_gives_the_same_bits),
        cmocka_unit_test(memory_that_is_not_there_is_refused),
        cmocka_unit_test(device_that_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
