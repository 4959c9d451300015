#include "launch/predict_run.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>

#include "coordinator/temperature.h"
#include "kernels/backend.h"
#include "kernels/base/log.h"
#include "proto/text.h"

enum { MAX_LOADER_THREADS = 16 };

static cf_err choose_folds(const cf_predict_run_wishes *w, cf_saved *run)
{
    int64_t folds[CF_MAX_FOLDS];
    int n = 0;
    if (w->folds.n == 0) return CF_OK;
    for (size_t i = 0; i < w->folds.n; i++) {
        int64_t fold = 0;
        if (!cf_text_integer(w->folds.items[i], &fold) || fold < 0 || fold >= CF_MAX_FOLDS)
            return cf_fail(CF_E_USAGE, "--fold takes a number from 0 to %d, found '%.80s'",
                           CF_MAX_FOLDS - 1, w->folds.items[i]);
        if (n < CF_MAX_FOLDS) folds[n++] = fold;
    }
    return cf_saved_choose(run, folds, n);
}

static int n_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < MAX_LOADER_THREADS ? n : MAX_LOADER_THREADS;
}

/* The device has to be there, before images are read. A run of a GPU in fp16 can be asked on a CPU
 * too, which has no such type. */
static cf_err fit_device(const char *device, cf_config *config)
{
    const cf_backend_ops *ops = NULL;
    CF_TRY(cf_backend_find(device, &ops));
    if (config->train_precision != CF_PRECISION_FP16 || ops->set_scale != NULL) return CF_OK;
    config->train_precision = CF_PRECISION_FP32;
    cf_log_info("the run was trained in fp16, which device %s has not: fp32 is taken", ops->name);
    return CF_OK;
}

/* The command line's word over the run's. Threads that load images decide no bits. */
static cf_err set_config(const cf_predict_run_wishes *w, cf_config *config)
{
    char text[64];
    snprintf(text, sizeof text, "run.device=%.16s", w->device);
    CF_TRY(cf_config_set(config, text));
    if (w->threads > 0) config->run_threads = w->threads;
    if (w->batch > 0) config->train_micro_batch = w->batch;
    if (w->zoom > 0) config->augment_zoom = w->zoom;
    if (config->run_loader_threads < n_cores()) config->run_loader_threads = n_cores();
    return fit_device(w->device, config);
}

cf_err cf_predict_run_open(const cf_predict_run_wishes *w, const char *dir, cf_saved *run)
{
    CF_TRY(cf_saved_open(dir, run));
    CF_TRY(choose_folds(w, run));
    return set_config(w, &run->config);
}

static cf_err fit(const cf_saved *run, int fold, double *temperature)
{
    char name[32], dir[CF_PATH_MAX], path[CF_PATH_MAX];
    cf_predictions p;
    snprintf(name, sizeof name, "fold-%d", fold);
    CF_TRY(cf_path_join(dir, sizeof dir, run->dir, name));
    CF_TRY(cf_path_join(path, sizeof path, dir, "predictions.csv"));
    if (!cf_path_exists(path))
        return cf_fail(CF_E_DATA,
                       "%s: no such file; a network's temperature is fitted to its own test, which "
                       "is there once its training has ended",
                       path);
    CF_TRY(cf_predictions_read(path, &run->scheme, &p));
    cf_err err = cf_temperature_fit(&p, temperature);
    cf_predictions_fini(&p);
    if (err == CF_OK && isnan(*temperature))
        err = cf_fail(CF_E_DATA,
                      "%s: no row to fit a temperature to: every label has probability 0", path);
    return err;
}

cf_err cf_predict_run_temperatures(const cf_saved *run, double *temperatures)
{
    for (int i = 0; i < run->n_folds; i++) {
        CF_TRY(fit(run, run->folds[i], &temperatures[i]));
        cf_log_info("fold %d: temperature %.4g", run->folds[i], temperatures[i]);
    }
    return CF_OK;
}
