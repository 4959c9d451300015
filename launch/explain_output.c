#include "launch/explain_output.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "launch/npy.h"
#include "launch/predict_images.h"
#include "worker/insight/gradcam.h"
#include "worker/insight/smoothgrad.h"

enum { TILE = 320, ROWS = 8 }; /* px; rows of a sheet of many images */

#define SHEET "sheet-"

static int n_panels(const cf_explain_output *o)
{
    return 1 + (o->options->smoothgrad ? 1 : 0) + (o->options->gradcam ? 1 : 0);
}

cf_err cf_explain_output_init(cf_explain_output *o)
{
    cf_heat_colors(&o->heat);
    CF_TRY(cf_new(&o->items, (size_t)o->options->n_images, sizeof *o->items));
    return cf_dir_make(o->folder);
}

void cf_explain_output_fini(cf_explain_output *o)
{
    cf_sheet_destroy(o->sheet);
    for (int64_t i = 0; o->items != NULL && i < o->options->n_images; i++)
        free(o->items[i].picture);
    free(o->items);
}

/* ---- names ------------------------------------------------------------------------------------
 */

/* "BLA/BLA_00001.jpg" -> "BLA_BLA_00001"; long ones keep their end, which tells images apart. */
static void plain_name(const char *id, char *name, size_t n)
{
    enum { LONGEST = 150 };
    id += strspn(id, "./");
    size_t length = strlen(id);
    if (length > LONGEST) id += length - LONGEST;
    snprintf(name, n, "%s", id);
    char *dot = strrchr(name, '.');
    if (dot != NULL && dot != name && strlen(dot) <= 5 && strchr(dot, '/') == NULL) *dot = '\0';
    for (char *c = name; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("-_+@", *c) == NULL && *c != '.') *c = '_';
    if (name[0] == '.') name[0] = '_';
    if (name[0] == '\0') snprintf(name, n, "_");
}

/* "sheet-7.png" is none of an image: all of them together have such names. */
static bool is_sheet(const char *picture)
{
    if (strncmp(picture, SHEET, strlen(SHEET)) != 0) return false;
    const char *number = picture + strlen(SHEET);
    size_t digits = strspn(number, "0123456789");
    return digits > 0 && strcmp(number + digits, ".png") == 0;
}

static bool is_taken(const cf_explain_output *o, const char *picture)
{
    for (int64_t i = 0; i < o->options->n_images; i++)
        if (o->items[i].picture != NULL && strcmp(o->items[i].picture, picture) == 0) return true;
    return is_sheet(picture);
}

/* Several ids may come to one name: a later one has its place behind it, and where some id has that
 * name already, a number. */
static cf_err name_image(cf_explain_output *o, const cf_explanation *x, char *name, size_t n)
{
    char picture[256];
    plain_name(o->cells->ids[o->options->images[x->place]], name, n);
    size_t length = strlen(name);
    for (int64_t k = 0;; k++) {
        if (k > 0) snprintf(name + length, n - length, "-%lld", (long long)x->place);
        if (k > 1) snprintf(name + strlen(name), n - strlen(name), "-%lld", (long long)k);
        snprintf(picture, sizeof picture, "%.200s.png", name);
        if (!is_taken(o, picture)) break;
    }
    return cf_strdup(picture, &o->items[x->place].picture);
}

/* ---- pictures ---------------------------------------------------------------------------------
 */

/* The panels of one image, at the network's size. */
typedef struct panels {
    float *map, *scratch;  /* owned, [size * size] */
    uint8_t *smooth, *cam; /* owned, [size * size * 3]; NULL: not asked for */
} panels;

static void panels_fini(panels *p)
{
    free(p->map);
    free(p->scratch);
    free(p->smooth);
    free(p->cam);
}

static cf_err paint(const cf_explain_output *o, const cf_explanation *x, panels *p)
{
    size_t n = (size_t)x->size * (size_t)x->size;
    CF_TRY(cf_new(&p->map, n, sizeof *p->map));
    CF_TRY(cf_new(&p->scratch, n, sizeof *p->scratch));
    if (x->smoothgrad != NULL) {
        CF_TRY(cf_new(&p->smooth, n, 3));
        cf_smoothgrad_map(x->smoothgrad, (int64_t)n, p->map, p->scratch);
        cf_heat_picture(&o->heat, p->map, (int64_t)n, p->smooth);
    }
    if (x->gradcam == NULL) return CF_OK;
    CF_TRY(cf_new(&p->cam, n, 3));
    cf_map_enlarge(x->gradcam, x->map_height, x->map_width, x->map_place, x->size, x->size,
                   p->scratch, p->map);
    (void)cf_map_scale(p->map, (int64_t)n);
    cf_heat_overlay(&o->heat, x->seen, p->map, (int64_t)n, p->cam);
    return CF_OK;
}

static cf_err add_row(const cf_explain_output *o, const cf_explanation *x, const panels *p,
                      cf_sheet *sheet)
{
    const cf_class *classes = o->run->scheme.classes;
    int64_t image = o->options->images[x->place];
    const char *given = cf_predict_given(o->cells, image);
    const char *predicted = classes[x->predicted].code, *code = classes[x->class].code;
    char text[512];
    CF_TRY(cf_sheet_row(sheet, NULL));
    snprintf(text, sizeof text, "%.300s\n%s%.60s%spredicted %s %.2f (fold %d)",
             o->cells->ids[image], *given ? "truth " : "", given, *given ? ", " : "", predicted,
             x->p[x->predicted], x->fold);
    CF_TRY(cf_sheet_tile(sheet, x->seen, x->size, x->size, text, NULL));
    if (p->smooth != NULL) {
        snprintf(text, sizeof text, "SmoothGrad for %s\n%d copies, noise %g", code,
                 o->options->samples, o->options->noise);
        CF_TRY(cf_sheet_tile(sheet, p->smooth, x->size, x->size, text, NULL));
    }
    if (p->cam == NULL) return CF_OK;
    snprintf(text, sizeof text, "Grad-CAM for %s (probability %.2f)\nlayer %s, %d x %d", code,
             x->p[x->class], o->layer, x->map_height, x->map_width);
    return cf_sheet_tile(sheet, p->cam, x->size, x->size, text, NULL);
}

static cf_err write_sheet(cf_explain_output *o)
{
    char name[32], path[CF_PATH_MAX];
    snprintf(name, sizeof name, SHEET "%d.png", o->n_sheets + 1);
    CF_TRY(cf_path_join(path, sizeof path, o->folder, name));
    CF_TRY(cf_sheet_write(o->sheet, path));
    cf_sheet_destroy(o->sheet);
    o->sheet = NULL;
    o->n_rows = 0;
    o->n_sheets++;
    return CF_OK;
}

static cf_err write_pictures(cf_explain_output *o, const cf_explanation *x, const panels *p)
{
    char path[CF_PATH_MAX];
    cf_sheet *own = NULL;
    CF_TRY(cf_path_join(path, sizeof path, o->folder, o->items[x->place].picture));
    CF_TRY(cf_sheet_create(n_panels(o), TILE, NULL, &own));
    cf_err err = add_row(o, x, p, own);
    if (err == CF_OK) err = cf_sheet_write(own, path);
    cf_sheet_destroy(own);
    if (err != CF_OK || o->options->n_images == 1) return err;
    if (o->sheet == NULL) CF_TRY(cf_sheet_create(n_panels(o), TILE, NULL, &o->sheet));
    CF_TRY(add_row(o, x, p, o->sheet));
    return ++o->n_rows == ROWS ? write_sheet(o) : CF_OK;
}

cf_err cf_explain_output_finish(cf_explain_output *o)
{
    return o->sheet != NULL ? write_sheet(o) : CF_OK;
}

/* ---- raw arrays -------------------------------------------------------------------------------
 */

static cf_err write_npy(const cf_explain_output *o, const char *name, const char *kind,
                        const int64_t *dims, int n_dims, const float *values)
{
    char file[256], path[CF_PATH_MAX];
    snprintf(file, sizeof file, "%.200s.%s.npy", name, kind);
    CF_TRY(cf_path_join(path, sizeof path, o->folder, file));
    return cf_npy_save(path, dims, n_dims, values);
}

static cf_err write_raw(const cf_explain_output *o, const cf_explanation *x, const char *name)
{
    const int64_t map[2] = {x->map_height, x->map_width}, image[3] = {x->size, x->size, 3};
    if (x->gradcam != NULL) CF_TRY(write_npy(o, name, "gradcam", map, 2, x->gradcam));
    if (x->smoothgrad == NULL) return CF_OK;
    return write_npy(o, name, "smoothgrad", image, 3, x->smoothgrad);
}

cf_err cf_explain_write(cf_explain_output *o, const cf_explanation *x)
{
    char name[256];
    panels p = {0};
    cf_explained *item = &o->items[x->place];
    item->fold = x->fold;
    item->predicted = x->predicted;
    item->class = x->class;
    item->p_predicted = x->p[x->predicted];
    item->p_class = x->p[x->class];
    item->score = x->score;
    CF_TRY(name_image(o, x, name, sizeof name));
    cf_err err = paint(o, x, &p);
    if (err == CF_OK) err = write_pictures(o, x, &p);
    if (err == CF_OK && o->raw) err = write_raw(o, x, name);
    panels_fini(&p);
    return err;
}

/* ---- the summary ------------------------------------------------------------------------------
 */

void cf_explain_text(const cf_explain_output *o, cf_buf *out)
{
    const cf_explain_options *w = o->options;
    const cf_class *classes = o->run->scheme.classes;
    for (int64_t i = 0; i < w->n_images; i++) {
        const cf_explained *item = &o->items[i];
        cf_buf_printf(out, "%s: %s predicted %s %.3f", item->picture, o->cells->ids[w->images[i]],
                      classes[item->predicted].code, item->p_predicted);
        if (item->class != item->predicted)
            cf_buf_printf(out, ", explained %s %.3f", classes[item->class].code, item->p_class);
        cf_buf_printf(out, ", fold %d\n", item->fold);
    }
    if (o->n_sheets == 1) cf_buf_printf(out, SHEET "1.png: all of them\n");
    if (o->n_sheets > 1)
        cf_buf_printf(out, SHEET "1.png to " SHEET "%d.png: all of them\n", o->n_sheets);
}

static void write_item(const cf_explain_output *o, int64_t i, cf_json *j)
{
    const cf_explained *item = &o->items[i];
    const cf_class *classes = o->run->scheme.classes;
    int64_t image = o->options->images[i];
    cf_json_object(j, NULL);
    cf_json_string(j, "id", o->cells->ids[image]);
    cf_json_string(j, "picture", item->picture);
    cf_json_string(j, "label", cf_predict_given(o->cells, image));
    cf_json_integer(j, "fold", item->fold);
    cf_json_string(j, "predicted", classes[item->predicted].code);
    cf_json_number(j, "probability", item->p_predicted);
    cf_json_string(j, "class", classes[item->class].code);
    cf_json_number(j, "class_probability", item->p_class);
    cf_json_number(j, "class_score", item->score);
    cf_json_end_object(j);
}

void cf_explain_json(const cf_explain_output *o, const cf_explain_report *r, cf_buf *out)
{
    const cf_explain_options *w = o->options;
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "folder", o->folder);
    cf_json_string(&j, "run", o->run->dir);
    cf_json_string(&j, "scheme", o->run->scheme.name);
    cf_json_boolean(&j, "gradcam", w->gradcam);
    cf_json_boolean(&j, "smoothgrad", w->smoothgrad);
    if (w->gradcam) cf_json_string(&j, "layer", r->layer);
    if (w->smoothgrad) {
        cf_json_integer(&j, "samples", w->samples);
        cf_json_number(&j, "noise", w->noise);
        cf_json_integer(&j, "seed", (int64_t)w->seed);
    }
    cf_json_integer(&j, "sheets", o->n_sheets);
    cf_json_array(&j, "images");
    for (int64_t i = 0; i < w->n_images; i++) write_item(o, i, &j);
    cf_json_end_array(&j);
    cf_json_string(&j, "device", r->device);
    cf_json_number(&j, "seconds", (double)r->ns / 1e9);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}
