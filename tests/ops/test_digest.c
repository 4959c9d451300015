/* The digest of a backend's flat buffers: what replicas are compared by. */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "kernels/math/digest.h"
#include "kernels/math/philox.h"

/* More than a block and no multiple of anything. */
enum { N = 20011, FLIPS = 100 };

typedef struct bench {
    const cf_backend_ops *ops;
    cf_backend *b;
    float *host, *there;
} bench;

static void bench_init(bench *x, int n_threads)
{
    x->ops = fixture_ops();
    OK(x->ops->open(-1, n_threads, &x->b));
    x->host = malloc(N * sizeof *x->host);
    assert_non_null(x->host);
    cf_rng rng = cf_rng_at(FIXTURE_SEED, 0, 0, 9, CF_PURPOSE_TEST);
    for (int i = 0; i < N; i++) x->host[i] = i % 7 == 0 ? 0.0f : cf_rng_uniform(&rng) - 0.5f;
    x->there = fixture_upload(x->ops, x->b, x->host, N * sizeof *x->host);
}

static void bench_fini(bench *x)
{
    x->ops->free(x->b, x->there);
    x->ops->close(x->b);
    free(x->host);
}

static uint64_t digest(const bench *x, int64_t at, int64_t n, uint64_t first)
{
    uint64_t sum = 12345;
    OK(x->ops->digest(x->b, x->there + at, n, first, &sum));
    return sum;
}

static uint64_t expected(const float *host, int64_t n, uint64_t first)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &host[i], sizeof bits);
        sum += cf_digest_element(bits, first + (uint64_t)i);
    }
    return sum;
}

static void digest_is_the_sum_over_all_elements_on_any_number_of_threads(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        bench x;
        bench_init(&x, threads);
        assert_true(digest(&x, 0, N, 0) == expected(x.host, N, 0));
        assert_true(digest(&x, 0, 1, 77) == expected(x.host, 1, 77));
        assert_true(digest(&x, 0, 0, 3) == 0);
        bench_fini(&x);
    }
}

static void parts_add_up_to_the_whole(void **state)
{
    (void)state;
    bench x;
    bench_init(&x, 2);
    uint64_t parts = digest(&x, 0, 300, 0) + digest(&x, 300, N - 300, 300);
    assert_true(parts == digest(&x, 0, N, 0));
    bench_fini(&x);
}

static void any_flipped_bit_shows(void **state)
{
    (void)state;
    bench x;
    bench_init(&x, 2);
    uint64_t before = digest(&x, 0, N, 0);
    cf_rng rng = cf_rng_at(FIXTURE_SEED, 0, 1, 9, CF_PURPOSE_TEST);
    for (int i = 0; i < FLIPS; i++) {
        uint32_t at = cf_rng_below(&rng, N), bits;
        memcpy(&bits, &x.host[at], sizeof bits);
        bits ^= 1u << cf_rng_below(&rng, 32);
        OK(x.ops->copy_in(x.b, x.there + at, &bits, sizeof bits));
        assert_true(digest(&x, 0, N, 0) != before);
        OK(x.ops->copy_in(x.b, x.there + at, &x.host[at], sizeof bits));
    }
    assert_true(digest(&x, 0, N, 0) == before);
    bench_fini(&x);
}

static void exchanged_elements_show(void **state)
{
    (void)state;
    bench x;
    bench_init(&x, 1);
    uint64_t before = digest(&x, 0, N, 0);
    OK(x.ops->copy_in(x.b, x.there + 10, &x.host[11], sizeof *x.host));
    OK(x.ops->copy_in(x.b, x.there + 11, &x.host[10], sizeof *x.host));
    assert_true(digest(&x, 0, N, 0) != before);
    bench_fini(&x);
}

int main(void)
{
    print_message("seed %d\n", FIXTURE_SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digest_is_the_sum_over_all_elements_on_any_number_of_threads),
        cmocka_unit_test(parts_add_up_to_the_whole),
        cmocka_unit_test(any_flipped_bit_shows),
        cmocka_unit_test(exchanged_elements_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
