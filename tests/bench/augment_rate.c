/* How fast the loader augments: images a second of its threads, without a network. Not installed.
 *
 *   augment_rate CELLS THREADS IMAGES [key=value]...
 *
 * Draws IMAGES training images in micro-batches of 32, after as many to warm up (the first read of
 * an image checks its hash). Prints images a second. Read first: main. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/base/mem.h"
#include "worker/data/loader.h"

enum { BATCH = 32, AHEAD = 4 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Every image in turn, other draws each time. */
static cf_err request(cf_loader *l, const cf_cells *cells, int64_t batch, int64_t *images)
{
    int64_t *mine = images + batch % AHEAD * BATCH;
    for (int64_t i = 0; i < BATCH; i++) mine[i] = (batch * BATCH + i) % cells->n;
    cf_request r = {.images = mine, .n_images = BATCH, .augment = 1, .first_draw = batch * BATCH};
    return cf_loader_request(l, &r);
}

/* The sum keeps the images from being thought away. */
static cf_err run(cf_loader *l, const cf_cells *cells, int64_t first, int64_t n_batches,
                  double *spent, double *sum)
{
    int64_t images[AHEAD * BATCH], wait;
    double start = seconds();
    for (int64_t b = 0; b < n_batches + AHEAD - 1; b++) {
        if (b < n_batches) CF_TRY(request(l, cells, first + b, images));
        if (b < AHEAD - 1) continue;
        cf_prepared p;
        CF_TRY(cf_loader_next(l, &p, &wait));
        *sum += (double)p.images[b % 1000];
    }
    *spent = seconds() - start;
    return CF_OK;
}

static cf_err measure(int argc, char **argv)
{
    cf_config config;
    cf_cells cells;
    cf_loader *loader = NULL;
    cf_err err = CF_OK;
    cf_config_defaults(&config);
    for (int i = 4; i < argc; i++) CF_TRY(cf_config_set(&config, argv[i]));
    CF_TRY(cf_config_validate(&config));
    config.run_loader_threads = strtoll(argv[2], NULL, 10);
    config.run_prefetch = AHEAD;
    int64_t n_batches = strtoll(argv[3], NULL, 10) / BATCH;
    double spent = 0.0, sum = 0.0;
    CF_TRY(cf_cells_open(argv[1], &cells));
    CF_TRY_GOTO(cf_loader_create(&cells, &config, BATCH, &loader), out);
    CF_TRY_GOTO(run(loader, &cells, 0, n_batches, &spent, &sum), out);
    CF_TRY_GOTO(run(loader, &cells, n_batches, n_batches, &spent, &sum), out);
    printf("%.1f images/s (%g)\n", (double)(n_batches * BATCH) / spent, sum);
out:
    cf_loader_destroy(loader);
    cf_cells_close(&cells);
    return err;
}

int main(int argc, char **argv)
{
    cf_err err = CF_E_USAGE;
    if (argc < 4)
        fprintf(stderr, "usage: augment_rate CELLS THREADS IMAGES [key=value]...\n");
    else if ((err = measure(argc, argv)) != CF_OK)
        fprintf(stderr, "%s\n", cf_err_text());
    return (int)err;
}
