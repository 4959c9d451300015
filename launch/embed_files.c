#include "launch/embed_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/plot.h"
#include "kernels/base/mem.h"
#include "launch/npy.h"
#include "proto/csv.h"

enum { DIGITS = 9 };

void cf_embed_fini(cf_embed *e)
{
    cf_features_fini(&e->features);
    cf_common_fini(&e->common);
    cf_neighbours_fini(&e->nearest);
    free(e->y);
    memset(e, 0, sizeof *e);
}

static int32_t label_of(const cf_embed *e, int64_t row)
{
    return e->cells->labels[e->features.images[row]];
}

cf_err cf_embed_write_csv(const cf_embed *e, const char *dir)
{
    char path[CF_PATH_MAX];
    cf_buf out = {0};
    CF_TRY(cf_path_join(path, sizeof path, dir, "embed.csv"));
    cf_buf_printf(&out, "id,fold,label,predicted,x,y\n");
    for (int64_t i = 0; i < e->features.n; i++) {
        cf_csv_put(&out, e->cells->ids[e->features.images[i]], CF_CSV_MORE);
        cf_csv_put_integer(&out, e->features.folds[i], CF_CSV_MORE);
        cf_csv_put(&out, e->scheme->classes[label_of(e, i)].code, CF_CSV_MORE);
        cf_csv_put(&out, e->scheme->classes[e->features.predicted[i]].code, CF_CSV_MORE);
        cf_csv_put_number(&out, (double)e->y[2 * i], DIGITS, CF_CSV_MORE);
        cf_csv_put_number(&out, (double)e->y[2 * i + 1], DIGITS, CF_CSV_END_ROW);
    }
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) err = cf_file_save(path, out.data, out.len);
    cf_buf_fini(&out);
    return err;
}

static void put_mixing(cf_json *j, const char *key, const cf_mixing *m)
{
    cf_json_object(j, key);
    cf_json_number(j, "same_class", m->same_class);
    cf_json_number(j, "same_fold", m->same_fold);
    cf_json_number(j, "chance", m->chance);
    cf_json_end_object(j);
}

static void put_folds(cf_json *j, const cf_embed *e)
{
    cf_json_array(j, "folds");
    for (int k = 0; k < e->features.n_folds; k++) {
        const cf_features_turn *t = &e->common.turns[k];
        cf_json_object(j, NULL);
        cf_json_integer(j, "fold", e->features.fold[k]);
        cf_json_string(j, "checkpoint", e->checkpoints[k]);
        if (e->features.n_folds > 1) {
            cf_json_integer(j, "shared", t->n_shared);
            cf_json_boolean(j, "trained_by_both", t->trained_by_both);
            cf_json_number(j, "kept", t->kept);
            cf_json_number(j, "agreement", t->agreement);
        }
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
}

void cf_embed_json(const cf_embed *e, cf_buf *out)
{
    cf_json j;
    char data[32];
    snprintf(data, sizeof data, "%016llx", (unsigned long long)e->data);
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "data", data);
    cf_json_integer(&j, "images", e->features.n);
    cf_json_integer(&j, "features", e->features.d);
    cf_json_integer(&j, "components", e->common.d);
    put_folds(&j, e);
    cf_json_integer(&j, "neighbors", e->options.neighbours);
    cf_json_number(&j, "min_dist", e->options.min_dist);
    cf_json_string(&j, "metric", e->options.metric == CF_UMAP_COSINE ? "cosine" : "euclidean");
    cf_json_integer(&j, "epochs", cf_umap_epochs(&e->options, e->features.n));
    cf_json_integer(&j, "seed", e->options.seed);
    cf_json_object(&j, "neighbours_search");
    cf_json_boolean(&j, "approximate", e->nearest.approximate);
    cf_json_number(&j, "found", e->nearest.found);
    cf_json_end_object(&j);
    cf_json_object(&j, "trustworthiness");
    cf_json_integer(&j, "k", e->trust_k);
    cf_json_integer(&j, "images", e->trust_n);
    cf_json_number(&j, "value", e->trustworthiness);
    cf_json_end_object(&j);
    put_mixing(&j, "space", &e->space);
    put_mixing(&j, "picture", &e->picture);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}

cf_err cf_embed_write_json(const cf_embed *e, const char *dir)
{
    char path[CF_PATH_MAX];
    cf_buf out = {0};
    CF_TRY(cf_path_join(path, sizeof path, dir, "embed.json"));
    cf_embed_json(e, &out);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) err = cf_file_save(path, out.data, out.len);
    cf_buf_fini(&out);
    return err;
}

static cf_err draw(const cf_embed *e, cf_canvas **canvas)
{
    size_t n = (size_t)e->features.n;
    double *x = NULL, *y = NULL;
    int32_t *group = NULL;
    const char **names = NULL;
    char title[128];
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&x, n, sizeof *x), out);
    CF_TRY_GOTO(cf_new(&y, n, sizeof *y), out);
    CF_TRY_GOTO(cf_new(&group, n, sizeof *group), out);
    CF_TRY_GOTO(cf_new(&names, (size_t)e->scheme->n_classes, sizeof *names), out);
    for (int64_t i = 0; i < e->features.n; i++) {
        x[i] = (double)e->y[2 * i];
        y[i] = (double)e->y[2 * i + 1];
        group[i] = label_of(e, i);
    }
    for (int c = 0; c < e->scheme->n_classes; c++) names[c] = e->scheme->classes[c].code;
    snprintf(title, sizeof title, "UMAP of the features of %lld test images, by true class",
             (long long)e->features.n);
    cf_plot_cloud cloud = {.title = title,
                           .n = e->features.n,
                           .x = x,
                           .y = y,
                           .group = group,
                           .n_groups = e->scheme->n_classes,
                           .names = names};
    err = cf_plot_scatter(&cloud, canvas);
out:
    free(names);
    free(group);
    free(y);
    free(x);
    return err;
}

cf_err cf_embed_plot(const cf_embed *e, const char *dir)
{
    char plots[CF_PATH_MAX];
    cf_canvas *canvas = NULL;
    CF_TRY(cf_path_join(plots, sizeof plots, dir, "plots"));
    CF_TRY(cf_dir_make(plots));
    CF_TRY(draw(e, &canvas));
    cf_err err = cf_plot_save(canvas, plots, "embed");
    cf_canvas_destroy(canvas);
    return err;
}

cf_err cf_embed_write_features(const cf_embed *e, const char *path)
{
    const int64_t dims[2] = {e->features.n, e->features.d};
    return cf_npy_save(path, dims, 2, e->features.x);
}
