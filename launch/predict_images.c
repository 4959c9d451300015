#include "launch/predict_images.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "launch/progress.h"
#include "launch/signals.h"
#include "worker/data/pack.h"

#define SCALE_TOLERANCE 0.05 /* a pixel's size is seldom known better */

static bool is_cells(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && strcmp(dot, ".cells") == 0 && !cf_path_is_dir(path);
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static cf_err open_cells(const cf_predict_wishes *w, const cf_saved *run, cf_cells *cells)
{
    const char *path = w->sources.operands.items[0];
    if (w->sources.operands.n > 1)
        return cf_fail(CF_E_USAGE, "%s: a cells file is predicted by itself, without other sources",
                       path);
    if (w->crop_um >= 0 || w->size > 0 || w->sources.scales.n > 0 || *w->sources.site)
        return cf_fail(CF_E_USAGE,
                       "%s: a cells file is taken as it is: no --size, --crop-um, --um-per-px or "
                       "--site with it",
                       path);
    CF_TRY(cf_cells_open_any(path, cells));
    if (run->height > 0 && (cells->height != run->height || cells->width != run->width))
        cf_log_warn("%s holds images of %d x %d px, the run was trained on %d x %d", path,
                    cells->width, cells->height, run->width, run->height);
    double scale = run->um_per_px > 0 ? cells->um_per_px / run->um_per_px : 0;
    if (scale > 0 && (scale < 1 - SCALE_TOLERANCE || scale > 1 + SCALE_TOLERANCE))
        cf_log_warn("%s has pixels of %.4g um, the run was trained on %.4g um: cells have another "
                    "size than those it knows",
                    path, cells->um_per_px, run->um_per_px);
    if (is_same_file(path, run->config.data_cells))
        cf_log_warn("%s is what the run was trained on: of it, a fold's network has only its own "
                    "test images not seen before",
                    path);
    return CF_OK;
}

/* The images are cut and resized as those that the network learnt from. cropped: where packing
 * says whether they are cut to the run's field. */
static cf_cut cut_as_run(const cf_predict_wishes *w, const cf_saved *run, bool *cropped)
{
    cf_cut cut = {.patch = (int)w->patch, .size = (int)w->size};
    if (cut.size == 0 && run->height == run->width) cut.size = run->height;
    if (cut.size == 0 && run->height == 0) {
        cut.size = (int)run->config.model_image_size;
        cf_log_warn("%s: the size of the images that it was trained on is not known; they are "
                    "resized to %d px (--size N)",
                    run->dir, cut.size);
    }
    if (w->crop_um >= 0) {
        cut.crop_um = w->crop_um;
    } else if (run->um_per_px > 0) {
        cut.crop_um = run->um_per_px * run->height;
        cut.cropped = cropped;
    }
    return cut;
}

static void tell_cut(const cf_cut *cut, const cf_pack_result *r)
{
    if (cut->cropped == NULL || r->n_found == 0) return;
    if (*cut->cropped)
        cf_log_info("images are cut to the run's field of %.4g um (--crop-um F; 0: whole)",
                    cut->crop_um);
    else
        cf_log_warn("not every image's pixel size is known, so that they are not cut to the run's "
                    "field of %.4g um: cells may have another size than those it was trained on "
                    "(--um-per-px F, or a column um_per_px in the manifest; --crop-um 0: whole)",
                    cut->crop_um);
}

static bool on_progress(void *progress, int64_t done, int64_t total)
{
    cf_progress_update(progress, done, total);
    return cf_signals_caught() == 0;
}

/* The packer's word where it stopped, without the name of a file that nobody asked for. */
static cf_err judge(const cf_predict_wishes *w, const cf_pack_result *r, cf_err err)
{
    if (r->interrupted)
        return cf_fail(err, "interrupted while images were read; nothing was predicted");
    bool stopped = !w->skip_damaged && r->n_damaged > 0;
    if (err != CF_E_DATA || r->n_damaged == 0 || (!stopped && r->n_packed > 0)) return err;
    return cf_fail(CF_E_DATA, "%lld of %lld images cannot be read; nothing was predicted%s",
                   (long long)r->n_damaged, (long long)r->n_found,
                   stopped && r->n_damaged < r->n_found ? " (--skip-damaged leaves them out)" : "");
}

static cf_err pack(cf_predict_wishes *w, const cf_saved *run, const char *path, cf_strings *damaged)
{
    char scheme[CF_PATH_MAX];
    cf_pack_result r;
    cf_progress progress;
    bool cropped = false;
    CF_TRY(cf_sources_make(&w->sources));
    CF_TRY(cf_path_join(scheme, sizeof scheme, run->dir, "scheme.yaml"));
    cf_pack_options o = {.sources = w->sources.sources,
                         .n_sources = (int)w->sources.operands.n,
                         .scheme = scheme,
                         .output = path,
                         .cut = cut_as_run(w, run, &cropped),
                         .unmapped = CF_UNMAPPED_KEEP,
                         .max_pixels = w->max_pixels,
                         .stains = w->stains ? CF_PACK_STAINS : CF_PACK_NO_STAINS,
                         .damaged = w->skip_damaged ? CF_PACK_SKIP : CF_PACK_STOP,
                         .progress = on_progress,
                         .context = &progress};
    cf_progress_begin(&progress, "read");
    cf_err err = cf_pack(&o, &r);
    cf_progress_end(&progress);
    tell_cut(&o.cut, &r);
    cf_sources_list_damaged(&r.damaged, "");
    for (size_t i = 0; i < r.notes.n; i++) cf_log_info("%s", r.notes.items[i]);
    if (*r.folds) unlink(r.folds); /* a split has no meaning here */
    err = judge(w, &r, err);
    *damaged = r.damaged; /* moved */
    r.damaged = (cf_strings){0};
    cf_pack_result_fini(&r);
    return err;
}

cf_err cf_predict_images(cf_predict_wishes *w, const cf_saved *run, cf_cells *cells,
                         cf_strings *damaged)
{
    char dir[CF_PATH_MAX], path[CF_PATH_MAX];
    const char *base = getenv("TMPDIR");
    *cells = (cf_cells){0};
    for (size_t i = 0; i < w->sources.operands.n; i++)
        if (is_cells(w->sources.operands.items[i])) return open_cells(w, run, cells);
    CF_TRY(cf_path_join(dir, sizeof dir, base && *base ? base : "/tmp", "cytofold-predict-XXXXXX"));
    if (mkdtemp(dir) == NULL) return cf_fail_errno(CF_E_DISK, "%s", dir);
    cf_err err = cf_path_join(path, sizeof path, dir, "images.cells");
    if (err == CF_OK) err = pack(w, run, path, damaged);
    if (err == CF_OK) err = cf_cells_open_any(path, cells);
    unlink(path); /* its pages stay as long as it is open, and nothing stays after a crash */
    rmdir(dir);
    return err;
}

const char *cf_predict_given(const cf_cells *cells, int64_t i)
{
    const char *given = cells->given ? cells->given_names.items[cells->given[i]] : "";
    if (*given || cells->labels[i] == CF_LABEL_UNKNOWN) return given;
    return cells->scheme.classes[cells->labels[i]].code;
}

static int label_of(const cf_cells *cells, const cf_scheme *s, const cf_class_map *map, int64_t i)
{
    const char *given = cf_predict_given(cells, i);
    int label = cf_class_map_find(map, s, given);
    if (label != CF_LABEL_UNKNOWN || cells->labels[i] == CF_LABEL_UNKNOWN) return label;
    if (cf_class_map_knows(map, given)) return label; /* that it has no class */
    return cf_class_map_find(map, s, cells->scheme.classes[cells->labels[i]].code);
}

cf_err cf_predict_labels(const cf_cells *cells, const cf_scheme *s, const cf_class_map *map,
                         int32_t *labels)
{
    int64_t n_known = 0;
    for (int64_t i = 0; i < cells->n; i++) {
        labels[i] = (int32_t)label_of(cells, s, map, i);
        n_known += labels[i] != CF_LABEL_UNKNOWN;
    }
    if (n_known > 0 || cells->n_unknown == cells->n || map != NULL) return CF_OK;
    return cf_fail(CF_E_USAGE,
                   "the cells file is of scheme %s, none of whose classes scheme %s of the run "
                   "knows; --class-map FILE says what they are",
                   cells->scheme.name, s->name);
}
