/* The window maximum of a network that is asked, which keeps no winners, has the bits of the one
 * that is trained: few channels and many, odd sides, and values that compare like nothing else. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu/pool.h"
#include "kernels/math/philox.h"

enum { IMAGES = 2, SEED = 6, MARK = 0x5a, BEHIND = 64 };

/* bf16: any bits, of which one in eight are NaN, an infinity or a zero of either sign. */
static uint16_t draw(cf_rng *rng)
{
    static const uint16_t odd[6] = {0x7fc0, 0xffc1, 0x7f80, 0xff80, 0x0000, 0x8000};
    if (cf_rng_below(rng, 8) == 0) return odd[cf_rng_below(rng, 6)];
    uint16_t bits = (uint16_t)cf_rng_below(rng, 65536);
    return (bits & 0x7f80) == 0x7f80 ? 0x3f80 : bits;
}

static cf_node node_of(int64_t side, int channels, int kernel, int stride, int pad)
{
    int64_t out = (side + 2 * pad - kernel) / stride + 1;
    return (cf_node){
        .in_shape = {IMAGES, side, side + 1, channels},
        .out_shape = {IMAGES, out, (side + 1 + 2 * pad - kernel) / stride + 1, channels},
        .conv = {.kernel = kernel, .stride = stride},
        .pad_top = pad,
        .pad_left = pad};
}

static void check(const cf_node *node, cf_rng *rng)
{
    const cf_shape *i = &node->in_shape, *o = &node->out_shape;
    size_t n_in = (size_t)(i->n * i->h * i->w * i->c), n = (size_t)(o->n * o->h * o->w * o->c);
    uint16_t *in = calloc(n_in, sizeof *in);
    uint8_t *asked = malloc(2 * n + BEHIND), *trained = malloc(2 * n + BEHIND);
    uint8_t *winner = malloc((size_t)(IMAGES * cf_pool_winners(node)));
    assert_true(in != NULL && asked != NULL && trained != NULL && winner != NULL);
    for (size_t k = 0; k < n_in; k++) in[k] = draw(rng);
    memset(asked, MARK, 2 * n + BEHIND);
    memset(trained, MARK, 2 * n + BEHIND);
    cf_pool p = {.node = node, .n_images = IMAGES, .dtype = CF_BF16, .in = in, .out = trained};
    p.winner = winner;
    cf_pool_max(&p);
    p.winner = NULL;
    p.out = asked;
    cf_pool_max(&p);
    assert_memory_equal(asked, trained, 2 * n + BEHIND);
    free(winner);
    free(trained);
    free(asked);
    free(in);
}

static void maxima_do_not_depend_on_keeping_winners(void **state)
{
    (void)state;
    static const int channels[] = {3, 8, 16, 24, 32, 40};
    print_message("seed %d\n", SEED);
    cf_rng rng = cf_rng_at(SEED, 0, 0, 0, CF_PURPOSE_TEST);
    for (size_t k = 0; k < sizeof channels / sizeof channels[0]; k++)
        for (int64_t side = 2; side < 21; side++) {
            cf_node two = node_of(side, channels[k], 2, 2, 0);
            cf_node close = node_of(side, channels[k], 2, 1, 0);
            cf_node three = node_of(side, channels[k], 3, 2, 1);
            check(&two, &rng);
            check(&close, &rng);
            check(&three, &rng);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(maxima_do_not_depend_on_keeping_winners)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
