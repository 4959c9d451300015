/* Images a second that the loader prepares (decoded where they are kept encoded, checked against
 * their hash on the first pass, drawn, warped, normalised), by wall and by processor time. Every
 * image once a pass, in a shuffled order, in batches of 32. load_rate X.cells SIZE THREADS */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/math/philox.h"
#include "worker/data/loader.h"

enum { BATCH = 32, PASSES = 3 };

static double processor_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void shuffle(int64_t *order, int64_t n)
{
    cf_rng rng = cf_rng_at(1, 0, 0, 0, CF_PURPOSE_TEST);
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = 0; i < n - 1; i++) {
        int64_t j = i + cf_rng_below(&rng, (uint32_t)(n - i)), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

static cf_err pass(cf_loader *loader, const int64_t *order, int64_t n, int number)
{
    int64_t begin = cf_clock_ns(), wait;
    double used = processor_seconds();
    cf_prepared batch;
    for (int64_t at = 0; at < n; at += BATCH) {
        cf_request r = {.images = order + at,
                        .n_images = (int)(n - at < BATCH ? n - at : BATCH),
                        .augment = 1,
                        .epoch = number,
                        .first_draw = at};
        CF_TRY(cf_loader_request(loader, &r));
    }
    for (int64_t at = 0; at < n; at += BATCH) CF_TRY(cf_loader_next(loader, &batch, &wait));
    double wall = (double)(cf_clock_ns() - begin) / 1e9;
    printf("pass %d: %.0f images/s, %.0f a second of processor\n", number, (double)n / wall,
           (double)n / (processor_seconds() - used));
    return CF_OK;
}

static cf_err run(const char *path, int size, int threads)
{
    cf_cells cells;
    cf_config config;
    cf_loader *loader = NULL;
    int64_t *order = NULL;
    cf_err err;
    cf_config_defaults(&config);
    config.model_image_size = size;
    config.run_loader_threads = threads;
    config.augment_rotation = 180;
    CF_TRY(cf_cells_open(path, &cells));
    CF_TRY_GOTO(cf_new(&order, (size_t)cells.n, sizeof *order), out);
    shuffle(order, cells.n);
    CF_TRY_GOTO(cf_loader_create(&cells, &config, BATCH, &loader), out);
    for (int i = 0; i < PASSES; i++) CF_TRY_GOTO(pass(loader, order, cells.n, i), out);
out:
    cf_loader_destroy(loader);
    free(order);
    cf_cells_close(&cells);
    return err;
}

int main(int argc, char **argv)
{
    cf_err err = argc == 4 ? run(argv[1], atoi(argv[2]), atoi(argv[3]))
                           : cf_fail(CF_E_USAGE, "usage: load_rate X.cells SIZE THREADS");
    if (err != CF_OK) fprintf(stderr, "load_rate: %s\n", cf_err_text());
    return (int)err;
}
