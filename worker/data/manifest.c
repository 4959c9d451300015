/* Manifests: CSV files that name image files, one a row.
 *
 * Columns are found by their header, in any order: path and label (but for prediction, where it may
 * be missing or empty) have to be there; site, patient, split, um_per_px, x and y may be. Relative
 * paths start from the manifest's folder; the path as it is written is the image's id. A row with x
 * and y is one cell of a whole field, its centre in pixels from the upper left; its id is
 * "path@x_y". A split is a fold's number, or a word: test becomes fold 0, the one network is
 * trained on train and val. Columns of other names are named once and not used. Read first:
 * take_row. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kernels/base/mem.h"
#include "proto/control.h"
#include "proto/text.h"
#include "worker/data/listing_parts.h"

enum { PATH, LABEL, SITE, PATIENT, SPLIT, UM_PER_PX, CENTER_X, CENTER_Y, N_COLUMNS };
static const char *const headers[N_COLUMNS] = {"path",  "label",     "site", "patient",
                                               "split", "um_per_px", "x",    "y"};
enum { MAX_FOLD = CF_FOLD_TRAIN - 1, MAX_UM_PER_PX = 1000, MAX_COORDINATE = 1000000 };
static const size_t max_bytes = (size_t)1 << 30;

/* A manifest on its way into the list. */
typedef struct manifest {
    cf_listing *list; /* borrowed */
    const cf_csv *csv;
    const cf_scheme *scheme;
    cf_unknowns *unknown;
    int source;
    int columns[N_COLUMNS];       /* -1: not there */
    int64_t word_row, number_row; /* the first row whose split is one; 0: none */
} manifest;

bool cf_manifest_is(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && strcasecmp(dot, ".csv") == 0 && !cf_path_is_dir(path);
}

int cf_manifest_label_column(const cf_csv *csv)
{
    return cf_csv_column(csv, headers[LABEL]);
}

/* Names the columns that nothing reads, once. */
static cf_err note_unused(cf_listing *list, const cf_csv *csv)
{
    cf_buf text = {0};
    int n = 0;
    for (int c = 0; c < csv->n_columns; c++) {
        bool used = false;
        char quoted[CF_QUOTE_MAX];
        const char *header = cf_csv_cell(csv, 0, c);
        for (int k = 0; k < N_COLUMNS; k++) used |= strcmp(header, headers[k]) == 0;
        if (used) continue;
        if (n++ == 0) cf_buf_printf(&text, "%s: columns not used: ", csv->name);
        cf_buf_printf(&text, "%s%s", n > 1 ? ", " : "", cf_text_quote(header, quoted));
    }
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK && n > 0) err = cf_strings_add(&list->notes, cf_buf_text(&text));
    cf_buf_fini(&text);
    return err;
}

/* path and label are in every row: what lists labels before rows are taken may count on it. */
static cf_err check_required(const cf_csv *csv, int key)
{
    int column = cf_csv_column(csv, headers[key]);
    if (column < 0)
        return cf_fail(CF_E_DATA,
                       "%s:1:1: no column \"%s\" (a manifest has path,label and may have "
                       "site,patient,split,um_per_px,x,y)",
                       csv->name, headers[key]);
    for (int64_t r = 1; r < csv->n_rows; r++)
        if (*cf_csv_cell(csv, r, column) == '\0')
            return cf_csv_fail(csv, r, column, "an empty %s", headers[key]);
    return CF_OK;
}

cf_err cf_manifest_read(cf_listing *list, int s)
{
    cf_csv *csv = &list->manifests[s];
    CF_TRY(cf_csv_read(list->sources[s].path, max_bytes, csv));
    CF_TRY(check_required(csv, PATH));
    if (list->unmapped != CF_UNMAPPED_KEEP) CF_TRY(check_required(csv, LABEL));
    bool x = cf_csv_column(csv, headers[CENTER_X]) >= 0;
    if (x != (cf_csv_column(csv, headers[CENTER_Y]) >= 0))
        return cf_fail(CF_E_DATA, "%s:1:1: a column %s without %s", csv->name, x ? "x" : "y",
                       x ? "y" : "x");
    if (csv->n_rows < 2) return cf_fail(CF_E_DATA, "%s: a header and no rows", csv->name);
    return note_unused(list, csv);
}

/* A cell of a row; "" where the column is not there. */
static const char *cell(const manifest *m, int64_t row, int key)
{
    return m->columns[key] < 0 ? "" : cf_csv_cell(m->csv, row, m->columns[key]);
}

/* A number in (low, high], or [low, high] where low is 0 and key a coordinate. Untouched where the
 * cell is empty. */
static cf_err take_number(const manifest *m, int64_t row, int key, double high, double *value)
{
    char quoted[CF_QUOTE_MAX];
    const char *text = cell(m, row, key);
    double v;
    if (*text == '\0') return CF_OK;
    if (!cf_text_number(text, &v) || v < 0.0 || v > high || (key == UM_PER_PX && v <= 0.0))
        return cf_csv_fail(m->csv, row, m->columns[key], "%s %s, expected a number %s 0 to %g",
                           headers[key], cf_text_quote(text, quoted),
                           key == UM_PER_PX ? "above" : "from", high);
    *value = v;
    return CF_OK;
}

/* Sets fold from words or numbers, not both in one manifest. Nothing is chosen by what a network
 * does on other images than its own, so those for validation are trained on. */
static cf_err take_split(manifest *m, int64_t row, int *fold)
{
    static const struct {
        const char *word;
        int fold;
    } words[] = {{"test", 0},
                 {"train", CF_FOLD_TRAIN},
                 {"val", CF_FOLD_TRAIN},
                 {"valid", CF_FOLD_TRAIN},
                 {"validation", CF_FOLD_TRAIN}};
    char quoted[CF_QUOTE_MAX];
    const char *text = cell(m, row, SPLIT);
    int64_t number;
    *fold = -1;
    if (*text == '\0') return CF_OK;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i].word) == 0) *fold = words[i].fold;
    bool is_word = *fold >= 0;
    if (!is_word && cf_text_integer(text, &number) && number >= 0 && number <= MAX_FOLD)
        *fold = (int)number;
    if (*fold < 0)
        return cf_csv_fail(m->csv, row, m->columns[SPLIT],
                           "split %s, expected train, test, val or a fold's number, 0 to %d",
                           cf_text_quote(text, quoted), MAX_FOLD);
    int64_t *mine = is_word ? &m->word_row : &m->number_row;
    int64_t other = is_word ? m->number_row : m->word_row;
    if (*mine == 0) *mine = row;
    if (other == 0) return CF_OK;
    return cf_csv_fail(m->csv, row, m->columns[SPLIT],
                       "split %s is a %s, but on line %lld stands a %s",
                       cf_text_quote(text, quoted), is_word ? "word" : "number",
                       (long long)m->csv->lines[other], is_word ? "number" : "word");
}

/* Site and patient names and the path become ids, names of folders and cells of tables. */
static cf_err check_names(const manifest *m, int64_t row)
{
    static const int keys[] = {PATH, SITE, PATIENT};
    for (int i = 0; i < 3; i++) {
        const char *text = cell(m, row, keys[i]);
        if (!cf_listing_is_plain(text))
            return cf_csv_fail(m->csv, row, m->columns[keys[i]],
                               "the %s has control characters or is not UTF-8", headers[keys[i]]);
        if (keys[i] == SITE && *text && !cf_name_is_safe(text))
            return cf_csv_fail(m->csv, row, m->columns[SITE],
                               "the site is not a plain name of at most 200 bytes");
    }
    return CF_OK;
}

/* item->id, owned by the caller. */
static cf_err make_id(const manifest *m, int64_t row, cf_listed *item)
{
    cf_buf id = {0};
    const char *name = m->list->sources[m->source].name;
    cf_buf_printf(&id, "%s%s%s", name, *name ? "/" : "", item->file);
    if (item->x >= 0.0)
        cf_buf_printf(&id, "@%s_%s", cell(m, row, CENTER_X), cell(m, row, CENTER_Y));
    cf_err err = cf_buf_check(&id);
    if (err == CF_OK && id.len >= CF_PATH_MAX)
        err = cf_csv_fail(m->csv, row, m->columns[PATH], "a path of %zu bytes, expected under %d",
                          id.len, CF_PATH_MAX);
    if (err == CF_OK) err = cf_strdup(id.data, &item->id);
    cf_buf_fini(&id);
    return err;
}

/* A label that is kept as the source gave it stands in tables later. */
static cf_err check_given(const manifest *m, int64_t row, const char *label)
{
    if (cf_listing_is_plain(label)) return CF_OK;
    return cf_csv_fail(m->csv, row, m->columns[LABEL],
                       "the label has control characters or is not UTF-8");
}

/* Labels that are dropped or unknown are counted where they are not kept, and the rest of their row
 * is not looked at. */
static cf_err take_row(manifest *m, int64_t row)
{
    const cf_source *source = &m->list->sources[m->source];
    const char *label = cell(m, row, LABEL), *site = cell(m, row, SITE);
    cf_listed item = {.file = cell(m, row, PATH),
                      .site = *site ? site : source->site,
                      .patient = cell(m, row, PATIENT),
                      .given = label,
                      .source = m->source,
                      .label = cf_scheme_find(m->scheme, label),
                      .line = m->csv->lines[row],
                      .um_per_px = source->um_per_px,
                      .x = -1.0,
                      .y = -1.0};
    bool keep = m->list->unmapped == CF_UNMAPPED_KEEP;
    if (keep && item.label < 0) item.label = CF_LABEL_UNKNOWN;
    if (keep) CF_TRY(check_given(m, row, label));
    if (!keep && item.label == -1) {
        m->list->n_dropped++;
        return CF_OK;
    }
    if (!keep && item.label < 0) {
        m->list->n_unmapped++;
        return cf_unknowns_add(m->unknown, label, 1);
    }
    CF_TRY(check_names(m, row));
    CF_TRY(take_split(m, row, &item.fold));
    CF_TRY(take_number(m, row, UM_PER_PX, MAX_UM_PER_PX, &item.um_per_px));
    CF_TRY(take_number(m, row, CENTER_X, MAX_COORDINATE, &item.x));
    CF_TRY(take_number(m, row, CENTER_Y, MAX_COORDINATE, &item.y));
    if ((item.x < 0.0) != (item.y < 0.0))
        return cf_csv_fail(m->csv, row, m->columns[item.x < 0.0 ? CENTER_X : CENTER_Y],
                           "the centre has only one coordinate");
    CF_TRY(make_id(m, row, &item));
    return cf_listing_add(m->list, &item);
}

cf_err cf_manifest_take(cf_listing *list, int s, const cf_scheme *scheme, cf_unknowns *unknown)
{
    manifest m = {.list = list,
                  .csv = &list->manifests[s],
                  .scheme = scheme,
                  .unknown = unknown,
                  .source = s};
    for (int k = 0; k < N_COLUMNS; k++) m.columns[k] = cf_csv_column(m.csv, headers[k]);
    for (int64_t r = 1; r < m.csv->n_rows; r++) CF_TRY(take_row(&m, r));
    return CF_OK;
}
