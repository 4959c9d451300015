#include "worker/saved.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/cells.h"
#include "worker/store.h"

enum { MAX_YAML_BYTES = 1 << 20, MAX_SIDE = 8192 };

static cf_err fold_dir(const cf_saved *s, int fold, char path[CF_PATH_MAX])
{
    char name[32];
    snprintf(name, sizeof name, "fold-%d", fold);
    return cf_path_join(path, CF_PATH_MAX, s->dir, name);
}

static cf_err has_checkpoint(const char *dir, bool *has)
{
    cf_strings names = {0};
    *has = false;
    if (!cf_path_is_dir(dir)) return CF_OK;
    CF_TRY(cf_dir_list(dir, &names));
    for (size_t i = 0; i < names.n; i++) {
        const char *dot = strrchr(names.items[i], '.');
        *has |= strncmp(names.items[i], "checkpoint-", 11) == 0 && dot && strcmp(dot, ".ckpt") == 0;
    }
    cf_strings_fini(&names);
    return CF_OK;
}

static cf_err find_folds(cf_saved *s)
{
    char path[CF_PATH_MAX];
    for (int fold = 0; fold < CF_MAX_FOLDS; fold++) {
        bool has = false;
        CF_TRY(fold_dir(s, fold, path));
        CF_TRY(has_checkpoint(path, &has));
        if (has) s->folds[s->n_folds++] = fold;
    }
    if (s->n_folds > 0) return CF_OK;
    return cf_fail(CF_E_CHECKPOINT, "%s: no fold has a checkpoint yet", s->dir);
}

/* Size and scale of the images: run.yaml says so; runs before it did had their cells file. */
static cf_err find_images(cf_saved *s, const char *run_yaml)
{
    char *text = NULL;
    size_t n = 0;
    CF_TRY(cf_file_read(run_yaml, MAX_YAML_BYTES, &text, &n));
    const char *line = strstr(text, "\n# images: ");
    int found = line == NULL ? 0
                             : sscanf(line, " # images: %d x %d px, %lf um/px", &s->width,
                                      &s->height, &s->um_per_px);
    free(text);
    if (found >= 2 && s->width > 0 && s->width <= MAX_SIDE && s->height > 0 &&
        s->height <= MAX_SIDE)
        return CF_OK;
    s->um_per_px = 0;
    s->width = s->height = (int)s->config.data_pack_size;
    cf_cells cells;
    if (!cf_path_exists(s->config.data_cells) ||
        cf_cells_open_any(s->config.data_cells, &cells) != CF_OK)
        return CF_OK;
    s->width = cells.width;
    s->height = cells.height;
    s->um_per_px = cells.um_per_px;
    cf_cells_close(&cells);
    return CF_OK;
}

cf_err cf_saved_open(const char *dir, cf_saved *s)
{
    char path[CF_PATH_MAX];
    memset(s, 0, sizeof *s);
    if (!cf_path_is_dir(dir)) return cf_fail(CF_E_DATA, "%s: not a run folder", dir);
    CF_TRY(cf_path_join(s->dir, sizeof s->dir, dir, ""));
    s->dir[strlen(s->dir) - 1] = '\0'; /* without the slash */
    CF_TRY(cf_path_join(path, sizeof path, s->dir, "scheme.yaml"));
    if (!cf_path_exists(path))
        return cf_fail(CF_E_DATA, "%s: not a run folder: no scheme.yaml in it", dir);
    CF_TRY(cf_scheme_read(path, &s->scheme));
    CF_TRY(cf_path_join(path, sizeof path, s->dir, "run.yaml"));
    if (!cf_path_exists(path))
        return cf_fail(CF_E_DATA, "%s: not a run folder: no run.yaml in it", dir);
    cf_config_defaults(&s->config);
    CF_TRY(cf_config_read(path, &s->config));
    CF_TRY(cf_config_validate(&s->config));
    CF_TRY(find_images(s, path));
    return find_folds(s);
}

void cf_saved_fini(cf_saved *s)
{
    cf_scheme_fini(&s->scheme);
}

static bool holds(const int *folds, int n, int64_t fold)
{
    for (int i = 0; i < n; i++)
        if (folds[i] == fold) return true;
    return false;
}

cf_err cf_saved_choose(cf_saved *s, const int64_t *folds, int n)
{
    int chosen[CF_MAX_FOLDS], n_chosen = 0;
    for (int i = 0; i < n; i++)
        if (!holds(s->folds, s->n_folds, folds[i]))
            return cf_fail(CF_E_CHECKPOINT, "%s/fold-%lld: no checkpoint there", s->dir,
                           (long long)folds[i]);
    for (int k = 0; k < s->n_folds; k++) /* in ascending order, whatever the order given */
        for (int i = 0; i < n; i++)
            if (folds[i] == s->folds[k] && !holds(chosen, n_chosen, folds[i]))
                chosen[n_chosen++] = s->folds[k];
    memcpy(s->folds, chosen, sizeof s->folds);
    s->n_folds = n_chosen;
    return CF_OK;
}

/* ---- weights ----------------------------------------------------------------------------------
 */

static const cf_tensor_entry *find_entry(const cf_checkpoint *c, const char *name)
{
    for (int i = 0; i < c->n_entries; i++)
        if (strcmp(c->entries[i].name, name) == 0) return &c->entries[i];
    return NULL;
}

/* Every tensor of the network lies where the checkpoint has it. */
static cf_err check_network(const cf_graph *g, const cf_checkpoint *c)
{
    if (c->n_entries != g->n_params)
        return cf_fail(CF_E_CHECKPOINT,
                       "the checkpoint is of another network: %d tensors, run.yaml's has %d",
                       c->n_entries, g->n_params);
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        const cf_tensor_entry *e = find_entry(c, p->name);
        bool same = e != NULL && e->rank == p->rank && e->offset == p->offset;
        for (int d = 0; same && d < p->rank; d++) same = e->dim[d] == p->dim[d];
        if (!same)
            return cf_fail(CF_E_CHECKPOINT,
                           "the checkpoint is of another network: tensor %s %s, unlike run.yaml's",
                           p->name, e == NULL ? "is not there" : "has another shape or place");
    }
    return CF_OK;
}

static cf_err copy_flat(const cf_checkpoint *c, const char *name, int64_t from, int64_t count,
                        int64_t total, float *out)
{
    for (int k = 0; k < c->n_flats; k++) {
        if (strcmp(c->flats[k].name, name) != 0 || c->flats[k].count != total) continue;
        if (count > 0) memcpy(out, c->flats[k].data + from, (size_t)count * sizeof *out);
        return CF_OK;
    }
    return cf_fail(CF_E_CHECKPOINT, "the checkpoint has no %s of %lld elements", name,
                   (long long)total);
}

static cf_err take_weights(const cf_saved *s, const cf_graph *g, int fold, const cf_checkpoint *c,
                           float *weights, float *state)
{
    int64_t n = g->n_weights, m = g->n_state;
    if (c->fold != fold) return cf_fail(CF_E_CHECKPOINT, "the checkpoint is of fold %d", c->fold);
    CF_TRY(check_network(g, c));
    if (c->step < c->total_steps)
        cf_log_warn("%s: fold %d was trained for %lld of %lld steps so far", s->dir, fold,
                    (long long)c->step, (long long)c->total_steps);
    if (s->config.train_ema > 0) { /* as the run itself tests */
        CF_TRY(copy_flat(c, "ema", 0, n, n + m, weights));
        return copy_flat(c, "ema", n, m, n + m, state);
    }
    CF_TRY(copy_flat(c, "weights", 0, n, n, weights));
    return m > 0 ? copy_flat(c, "state", 0, m, m, state) : CF_OK;
}

cf_err cf_saved_weights(const cf_saved *s, const cf_graph *g, int fold, float *weights,
                        float *state)
{
    char dir[CF_PATH_MAX];
    cf_checkpoint *c = NULL;
    bool found = false;
    CF_TRY(fold_dir(s, fold, dir));
    CF_TRY(cf_new(&c, 1, sizeof *c));
    cf_err err = cf_store_load_newest(dir, c, &found);
    if (err == CF_OK && !found) err = cf_fail(CF_E_CHECKPOINT, "%s: no checkpoint there", dir);
    if (err == CF_OK) err = cf_where(take_weights(s, g, fold, c, weights, state), "%s", dir);
    if (found) cf_checkpoint_fini(c);
    free(c);
    return err;
}
