/* Draws an epoch from per-class counts, then the order of one epoch. */
#include "worker/data/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/math/philox.h"

/* Draws an epoch before rounding to whole steps, each class apart; the planner and the sampler both
 * come here, so their step counts cannot differ. */
typedef struct quota {
    const int64_t *n_of_class; /* borrowed, [n_classes] */
    int n_classes;
    int balance;
    int64_t per_class;   /* balance: draws */
    double temper;       /* balance: tempered */
    int64_t n_train;     /* all training images */
    double total_weight; /* sum of count^temper */
    int64_t repeat;      /* whole epochs needed to fill one step */
} quota;

static double weight(const quota *q, int c)
{
    return q->n_of_class[c] > 0 ? pow((double)q->n_of_class[c], q->temper) : 0.0;
}

/* Draws of class c; `before`: the weight of the classes before it. The shares of all classes are
 * cut out of one line of n_train draws, so that they add up to it; a class with images is drawn at
 * least once. */
static int64_t share(const quota *q, int c, double before)
{
    if (q->n_of_class[c] == 0) return 0;
    if (q->balance == CF_BALANCE_NATURAL) return q->n_of_class[c];
    if (q->balance == CF_BALANCE_DRAWS) return q->per_class;
    double per_weight = (double)q->n_train / q->total_weight;
    int64_t first = (int64_t)floor(before * per_weight + 0.5);
    int64_t end = (int64_t)floor((before + weight(q, c)) * per_weight + 0.5);
    return end > first ? end - first : 1;
}

/* Fills draws [n_classes] (NULL: not wanted) and returns their sum. */
static int64_t fill_draws(const quota *q, int64_t *draws)
{
    int64_t total = 0;
    double before = 0.0;
    for (int c = 0; c < q->n_classes; c++) {
        int64_t n = share(q, c, before) * q->repeat;
        before += weight(q, c);
        if (draws) draws[c] = n;
        total += n;
    }
    return total;
}

static quota quota_of(const cf_config *config, const int64_t *n_of_class, int n_classes)
{
    quota q = {n_of_class,
               n_classes,
               config->train_balance,
               config->train_draws_per_class,
               config->train_temper,
               0,
               0.0,
               1};
    for (int c = 0; c < n_classes; c++) {
        q.n_train += n_of_class[c];
        q.total_weight += weight(&q, c);
    }
    int64_t total = fill_draws(&q, NULL);
    if (total > 0 && total < config->train_batch)
        q.repeat = (config->train_batch + total - 1) / total;
    return q;
}

int64_t cf_sampler_steps(const cf_config *config, const int64_t *train_of_class, int n_classes)
{
    quota q = quota_of(config, train_of_class, n_classes);
    return fill_draws(&q, NULL) / config->train_batch;
}

/* Counts training images of each class and test images; finds classes that are only tested. */
static cf_err count(cf_sampler *s, const uint8_t *fold_of, int64_t *n_tested)
{
    const cf_scheme *scheme = &s->cells->scheme;
    int64_t n_train = 0;
    for (int64_t i = 0; i < s->cells->n; i++) {
        int c = s->cells->labels[i];
        if (fold_of[i] == s->fold) {
            n_tested[c]++;
            s->n_test++;
        } else {
            s->n_of_class[c]++;
            n_train++;
        }
    }
    if (n_train == 0)
        return cf_fail(CF_E_DATA,
                       "fold %d: all %lld images are in the test fold, none is left to train on",
                       s->fold, (long long)s->cells->n);
    for (int c = 0; c < scheme->n_classes; c++) {
        if (n_tested[c] > 0 && s->n_of_class[c] == 0)
            return cf_fail(CF_E_DATA,
                           "fold %d: class %s has %lld test images but no training image", s->fold,
                           scheme->classes[c].code, (long long)n_tested[c]);
    }
    return CF_OK;
}

/* Sorts image numbers into their class's list or the test list, in file order. */
static cf_err list_images(cf_sampler *s, const uint8_t *fold_of)
{
    int n_classes = s->cells->scheme.n_classes;
    CF_TRY(cf_new(&s->test, (size_t)s->n_test, sizeof *s->test));
    for (int c = 0; c < n_classes; c++)
        CF_TRY(cf_new(&s->of_class[c], (size_t)s->n_of_class[c], sizeof **s->of_class));
    memset(s->n_of_class, 0, (size_t)n_classes * sizeof *s->n_of_class);
    s->n_test = 0;
    for (int64_t i = 0; i < s->cells->n; i++) {
        int c = s->cells->labels[i];
        if (fold_of[i] == s->fold)
            s->test[s->n_test++] = i;
        else
            s->of_class[c][s->n_of_class[c]++] = i;
    }
    return CF_OK;
}

cf_err cf_sampler_init(cf_sampler *s, const cf_cells *cells, const uint8_t *fold_of, int fold,
                       const cf_config *config)
{
    *s = (cf_sampler){.cells = cells, .config = config, .fold = fold};
    size_t n_classes = (size_t)cells->scheme.n_classes;
    int64_t *n_tested = NULL;
    cf_err err;
    CF_TRY_GOTO(cf_new(&n_tested, n_classes, sizeof *n_tested), out);
    CF_TRY_GOTO(cf_new(&s->of_class, n_classes, sizeof *s->of_class), out);
    CF_TRY_GOTO(cf_new(&s->n_of_class, n_classes, sizeof *s->n_of_class), out);
    CF_TRY_GOTO(cf_new(&s->draws_of_class, n_classes, sizeof *s->draws_of_class), out);
    CF_TRY_GOTO(count(s, fold_of, n_tested), out);
    CF_TRY_GOTO(list_images(s, fold_of), out);
    quota q = quota_of(config, s->n_of_class, cells->scheme.n_classes);
    int64_t total = fill_draws(&q, s->draws_of_class);
    if (total > (int64_t)UINT32_MAX) { /* a draw's number names its random stream in 32 bits */
        err = cf_fail(CF_E_DATA, "fold %d: %lld draws an epoch, at most %lld are possible", fold,
                      (long long)total, (long long)UINT32_MAX);
        goto out;
    }
    s->steps_per_epoch = total / config->train_batch;
    s->n_draws = s->steps_per_epoch * config->train_batch;
out:
    free(n_tested);
    if (err != CF_OK) cf_sampler_fini(s);
    return err;
}

void cf_sampler_fini(cf_sampler *s)
{
    if (s->of_class)
        for (int c = 0; c < s->cells->scheme.n_classes; c++) free(s->of_class[c]);
    free(s->of_class);
    free(s->n_of_class);
    free(s->draws_of_class);
    free(s->test);
    *s = (cf_sampler){0};
}

/* The first k places of list [n] become a random choice in random order (Fisher and Yates). */
static void shuffle_first(int64_t *list, int64_t n, int64_t k, cf_rng *rng)
{
    for (int64_t i = 0; i < k && i < n - 1; i++) {
        int64_t j = i + cf_rng_below(rng, (uint32_t)(n - i));
        int64_t swap = list[i];
        list[i] = list[j];
        list[j] = swap;
    }
}

cf_err cf_sampler_epoch(const cf_sampler *s, int64_t epoch, int64_t *draws)
{
    uint64_t seed = (uint64_t)s->config->train_seed;
    uint32_t fold = (uint32_t)s->fold, e = (uint32_t)epoch;
    int n_classes = s->cells->scheme.n_classes;
    int64_t room = 0;
    for (int c = 0; c < n_classes; c++) room += s->draws_of_class[c] + s->n_of_class[c];
    int64_t *all = NULL; /* every class's draws, with room for the last pass uncut */
    CF_TRY(cf_new(&all, (size_t)room, sizeof *all));
    int64_t n = 0;
    for (int c = 0; c < n_classes; c++) {
        int64_t n_images = s->n_of_class[c];
        cf_rng rng = cf_rng_at(seed, fold, e, (uint32_t)c, CF_PURPOSE_CLASS);
        for (int64_t left = s->draws_of_class[c]; left > 0; left -= n_images) {
            int64_t taken = left < n_images ? left : n_images;
            memcpy(all + n, s->of_class[c], (size_t)n_images * sizeof *all);
            /* Only which images a cut pass holds is random here; their order comes below. */
            if (taken < n_images) shuffle_first(all + n, n_images, taken, &rng);
            n += taken;
        }
    }
    cf_rng rng = cf_rng_at(seed, fold, e, 0, CF_PURPOSE_SHUFFLE);
    shuffle_first(all, n, s->n_draws, &rng);
    memcpy(draws, all, (size_t)s->n_draws * sizeof *draws);
    free(all);
    return CF_OK;
}
