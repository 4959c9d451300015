/* Time and memory of one epoch's sampling on a cells file, without a pixel being read: opening,
 * lists of each class, the draws of an epoch. Five folds by image number.
 *   sample_epoch X.cells */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/data/sampler.h"

static double ms_since(int64_t begin)
{
    return (double)(cf_clock_ns() - begin) / 1e6;
}

static cf_err sample(const cf_cells *cells, const cf_config *config, const uint8_t *fold_of)
{
    cf_sampler sampler;
    int64_t *draws = NULL, begin = cf_clock_ns();
    CF_TRY(cf_sampler_init(&sampler, cells, fold_of, 0, config));
    printf("lists %.1f ms, ", ms_since(begin));
    cf_err err = cf_new(&draws, (size_t)sampler.n_draws, sizeof *draws);
    begin = cf_clock_ns();
    if (err == CF_OK) err = cf_sampler_epoch(&sampler, 0, draws);
    if (err == CF_OK)
        printf("epoch of %lld draws %.1f ms, ", (long long)sampler.n_draws, ms_since(begin));
    free(draws);
    cf_sampler_fini(&sampler);
    return err;
}

static cf_err run(const char *path)
{
    cf_cells cells;
    cf_config config;
    struct rusage usage;
    uint8_t *fold_of = NULL;
    int64_t begin = cf_clock_ns();
    cf_config_defaults(&config);
    config.train_batch = 256;
    CF_TRY(cf_cells_open(path, &cells));
    printf("open %.1f ms, ", ms_since(begin));
    cf_err err = cf_new(&fold_of, (size_t)cells.n, 1);
    for (int64_t i = 0; err == CF_OK && i < cells.n; i++) fold_of[i] = (uint8_t)(i % 5);
    if (err == CF_OK) err = sample(&cells, &config, fold_of);
    getrusage(RUSAGE_SELF, &usage);
    if (err == CF_OK) printf("peak %.1f MiB\n", (double)usage.ru_maxrss / 1024.0);
    free(fold_of);
    cf_cells_close(&cells);
    return err;
}

int main(int argc, char **argv)
{
    cf_err err = argc == 2 ? run(argv[1]) : cf_fail(CF_E_USAGE, "usage: sample_epoch X.cells");
    if (err != CF_OK) fprintf(stderr, "sample_epoch: %s\n", cf_err_text());
    return (int)err;
}
