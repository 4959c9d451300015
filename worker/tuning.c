#include "worker/tuning.h"

#include <stdlib.h>

#include "kernels/base/file.h"
#include "kernels/base/log.h"

enum { MAX_BYTES = 16 << 20 };

/* Whole or not at all, and nothing where there is nothing to copy or a file to keep. */
static cf_err copy_once(const char *from, const char *to)
{
    char *text = NULL;
    size_t n = 0;
    if (from[0] == '\0' || to[0] == '\0' || !cf_path_exists(from) || cf_path_exists(to))
        return CF_OK;
    CF_TRY(cf_where(cf_file_read(from, MAX_BYTES, &text, &n), "run.engine_cache"));
    cf_err err = cf_where(cf_file_save(to, text, n), "run.engine_cache");
    free(text);
    return err;
}

cf_err cf_tuning_compile(cf_engine *e, const char *run_dir, cf_tuning_turn turn)
{
    char path[CF_PATH_MAX];
    const char *cache = e->config->run_engine_cache;
    cf_engine_choices choices = {0};
    if (!e->ops->on_device) return cf_engine_compile(e, &choices);
    CF_TRY(cf_path_join(path, sizeof path, run_dir, "engines.txt"));
    choices.path = path;
    if (turn == CF_TUNING_FOLLOW) return cf_engine_compile(e, &choices);
    choices.may_tune = true;
    CF_TRY(cf_dir_make(run_dir));
    CF_TRY(copy_once(cache, path));
    CF_TRY(cf_engine_compile(e, &choices));
    /* The run has its file; without the cache the next one times again. */
    if (copy_once(path, cache) != CF_OK) cf_log_warn("%s", cf_err_text());
    return CF_OK;
}
