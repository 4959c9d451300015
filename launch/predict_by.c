#include "launch/predict_by.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/outputs.h"
#include "worker/data/fetch.h"
#include "worker/data/sheet.h"

enum { COLUMNS = 6, FIRST = 24, TILE = 150, SHEET_NAME = 40 };
#define LIST         "first.csv"
#define LIST_COLUMNS ",place,id,predicted,p_"

static const char *const names[] = {"", "patient", "site"};

const char *cf_predict_by_name(cf_predict_by by)
{
    return names[by];
}

cf_err cf_predict_by_parse(const char *text, cf_predict_by *by)
{
    for (int k = CF_BY_PATIENT; k <= CF_BY_SITE; k++) {
        if (strcmp(text, names[k]) != 0) continue;
        *by = (cf_predict_by)k;
        return CF_OK;
    }
    if (strcmp(text, "slide") == 0)
        return cf_fail(CF_E_USAGE, "--by slide: neither manifests nor cells files know slides; put "
                                   "their names into the manifest's column patient and count by "
                                   "patient");
    return cf_fail(CF_E_USAGE, "--by takes patient or site, found '%.80s'", text);
}

cf_err cf_predict_by_check(cf_predict_by by, const cf_cells *cells)
{
    if (by != CF_BY_PATIENT || cells->patient_names.n > 0) return CF_OK;
    return cf_fail(CF_E_DATA, "--by patient: no image has a patient; a manifest names them in its "
                              "column patient");
}

cf_err cf_predict_by_count(cf_predict_by by, const cf_scheme *s, const cf_cells *cells,
                           const cf_predictions *p, const uint8_t *unlike, cf_differential *d)
{
    memset(d, 0, sizeof *d);
    if (by == CF_BY_SITE)
        return cf_differential_count(s, p, cells->sites, &cells->site_names, unlike, FIRST, d);
    return cf_differential_count(s, p, cells->patients, &cells->patient_names, unlike, FIRST, d);
}

/* ---- the folder -------------------------------------------------------------------------------
 */

static cf_err save(const char *dir, const char *name, const cf_buf *text)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_buf_check(text));
    CF_TRY(cf_path_join(path, sizeof path, dir, name));
    return cf_file_save(path, text->data, text->len);
}

/* Buffer of SHEET_NAME; number: from 1. */
static void name_sheet(long long number, char *name)
{
    snprintf(name, SHEET_NAME, "sheet-%04lld.png", number);
}

/* Whether the folder's list is of an earlier count, by how it begins. What cannot be read is not.
 */
static cf_err has_earlier(const char *dir, bool *earlier)
{
    char path[CF_PATH_MAX];
    cf_map map;
    *earlier = false;
    CF_TRY(cf_path_join(path, sizeof path, dir, LIST));
    if (!cf_path_exists(path)) return CF_OK;
    if (cf_map_open(path, &map) != CF_OK) return CF_OK;
    for (int by = CF_BY_PATIENT; by <= CF_BY_SITE; by++) {
        char start[64];
        size_t n = (size_t)snprintf(start, sizeof start, "%s" LIST_COLUMNS, names[by]);
        *earlier = *earlier || (map.n_bytes >= n && memcmp(map.bytes, start, n) == 0);
    }
    cf_map_close(&map);
    return CF_OK;
}

/* Sheets that an earlier count has more of would be taken for this one's. */
static cf_err remove_further(const char *dir, long long n_sheets)
{
    cf_strings list = {0};
    cf_err err = cf_dir_list(dir, &list);
    for (size_t i = 0; i < list.n && err == CF_OK; i++) {
        char path[CF_PATH_MAX], name[SHEET_NAME];
        long long number = 0;
        if (sscanf(list.items[i], "sheet-%18lld", &number) != 1 || number <= n_sheets) continue;
        name_sheet(number, name);
        if (strcmp(name, list.items[i]) != 0) continue;
        err = cf_path_join(path, sizeof path, dir, name);
        if (err == CF_OK && unlink(path) != 0) err = cf_fail_errno(CF_E_DISK, "%s", path);
    }
    cf_strings_fini(&list);
    return err;
}

static cf_err put_cell(const cf_differential *d, const cf_cells *cells, int64_t row, cf_image *room,
                       cf_sheet *s)
{
    char caption[CF_PATH_MAX];
    const uint8_t *pixels;
    const cf_class *class = &d->scheme->classes[d->p->predicted[row]];
    snprintf(caption, sizeof caption, "%.3000s\n%s, %s %.2f", d->p->ids[row], class->code,
             d->scheme->questions[d->question].name, cf_differential_score(d, row));
    CF_TRY(cf_cells_fetch(cells, row, room, &pixels));
    return cf_sheet_tile(s, pixels, cells->height, cells->width, caption,
                         class->color[0] != '\0' ? class->color : NULL);
}

static cf_err write_sheet(const cf_differential *d, const cf_differential_group *g,
                          const char *what, const cf_cells *cells, const char *path)
{
    char title[400];
    cf_sheet *s = NULL;
    cf_image room = {0};
    snprintf(title, sizeof title, "%s %.200s: the %d of %lld cells most likely %.60s", what,
             g->name[0] != '\0' ? g->name : "not known", g->n_first, (long long)g->n,
             d->scheme->questions[d->question].name);
    for (char *c = title; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = ' ';
    CF_TRY(cf_sheet_create(COLUMNS, TILE, title, &s));
    cf_err err = cf_sheet_row(s, NULL);
    for (int k = 0; k < g->n_first && err == CF_OK; k++)
        err = put_cell(d, cells, g->first[k], &room, s);
    if (err == CF_OK) err = cf_sheet_write(s, path);
    cf_image_fini(&room);
    cf_sheet_destroy(s);
    return err;
}

static void list_first(const cf_differential *d, const cf_differential_group *g, const char *sheet,
                       cf_buf *out)
{
    for (int k = 0; k < g->n_first; k++) {
        int64_t row = g->first[k];
        cf_csv_put(out, g->name, CF_CSV_MORE);
        cf_csv_put_integer(out, k + 1, CF_CSV_MORE);
        cf_csv_put(out, d->p->ids[row], CF_CSV_MORE);
        cf_csv_put(out, d->scheme->classes[d->p->predicted[row]].code, CF_CSV_MORE);
        cf_csv_put_number(out, cf_differential_score(d, row), 6, CF_CSV_MORE);
        cf_csv_put(out, sheet, CF_CSV_END_ROW);
    }
}

static cf_err write_groups(const cf_differential *d, const char *what, const cf_cells *cells,
                           const char *dir, cf_buf *first)
{
    cf_buf_printf(first, "%s" LIST_COLUMNS "%s,sheet\n", what,
                  d->question >= 0 ? d->scheme->questions[d->question].name : "none");
    for (int64_t k = 0; k < d->n_groups && d->question >= 0; k++) {
        char name[SHEET_NAME], path[CF_PATH_MAX];
        name_sheet(k + 1, name);
        CF_TRY(cf_path_join(path, sizeof path, dir, name));
        CF_TRY(write_sheet(d, &d->groups[k], what, cells, path));
        list_first(d, &d->groups[k], name, first);
    }
    return CF_OK;
}

cf_err cf_predict_by_folder(const char *dir)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_dir_make(dir));
    CF_TRY(cf_path_join(path, sizeof path, dir, LIST));
    return cf_output_check(path);
}

cf_err cf_predict_by_write(cf_predict_by by, const cf_differential *d, const cf_cells *cells,
                           const char *dir)
{
    cf_buf counts = {0}, first = {0};
    bool earlier = false;
    cf_err err = CF_OK;
    CF_TRY(cf_dir_make(dir));
    CF_TRY(has_earlier(dir, &earlier));
    cf_differential_csv(d, names[by], &counts);
    CF_TRY_GOTO(save(dir, "differential.csv", &counts), out);
    CF_TRY_GOTO(write_groups(d, names[by], cells, dir, &first), out);
    CF_TRY_GOTO(save(dir, LIST, &first), out);
    if (earlier) err = remove_further(dir, d->question >= 0 ? d->n_groups : 0);
out:
    cf_buf_fini(&first);
    cf_buf_fini(&counts);
    return err;
}
