#include "worker/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/model_facts.h"
#include "worker/models.h"
#include "worker/trainer.h"
#include "worker/weight_file.h"

#define CHECKPOINT "checkpoint-0.ckpt"
#define SCHEME     "scheme.yaml"
#define RUN_YAML   "run.yaml"

static void fold_name(int fold, char name[32])
{
    snprintf(name, 32, "fold-%d", fold);
}

static cf_err fill_checkpoint(const cf_import_job *job, const cf_graph *g, int fold,
                              cf_checkpoint *c)
{
    cf_buf yaml = {0};
    snprintf(c->program_version, sizeof c->program_version, "%s", CYTOFOLD_VERSION);
    c->fold = fold;
    c->steps_per_epoch = 1; /* none was done here: step 0 of 0 */
    CF_TRY(cf_config_hash(job->config, &c->config_hash));
    cf_config_write_essential(job->config, &yaml);
    cf_err err = cf_buf_check(&yaml);
    if (err == CF_OK && yaml.len >= sizeof c->config)
        err = cf_fail(CF_E_CHECKPOINT,
                      "the configuration has %zu bytes, at most %zu fit a checkpoint", yaml.len,
                      sizeof c->config - 1);
    if (err == CF_OK) memcpy(c->config, cf_buf_text(&yaml), yaml.len + 1);
    cf_buf_fini(&yaml);
    CF_TRY(err);
    c->n_entries = g->n_params;
    return cf_trainer_entries(g, &c->entries);
}

/* values: [n_weights + n_state] */
static cf_err save(const cf_import_job *job, const cf_graph *g, int fold, float *values)
{
    char name[32], dir[CF_PATH_MAX], path[CF_PATH_MAX];
    cf_checkpoint *c = NULL;
    fold_name(fold, name);
    CF_TRY(cf_path_join(dir, sizeof dir, job->dir, name));
    CF_TRY(cf_path_join(path, sizeof path, dir, CHECKPOINT));
    CF_TRY(cf_dir_make(dir));
    cf_dir_tidy(dir); /* of an import that was killed */
    CF_TRY(cf_new(&c, 1, sizeof *c));
    cf_err err = fill_checkpoint(job, g, fold, c);
    if (err == CF_OK) {
        c->flats[c->n_flats++] =
            (cf_flat){.name = "weights", .count = g->n_weights, .data = values};
        if (g->n_state > 0)
            c->flats[c->n_flats++] =
                (cf_flat){.name = "state", .count = g->n_state, .data = values + g->n_weights};
        err = cf_checkpoint_write(path, c);
    }
    free(c->entries);
    free(c);
    return err;
}

/* A file that names other classes than the scheme has other outputs, even where they are as many.
 */
static void warn_of_classes(const cf_import_job *job, const cf_safetensors *f)
{
    cf_buf nodes = {0};
    const char *said = cf_safetensors_note(f, CF_FACT_NODES);
    cf_fact_nodes(job->scheme, &nodes);
    if (said != NULL && strcmp(said, cf_buf_text(&nodes)) != 0)
        cf_log_warn("%s: its outputs are %.200s, the scheme's %.200s", f->path, said,
                    cf_buf_text(&nodes));
    cf_buf_fini(&nodes);
}

/* values: receives [n_weights + n_state] */
static cf_err read_file(const cf_import_job *job, const cf_graph *g, int fold, bool first,
                        float *values)
{
    cf_safetensors f;
    cf_weight_taken taken = {0};
    CF_TRY(cf_safetensors_open(job->files[fold], &f));
    cf_err err = cf_weight_file_read(&f, g, job->scheme, CF_WEIGHT_USE_ALL, values,
                                     values + g->n_weights, &taken);
    if (err == CF_OK && first) warn_of_classes(job, &f);
    cf_safetensors_close(&f);
    return err;
}

/* Each file is read twice: all of them, values too, before anything is written. */
static cf_err import_folds(const cf_import_job *job, const cf_graph *g, float *values)
{
    for (int fold = 0; fold < job->n_files; fold++) CF_TRY(read_file(job, g, fold, true, values));
    for (int fold = 0; fold < job->n_files; fold++) {
        CF_TRY(read_file(job, g, fold, false, values));
        CF_TRY(save(job, g, fold, values));
    }
    return CF_OK;
}

static cf_err save_text(const char *dir, const char *name, const char *text)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, dir, name));
    return cf_file_save(path, text, strlen(text));
}

static cf_err write_run_yaml(const cf_import_job *job)
{
    cf_buf yaml = {0};
    cf_buf_printf(&yaml, "# cytofold %s\n# imported: no training was done here\n",
                  CYTOFOLD_VERSION);
    if (*job->images) cf_buf_printf(&yaml, "# images: %s\n", job->images);
    cf_config_write(job->config, false, &yaml);
    cf_err err = cf_buf_check(&yaml);
    if (err == CF_OK) err = save_text(job->dir, RUN_YAML, cf_buf_text(&yaml));
    cf_buf_fini(&yaml);
    return err;
}

/* ---- the folder -------------------------------------------------------------------------------
 */

static cf_err refuse(const char *dir, const char *name)
{
    return cf_fail(CF_E_USAGE, "%s holds %s; expected a new or an empty folder", dir, name);
}

/* A file of that name, or the temporary of one. */
static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* What an import that was cut short left in a fold is written over; a training's checkpoints are
 * not: the newest of them would be taken for what was imported. */
static cf_err check_fold(const char *dir, const char *name)
{
    cf_strings found = {0};
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, dir, name));
    if (!cf_path_is_dir(path)) return refuse(dir, name);
    cf_err err = cf_dir_list(path, &found);
    for (size_t i = 0; i < found.n && err == CF_OK; i++)
        if (!begins(found.items[i], CHECKPOINT)) err = refuse(path, found.items[i]);
    cf_strings_fini(&found);
    return err;
}

static bool is_fold(const char *name, int n_folds)
{
    char expected[32];
    for (int fold = 0; fold < n_folds; fold++) {
        fold_name(fold, expected);
        if (strcmp(name, expected) == 0) return true;
    }
    return false;
}

/* A scheme without a fold is somebody's own: folds are written first. */
static cf_err check_entries(const cf_import_job *job, const cf_strings *found)
{
    bool begun = false;
    for (size_t i = 0; i < found->n; i++) begun |= strcmp(found->items[i], "fold-0") == 0;
    for (size_t i = 0; i < found->n; i++) {
        const char *name = found->items[i];
        if (is_fold(name, job->n_files))
            CF_TRY(check_fold(job->dir, name));
        else if (!begun || !(begins(name, SCHEME) || begins(name, RUN_YAML)))
            return refuse(job->dir, name);
    }
    return CF_OK;
}

static cf_err check_new(const cf_import_job *job)
{
    cf_strings found = {0};
    char path[CF_PATH_MAX];
    if (!cf_path_exists(job->dir)) return CF_OK;
    CF_TRY(cf_path_join(path, sizeof path, job->dir, RUN_YAML));
    if (cf_path_exists(path))
        return cf_fail(CF_E_USAGE, "%s: is a run already; name another folder", job->dir);
    CF_TRY(cf_dir_list(job->dir, &found));
    cf_err err = check_entries(job, &found);
    cf_strings_fini(&found);
    return err;
}

cf_err cf_import(const cf_import_job *job)
{
    cf_graph *g = NULL;
    float *values = NULL;
    cf_err err = CF_OK;
    CF_TRY(check_new(job));
    CF_TRY_GOTO(cf_model_build(job->config, job->scheme, 1, &g), out);
    CF_TRY_GOTO(cf_new(&values, (size_t)(g->n_weights + g->n_state), sizeof *values), out);
    CF_TRY_GOTO(import_folds(job, g, values), out);
    cf_dir_tidy(job->dir);
    CF_TRY_GOTO(save_text(job->dir, SCHEME, job->scheme->text), out);
    CF_TRY_GOTO(write_run_yaml(job), out);
out:
    free(values);
    cf_graph_destroy(g);
    return err;
}
