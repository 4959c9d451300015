/* The optimizer of a backend against plain double-precision formulas. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "kernels/math/philox.h"

/* More than one piece of work (32768 elements), and no multiple of a vector. */
enum { N = 40011, N_STATE = 33, N_SUMS = N + N_STATE + 3, STEPS = 4 };

typedef struct numbers {
    float *w, *m, *v, *ema, *state;
    double *dw, *dm, *dv, *dema, *dstate; /* the same in double */
    int64_t *sums;
    float *fast;
    uint8_t *decay;
    float *state_momentum;
    cf_rng rng;
} numbers;

static void *must(size_t n, size_t item)
{
    void *p = calloc(n, item);
    assert_non_null(p);
    return p;
}

static float centred(cf_rng *rng)
{
    return 2.0f * cf_rng_uniform(rng) - 1.0f;
}

static void numbers_init(numbers *x)
{
    *x = (numbers){.w = must(N, 4), .m = must(N, 4), .v = must(N, 4)};
    x->ema = must(N + N_STATE, 4), x->dema = must(N + N_STATE, 8); /* weights, then moments */
    x->dw = must(N, 8), x->dm = must(N, 8), x->dv = must(N, 8);
    x->state = must(N_STATE, 4), x->dstate = must(N_STATE, 8);
    x->sums = must(N_SUMS, 8), x->fast = must(N_SUMS, 4);
    x->decay = must(N, 1), x->state_momentum = must(N_STATE, 4);
    x->rng = cf_rng_at(FIXTURE_SEED, 0, 0, 5, CF_PURPOSE_TEST);
    for (int i = 0; i < N; i++) {
        x->w[i] = x->ema[i] = centred(&x->rng);
        x->dw[i] = x->dema[i] = (double)x->w[i];
        x->decay[i] = (uint8_t)(i % 3 == 0);
    }
    for (int i = 0; i < N_STATE; i++) {
        x->state[i] = x->ema[N + i] = centred(&x->rng);
        x->dstate[i] = x->dema[N + i] = (double)x->state[i];
        x->state_momentum[i] = i % 2 ? 0.9f : 0.99f;
    }
}

static void numbers_fini(numbers *x)
{
    void *const all[] = {x->w,  x->m,    x->v,      x->ema,  x->state, x->dw,    x->dm,
                         x->dv, x->dema, x->dstate, x->sums, x->fast,  x->decay, x->state_momentum};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static cf_update update_of(const numbers *x, cf_optimizer kind)
{
    return (cf_update){.kind = kind,
                       .n_weights = N,
                       .n_state = N_STATE,
                       .weights = x->w,
                       .state = x->state,
                       .moment1 = x->m,
                       .moment2 = kind == CF_OPT_SGD ? NULL : x->v,
                       .sums = x->sums,
                       .reduce = CF_REDUCE_EXACT,
                       .n_micro = 3,
                       .decay = x->decay,
                       .state_momentum = x->state_momentum,
                       .learning_rate = 1e-2f,
                       .beta1 = 0.9f,
                       .beta2 = 0.999f,
                       .epsilon = 1e-8f};
}

/* The arrays of an update in the backend's memory. */
typedef struct mirror {
    const cf_backend_ops *ops;
    cf_backend *b;
    struct {
        void *host, *there;
        size_t bytes;
    } arrays[8];
    int n;
} mirror;

static void *reflect(mirror *m, const void *host, size_t bytes)
{
    if (host == NULL) return NULL;
    void *there = fixture_upload(m->ops, m->b, host, bytes);
    m->arrays[m->n].host = (void *)(uintptr_t)host;
    m->arrays[m->n].there = there;
    m->arrays[m->n++].bytes = bytes;
    return there;
}

/* Opens the backend and gives u its pointers instead of the host's. */
static void mirror_init(mirror *m, cf_update *u, int n_threads)
{
    *m = (mirror){.ops = fixture_ops()};
    OK(m->ops->open(-1, n_threads, &m->b));
    u->weights = reflect(m, u->weights, N * sizeof(float));
    u->state = reflect(m, u->state, N_STATE * sizeof(float));
    u->moment1 = reflect(m, u->moment1, N * sizeof(float));
    u->moment2 = reflect(m, u->moment2, N * sizeof(float));
    u->ema = reflect(m, u->ema, (N + N_STATE) * sizeof(float));
    u->decay = reflect(m, u->decay, N);
    u->state_momentum = reflect(m, u->state_momentum, N_STATE * sizeof(float));
    u->sums = reflect(m, u->sums, N_SUMS * (u->reduce == CF_REDUCE_FAST ? 4 : 8));
}

static void mirror_update(mirror *m, const cf_update *u)
{
    OK(m->ops->copy_in(m->b, m->arrays[m->n - 1].there, m->arrays[m->n - 1].host,
                       m->arrays[m->n - 1].bytes));
    OK(m->ops->update(m->b, u));
}

/* Brings everything back. */
static void mirror_fini(mirror *m)
{
    for (int i = 0; i < m->n; i++) {
        OK(m->ops->copy_out(m->b, m->arrays[i].host, m->arrays[i].there, m->arrays[i].bytes));
        m->ops->free(m->b, m->arrays[i].there);
    }
    m->ops->close(m->b);
}

static void draw_sums(numbers *x)
{
    for (int i = 0; i < N + N_STATE; i++) {
        x->fast[i] = centred(&x->rng);
        int bits = i < N ? CF_EXACT_GRAD_BITS : CF_EXACT_STATE_BITS;
        x->sums[i] = llrint(ldexp((double)x->fast[i], bits));
    }
}

/* The definitions: torch.optim.SGD, Adam (Kingma & Ba), AdamW (Loshchilov & Hutter). */
static void expected_step(numbers *x, const cf_update *u)
{
    double square = 0.0, lr = (double)u->learning_rate, wd = (double)u->weight_decay;
    double b1 = (double)u->beta1, b2 = (double)u->beta2;
    for (int i = 0; i < N; i++) square += pow((double)x->fast[i] / u->n_micro, 2.0);
    double clip = (double)u->clip_norm, norm = sqrt(square);
    double factor = clip > 0.0 && norm > clip ? clip / norm : 1.0;
    for (int i = 0; i < N; i++) {
        double g = (double)x->fast[i] / u->n_micro * factor;
        if (u->kind == CF_OPT_ADAMW) {
            if (x->decay[i]) x->dw[i] -= lr * wd * x->dw[i];
        } else if (x->decay[i]) {
            g += wd * x->dw[i];
        }
        if (u->kind == CF_OPT_SGD) {
            x->dm[i] = b1 * x->dm[i] + g;
            x->dw[i] -= lr * (u->nesterov ? g + b1 * x->dm[i] : x->dm[i]);
        } else {
            x->dm[i] = b1 * x->dm[i] + (1.0 - b1) * g;
            x->dv[i] = b2 * x->dv[i] + (1.0 - b2) * g * g;
            double m = x->dm[i] / (1.0 - pow(b1, (double)u->step));
            double v = x->dv[i] / (1.0 - pow(b2, (double)u->step));
            x->dw[i] -= lr * m / (sqrt(v) + (double)u->epsilon);
        }
        double d = (double)u->ema_decay;
        x->dema[i] = d * x->dema[i] + (1.0 - d) * x->dw[i];
    }
    for (int i = 0; i < N_STATE; i++) {
        double keep = (double)x->state_momentum[i];
        x->dstate[i] = keep * x->dstate[i] + (1.0 - keep) * (double)x->fast[N + i] / u->n_micro;
        double d = (double)u->ema_decay;
        x->dema[N + i] = d * x->dema[N + i] + (1.0 - d) * x->dstate[i];
    }
}

/* A few fp32 roundings a step on values around 1, and Adam's quotient, whose first steps divide
 * small numbers by their own roots: 1e-6 for 4 steps. */
static void compare(const char *what, const float *found, const double *expected, int n)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)found[i] - expected[i]) <= 1e-6))
            fail_msg("%s[%d] is %.9g, expected %.9g", what, i, (double)found[i], expected[i]);
}

static void run(cf_update change)
{
    numbers x;
    mirror m;
    numbers_init(&x);
    cf_update u = update_of(&x, change.kind);
    u.weight_decay = change.weight_decay;
    u.nesterov = change.nesterov;
    u.clip_norm = change.clip_norm;
    u.ema_decay = 0.9f;
    u.ema = x.ema;
    u.reduce = change.reduce;
    if (u.reduce == CF_REDUCE_FAST) u.sums = x.fast;
    mirror_init(&m, &u, 2);
    for (u.step = 1; u.step <= STEPS; u.step++) {
        draw_sums(&x);
        expected_step(&x, &u);
        mirror_update(&m, &u);
    }
    mirror_fini(&m);
    compare("weights", x.w, x.dw, N);
    compare("ema", x.ema, x.dema, N + N_STATE);
    compare("state", x.state, x.dstate, N_STATE);
    numbers_fini(&x);
}

static void sgd_matches(void **state)
{
    (void)state;
    run((cf_update){.kind = CF_OPT_SGD});
    run((cf_update){.kind = CF_OPT_SGD, .nesterov = true, .weight_decay = 0.1f});
}

static void adam_matches(void **state)
{
    (void)state;
    run((cf_update){.kind = CF_OPT_ADAM});
    run((cf_update){.kind = CF_OPT_ADAM, .weight_decay = 0.1f});
}

static void adamw_matches(void **state)
{
    (void)state;
    run((cf_update){.kind = CF_OPT_ADAMW, .weight_decay = 0.1f});
}

static void clipping_matches(void **state)
{
    (void)state;
    run((cf_update){.kind = CF_OPT_SGD, .clip_norm = 1.0f});  /* the norm is about 38 */
    run((cf_update){.kind = CF_OPT_ADAM, .clip_norm = 1e3f}); /* not reached */
}

static void fast_sums_are_read(void **state)
{
    (void)state;
    run((cf_update){.kind = CF_OPT_SGD, .reduce = CF_REDUCE_FAST});
}

static void update_does_not_depend_on_threads(void **state)
{
    (void)state;
    numbers x[2];
    for (int t = 0; t < 2; t++) {
        mirror m;
        numbers_init(&x[t]);
        cf_update u = update_of(&x[t], CF_OPT_ADAMW);
        u.clip_norm = 0.5f;
        u.weight_decay = 0.1f;
        mirror_init(&m, &u, t + 1);
        for (u.step = 1; u.step <= STEPS; u.step++) {
            draw_sums(&x[t]);
            mirror_update(&m, &u);
        }
        mirror_fini(&m);
    }
    assert_memory_equal(x[0].w, x[1].w, N * sizeof(float));
    assert_memory_equal(x[0].v, x[1].v, N * sizeof(float));
    numbers_fini(&x[0]);
    numbers_fini(&x[1]);
}

int main(void)
{
    print_message("seed %d\n", FIXTURE_SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sgd_matches),        cmocka_unit_test(adam_matches),
        cmocka_unit_test(adamw_matches),      cmocka_unit_test(clipping_matches),
        cmocka_unit_test(fast_sums_are_read), cmocka_unit_test(update_does_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
