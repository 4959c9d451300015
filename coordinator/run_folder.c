#include "coordinator/run_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/folds.h"
#include "coordinator/folds_make.h"
#include "coordinator/trained_on.h"
#include "kernels/base/hash.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/control.h"
#include "proto/safetensors.h"

#define INIT_MARK "# initial weights: "

/* Folds as the configuration asks for them. */
static cf_err make_folds(const cf_config *c, const cf_cells *cells, cf_run_folder *run)
{
    const char *file = c->data_folds_file;
    if (file[0] == '\0') {
        cf_split split = cf_split_of_config(c);
        return cf_where(cf_folds_make(cells, &split, &run->n_folds, run->fold_of), "%s",
                        c->data_cells);
    }
    CF_TRY(cf_folds_read(file, cells, &run->n_folds, run->fold_of));
    if (run->n_folds > CF_MAX_FOLDS)
        return cf_fail(CF_E_DATA, "%s: %d folds, at most %d are possible", file, run->n_folds,
                       CF_MAX_FOLDS);
    cf_group_by group = (cf_group_by)c->data_group;
    CF_TRY(cf_where(cf_folds_check(cells, group, run->n_folds, run->fold_of), "%s", file));
    cf_folds_warn(cells, run->fold_of, group == CF_GROUP_SITE);
    return CF_OK;
}

static cf_err save_text(const char *dir, const char *name, const char *text, size_t n)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, dir, name));
    return cf_file_save(path, text, n);
}

/* The images' size and scale stand there too: prediction brings other images to them when the cells
 * file is long gone. */
static cf_err write_run_yaml(const cf_config *c, const cf_cells *cells, const cf_run_folder *run)
{
    cf_buf yaml = {0};
    uint64_t hash = 0;
    CF_TRY(cf_config_hash(c, &hash));
    cf_buf_printf(&yaml, "# cytofold %s\n# configuration: %016llx\n", CYTOFOLD_VERSION,
                  (unsigned long long)hash);
    cf_trained_on_mark(run->folds_hash, &yaml);
    cf_buf_printf(&yaml, "# images: %d x %d px, %.9g um/px\n", cells->width, cells->height,
                  cells->um_per_px);
    if (run->init_hash != 0)
        cf_buf_printf(&yaml, INIT_MARK "%016llx\n", (unsigned long long)run->init_hash);
    cf_config_write(c, false, &yaml);
    cf_err err = cf_buf_check(&yaml);
    if (err == CF_OK) err = save_text(run->dir, "run.yaml", yaml.data, yaml.len);
    cf_buf_fini(&yaml);
    return err;
}

/* Initial weights are part of what a result is a function of: by their bytes, not by their name. */
static cf_err hash_data(const cf_config *c, const cf_cells *cells, cf_run_folder *run)
{
    run->folds_hash = run->data_hash = cf_folds_hash(cells, run->fold_of);
    run->init_hash = 0;
    if (c->model_init[0] == '\0') return CF_OK;
    CF_TRY(cf_where(cf_safetensors_hash(c->model_init, &run->init_hash), "model.init"));
    const uint64_t both[2] = {run->folds_hash, run->init_hash};
    run->data_hash = cf_hash64(both, sizeof both);
    return CF_OK;
}

static cf_err start_folder(const cf_config *c, const cf_cells *cells, cf_run_folder *run)
{
    char path[CF_PATH_MAX];
    if (run->n_folds == 0) CF_TRY(make_folds(c, cells, run));
    CF_TRY(hash_data(c, cells, run));
    CF_TRY(cf_dir_make(run->dir));
    CF_TRY(save_text(run->dir, "scheme.yaml", cells->scheme.text, strlen(cells->scheme.text)));
    CF_TRY(cf_path_join(path, sizeof path, run->dir, "folds.csv"));
    CF_TRY(cf_folds_write(path, cells, run->fold_of));
    return write_run_yaml(c, cells, run);
}

static size_t line_length(const char *text)
{
    return strcspn(text, "\n");
}

/* The first line in which two written configurations differ. */
static cf_err describe_difference(const char *dir, const cf_config *old, const cf_config *new)
{
    cf_buf a = {0}, b = {0};
    cf_config_write_essential(old, &a);
    cf_config_write_essential(new, &b);
    const char *p = cf_buf_text(&a), *q = cf_buf_text(&b);
    while (*p != '\0' && *q != '\0' && line_length(p) == line_length(q) &&
           memcmp(p, q, line_length(p)) == 0) {
        p += line_length(p) + (p[line_length(p)] == '\n');
        q += line_length(q) + (q[line_length(q)] == '\n');
    }
    cf_err err = cf_fail(CF_E_USAGE,
                         "%s was started with another configuration: '%.*s' there, '%.*s' now; "
                         "give another --run folder or the old setting",
                         dir, (int)line_length(p), p, (int)line_length(q), q);
    cf_buf_fini(&b);
    cf_buf_fini(&a);
    return err;
}

static cf_err other_data(const cf_run_folder *run, const cf_config *c)
{
    return cf_fail(CF_E_USAGE, "%s was started with other images, labels or folds than %s has now",
                   run->dir, c->data_folds_file[0] != '\0' ? c->data_folds_file : c->data_cells);
}

static cf_err check_config(const cf_run_folder *run, const cf_config *c, const char *run_yaml)
{
    cf_config *old = NULL;
    uint64_t then = 0, now = 0;
    CF_TRY(cf_new(&old, 1, sizeof *old));
    cf_err err = cf_config_read(run_yaml, old);
    if (err == CF_OK) err = cf_config_hash(old, &then);
    if (err == CF_OK) err = cf_config_hash(c, &now);
    if (err == CF_OK && then != now) err = describe_difference(run->dir, old, c);
    if (err == CF_OK && old->run_threads != c->run_threads)
        cf_log_warn("%s was started with run.threads %lld, now %lld: the last bits may differ",
                    run->dir, (long long)old->run_threads, (long long)c->run_threads);
    free(old);
    return err;
}

/* The folds file that the configuration names must still say what the run was started with. */
static cf_err check_folds_file(const cf_run_folder *run, const cf_config *c, const cf_cells *cells)
{
    uint8_t *now = NULL;
    int n_folds = 0;
    if (c->data_folds_file[0] == '\0') return CF_OK;
    CF_TRY(cf_new(&now, (size_t)cells->n, 1));
    cf_err err = cf_folds_read(c->data_folds_file, cells, &n_folds, now);
    if (err == CF_OK && memcmp(now, run->fold_of, (size_t)cells->n) != 0) err = other_data(run, c);
    free(now);
    return err;
}

/* text: of run.yaml. */
static cf_err check_init(const cf_run_folder *run, const cf_config *c, const char *text)
{
    const char *line = strstr(text, "\n" INIT_MARK);
    unsigned long long then = 0, now = run->init_hash;
    if (line != NULL) then = strtoull(line + strlen("\n" INIT_MARK), NULL, 16);
    if (then == now) return CF_OK;
    if (now == 0)
        return cf_fail(CF_E_USAGE,
                       "%s was started from initial weights (%016llx), and model.init names none "
                       "now; give another --run folder or the old file",
                       run->dir, then);
    if (then == 0)
        return cf_fail(CF_E_USAGE,
                       "%s was started without model.init, which is %s now; give another --run "
                       "folder or leave it out",
                       run->dir, c->model_init);
    return cf_fail(CF_E_USAGE,
                   "%s was started with other initial weights (%016llx) than model.init has now "
                   "(%s %016llx); give another --run folder or the old file",
                   run->dir, then, c->model_init, now);
}

/* The same images elsewhere: where they are now is where a report looks for patients and pictures.
 * All else stays as the run was started. */
static cf_err note_place(const cf_run_folder *run, const cf_config *c, const cf_cells *cells,
                         const char *run_yaml)
{
    cf_config *old = NULL;
    CF_TRY(cf_new(&old, 1, sizeof *old));
    cf_err err = cf_config_read(run_yaml, old);
    if (err == CF_OK && strcmp(old->data_cells, c->data_cells) != 0) {
        snprintf(old->data_cells, sizeof old->data_cells, "%s", c->data_cells);
        err = write_run_yaml(old, cells, run);
    }
    free(old);
    return err;
}

static cf_err resume_folder(const cf_config *c, const cf_cells *cells, const char *run_yaml,
                            cf_run_folder *run)
{
    char path[CF_PATH_MAX];
    char *text = NULL;
    size_t n = 0;
    CF_TRY(check_config(run, c, run_yaml));
    CF_TRY(cf_path_join(path, sizeof path, run->dir, "folds.csv"));
    if (cf_folds_read(path, cells, &run->n_folds, run->fold_of) != CF_OK) return other_data(run, c);
    CF_TRY(check_folds_file(run, c, cells));
    CF_TRY(hash_data(c, cells, run));
    run->resumed = true;
    CF_TRY(cf_file_read(run_yaml, 1 << 20, &text, &n));
    cf_err err = check_init(run, c, text);
    bool same = cf_trained_on_marked(text, run->folds_hash);
    free(text);
    CF_TRY(err);
    return same ? note_place(run, c, cells, run_yaml) : other_data(run, c);
}

/* A run that was refused before it trained anything (by a worker, say) left nothing to protect. */
static cf_err has_trained(const char *dir, bool *trained)
{
    char path[CF_PATH_MAX], name[32];
    *trained = false;
    for (int fold = 0; fold < CF_MAX_FOLDS && !*trained; fold++) {
        snprintf(name, sizeof name, "fold-%d", fold);
        CF_TRY(cf_path_join(path, sizeof path, dir, name));
        *trained = cf_path_exists(path);
    }
    return CF_OK;
}

/* others: jobs of other folds have it open, so that it is no longer as new. */
static cf_err open_folder(const cf_config *config, const cf_cells *cells, bool others,
                          cf_run_folder *run)
{
    const char *dir = run->dir;
    char run_yaml[CF_PATH_MAX];
    if (run->fold_of == NULL) CF_TRY(cf_new(&run->fold_of, (size_t)cells->n, 1));
    CF_TRY(cf_path_join(run_yaml, sizeof run_yaml, dir, "run.yaml"));
    if (!cf_path_exists(run_yaml)) return start_folder(config, cells, run);
    bool trained = false;
    CF_TRY(has_trained(dir, &trained));
    if (trained || others) return resume_folder(config, cells, run_yaml, run);
    cf_log_info("%s: nothing was trained there yet, it starts anew", dir);
    return start_folder(config, cells, run);
}

cf_err cf_run_folder_open(const char *dir, const cf_config *config, const cf_cells *cells,
                          cf_run_folder *run)
{
    *run = (cf_run_folder){.dir = dir};
    return open_folder(config, cells, false, run);
}

/* Folds that cannot be made are refused before the lock makes a folder. */
static cf_err try_folds(const cf_config *config, const cf_cells *cells, cf_run_folder *run)
{
    char run_yaml[CF_PATH_MAX];
    CF_TRY(cf_path_join(run_yaml, sizeof run_yaml, run->dir, "run.yaml"));
    if (cf_path_exists(run_yaml)) return CF_OK;
    CF_TRY(cf_new(&run->fold_of, (size_t)cells->n, 1));
    return make_folds(config, cells, run);
}

/* A kill while a file was written leaves its temporary. */
static void tidy(const cf_run_folder *run)
{
    char path[CF_PATH_MAX], name[32];
    cf_dir_tidy(run->dir);
    if (cf_path_join(path, sizeof path, run->dir, "plots") == CF_OK) cf_dir_tidy(path);
    for (int fold = 0; fold < run->n_folds; fold++) {
        snprintf(name, sizeof name, "fold-%d", fold);
        if (cf_path_join(path, sizeof path, run->dir, name) == CF_OK) cf_dir_tidy(path);
    }
}

cf_err cf_run_folder_take(const char *dir, int only_fold, const cf_config *config,
                          const cf_cells *cells, cf_run_folder *run)
{
    bool others = false;
    cf_run_lock_times times = cf_run_lock_times_default();
    *run = (cf_run_folder){.dir = dir};
    CF_TRY(try_folds(config, cells, run));
    CF_TRY(cf_run_lock_take(dir, only_fold, &times, &run->lock));
    CF_TRY(cf_run_lock_enter(run->lock, &others));
    cf_err err = open_folder(config, cells, others, run);
    if (err == CF_OK) tidy(run);
    cf_run_lock_leave(run->lock);
    return err;
}

void cf_run_folder_fini(cf_run_folder *run)
{
    cf_run_lock_release(run->lock);
    free(run->fold_of);
    memset(run, 0, sizeof *run);
}

cf_err cf_run_folder_log(const cf_run_folder *run, const cf_buf *line)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, run->dir, "log.jsonl"));
    cf_err err = cf_file_append(path, line->data, line->len);
    if (err == CF_E_DISK) cf_log_warn("a line is missing there: %s", cf_err_text());
    return err == CF_E_DISK ? CF_OK : err;
}
