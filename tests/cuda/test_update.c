/* The optimizer on the device gives the CPU's bits: the formulas are shared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernels/cpu/update.h"
#include "kernels/cuda/kernels.h"
#include "upload.h"

/* Not multiples of four, several blocks of weights and of the norm. */
enum { N = 9003, N_STATE = 301, STEPS = 3, SEED = 21 };

/* Lengths of a cf_update's buffers in elements, and of one element. */
typedef struct buffers {
    float *weights, *state, *moment1, *moment2, *ema, *state_momentum;
    uint8_t *decay;
    void *sums;
} buffers;

static float centred(cf_rng *rng)
{
    return cf_rng_uniform(rng) - 0.5f;
}

static buffers host_buffers(cf_rng *rng)
{
    buffers b = {reserve(N * 4), reserve(N_STATE * 4),          reserve(N * 4),
                 reserve(N * 4), reserve((N + N_STATE) * 4),    reserve(N_STATE * 4),
                 reserve(N),     reserve((N + N_STATE + 3) * 8)};
    for (int i = 0; i < N; i++) {
        b.weights[i] = b.ema[i] = centred(rng);
        b.decay[i] = (uint8_t)(i % 3 != 0);
    }
    for (int i = 0; i < N_STATE; i++) {
        b.state[i] = b.ema[N + i] = centred(rng);
        b.state_momentum[i] = i % 2 ? 0.9f : 0.99f;
    }
    return b;
}

static void host_fini(buffers *b)
{
    void *const all[] = {b->weights, b->state, b->moment1,        b->moment2,
                         b->ema,     b->sums,  b->state_momentum, b->decay};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void draw_sums(buffers *b, cf_reduce reduce, cf_rng *rng)
{
    for (int i = 0; i < N + N_STATE; i++) {
        float x = centred(rng) * (i % 5 == 0 ? 1e-4f : 1.0f);
        if (reduce == CF_REDUCE_FAST) {
            ((float *)b->sums)[i] = x;
        } else {
            int bits = i < N ? CF_EXACT_GRAD_BITS : CF_EXACT_STATE_BITS;
            ((int64_t *)b->sums)[i] = llrint(ldexp((double)x, bits));
        }
    }
}

static size_t sums_bytes(cf_reduce reduce)
{
    return (N + N_STATE + 3) * (reduce == CF_REDUCE_FAST ? sizeof(float) : sizeof(int64_t));
}

static void point(cf_update *u, const buffers *b)
{
    bool sgd = u->kind == CF_OPT_SGD;
    u->weights = b->weights;
    u->state = b->state;
    u->moment1 = b->moment1;
    u->moment2 = sgd ? NULL : b->moment2;
    if (u->ema_decay > 0.0f) u->ema = b->ema;
    u->state_momentum = b->state_momentum;
    u->decay = b->decay;
    u->sums = b->sums;
}

/* Device copies, `skew` elements into their allocations. */
typedef struct copies {
    buffers at;
    void *bases[8];
} copies;

static void *shifted(copies *d, int slot, const void *host, size_t n, size_t each, size_t skew)
{
    d->bases[slot] = upload(NULL, (n + skew) * each);
    void *at = (char *)d->bases[slot] + skew * each;
    CUDA_OK(cudaMemcpy(at, host, n * each, cudaMemcpyHostToDevice));
    return at;
}

static copies device_of(const buffers *b, cf_reduce reduce, size_t skew)
{
    copies d = {0};
    size_t each = reduce == CF_REDUCE_FAST ? 4 : 8;
    d.at.weights = shifted(&d, 0, b->weights, N, 4, skew);
    d.at.state = shifted(&d, 1, b->state, N_STATE, 4, skew);
    d.at.moment1 = shifted(&d, 2, b->moment1, N, 4, skew);
    d.at.moment2 = shifted(&d, 3, b->moment2, N, 4, skew);
    d.at.ema = shifted(&d, 4, b->ema, N + N_STATE, 4, skew);
    d.at.state_momentum = shifted(&d, 5, b->state_momentum, N_STATE, 4, skew);
    d.at.decay = shifted(&d, 6, b->decay, N, 1, skew);
    d.at.sums = shifted(&d, 7, b->sums, N + N_STATE + 3, each, skew);
    return d;
}

static void device_fini(copies *d)
{
    for (int i = 0; i < 8; i++) CUDA_OK(cudaFree(d->bases[i]));
}

static void same(const char *what, const float *host, const float *device, int n)
{
    float *found = reserve((size_t)n * 4);
    download(found, device, (size_t)n * 4);
    for (int i = 0; i < n; i++)
        if (memcmp(&found[i], &host[i], 4) != 0)
            fail_msg("%s[%d] is %a, expected %a", what, i, (double)found[i], (double)host[i]);
    free(found);
}

static void compare(const buffers *host, const copies *d)
{
    same("weights", host->weights, d->at.weights, N);
    same("moment1", host->moment1, d->at.moment1, N);
    same("moment2", host->moment2, d->at.moment2, N);
    same("ema", host->ema, d->at.ema, N + N_STATE);
    same("state", host->state, d->at.state, N_STATE);
}

static cf_update plain(cf_optimizer kind, cf_reduce reduce)
{
    return (cf_update){.kind = kind,
                       .n_weights = N,
                       .n_state = N_STATE,
                       .reduce = reduce,
                       .n_micro = 3,
                       .learning_rate = 1e-2f,
                       .beta1 = 0.9f,
                       .beta2 = 0.999f,
                       .epsilon = 1e-8f,
                       .step = 1};
}

/* Steps on both, from the same start, and the same bits at the end. */
static void run(cf_update u, size_t skew)
{
    cf_rng rng = cf_rng_at(SEED, 0, 0, 0, CF_PURPOSE_TEST);
    buffers host = host_buffers(&rng);
    copies d = device_of(&host, u.reduce, skew);
    void *workspace = upload(NULL, cf_cuda_update_workspace(&u));
    for (u.step = 1; u.step <= STEPS; u.step++) {
        draw_sums(&host, u.reduce, &rng);
        CUDA_OK(cudaMemcpy(d.at.sums, host.sums, sums_bytes(u.reduce), cudaMemcpyHostToDevice));
        cf_update cpu = u, cuda = u;
        point(&cpu, &host);
        point(&cuda, &d.at);
        OK(cf_update_run(&cpu));
        bool bad = true;
        OK(cf_cuda_update(NULL, &cuda, workspace, &bad));
        assert_false(bad);
    }
    compare(&host, &d);
    CUDA_OK(cudaFree(workspace));
    device_fini(&d);
    host_fini(&host);
}

static void every_optimizer_has_the_bits_of_the_cpu(void **state)
{
    (void)state;
    for (int kind = CF_OPT_SGD; kind <= CF_OPT_ADAMW; kind++) {
        for (int reduce = CF_REDUCE_EXACT; reduce <= CF_REDUCE_FAST; reduce++) {
            cf_update u = plain((cf_optimizer)kind, (cf_reduce)reduce);
            run(u, 0);
            u.nesterov = true;
            u.weight_decay = 0.1f;
            u.ema_decay = 0.9f;
            run(u, 0);
        }
    }
}

/* Buffers that do not start at 16 bytes take the narrow path. */
static void buffers_may_start_anywhere(void **state)
{
    (void)state;
    cf_update u = plain(CF_OPT_ADAMW, CF_REDUCE_EXACT);
    u.weight_decay = 0.1f;
    u.ema_decay = 0.9f;
    run(u, 1);
    u.reduce = CF_REDUCE_FAST;
    run(u, 3);
}

/* The squares are added up in another order than the CPU's, in double: the factor, rounded to
 * float, is the same unless the quotient lies within 1e-12 of where rounding changes. */
static void clipping_has_the_bits_of_the_cpu(void **state)
{
    (void)state;
    for (int kind = CF_OPT_SGD; kind <= CF_OPT_ADAMW; kind++) {
        cf_update u = plain((cf_optimizer)kind, CF_REDUCE_EXACT);
        u.clip_norm = 0.25f; /* the norm is about 8 */
        u.weight_decay = 0.01f;
        run(u, 0);
        u.reduce = CF_REDUCE_FAST;
        run(u, 1);
        u.clip_norm = 1e3f; /* not reached */
        run(u, 0);
    }
}

static void an_infinite_norm_changes_nothing(void **state)
{
    (void)state;
    cf_rng rng = cf_rng_at(SEED, 0, 0, 0, CF_PURPOSE_TEST);
    buffers host = host_buffers(&rng);
    draw_sums(&host, CF_REDUCE_FAST, &rng);
    ((float *)host.sums)[N - 1] = INFINITY;
    copies d = device_of(&host, CF_REDUCE_FAST, 0);
    cf_update u = plain(CF_OPT_ADAM, CF_REDUCE_FAST);
    u.clip_norm = 1.0f;
    u.ema_decay = 0.5f;
    void *workspace = upload(NULL, cf_cuda_update_workspace(&u));
    point(&u, &d.at);
    bool bad = false;
    OK(cf_cuda_update(NULL, &u, workspace, &bad));
    assert_true(bad);
    compare(&host, &d);
    CUDA_OK(cudaFree(workspace));
    device_fini(&d);
    host_fini(&host);
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_optimizer_has_the_bits_of_the_cpu),
        cmocka_unit_test(buffers_may_start_anywhere),
        cmocka_unit_test(clipping_has_the_bits_of_the_cpu),
        cmocka_unit_test(an_infinite_norm_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
