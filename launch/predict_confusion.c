#include "launch/predict_confusion.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "coordinator/plot.h"
#include "kernels/base/mem.h"

enum { DIGITS = 9, COUNT_DIGITS = 15 };

typedef cf_err (*saver)(const cf_predict_summary *m, const char *path);

/* ---- CSV --------------------------------------------------------------------------------------
 */

/* Images of the row in a class that says "no confident class". */
static int64_t no_confident(const cf_scheme *s, const cf_predict_given_row *row)
{
    int64_t n = 0;
    for (int k = 0; k < s->n_classes; k++) n += s->no_confident[k] ? row->predicted[k] : 0;
    return n;
}

static double share_of(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static cf_csv_end end_of(int i, int n)
{
    return i + 1 < n ? CF_CSV_MORE : CF_CSV_END_ROW;
}

static void put_header(const cf_scheme *s, cf_buf *out)
{
    static const char *const fixed[] = {"label", "class", "images", "no_confident",
                                        "share_no_confident"};
    char name[CF_CODE_MAX + 16];
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        cf_csv_put(out, fixed[i], CF_CSV_MORE);
    for (int i = 0; i < 2 * s->n_classes; i++) {
        bool share = i >= s->n_classes;
        snprintf(name, sizeof name, "%s_%s", share ? "share" : "n",
                 s->classes[i % s->n_classes].code);
        cf_csv_put(out, name, end_of(i, 2 * s->n_classes));
    }
}

static void put_row(const cf_scheme *s, const cf_predict_given_row *row, cf_buf *out)
{
    int64_t unsure = no_confident(s, row);
    cf_csv_put(out, row->name, CF_CSV_MORE);
    cf_csv_put(out, row->label >= 0 ? s->classes[row->label].code : "", CF_CSV_MORE);
    cf_csv_put_integer(out, row->n, CF_CSV_MORE);
    bool known = s->n_no_confident > 0; /* else the cells stay empty */
    cf_csv_put_number(out, known ? (double)unsure : (double)NAN, COUNT_DIGITS, CF_CSV_MORE);
    cf_csv_put_number(out, known ? share_of(unsure, row->n) : (double)NAN, DIGITS, CF_CSV_MORE);
    for (int k = 0; k < s->n_classes; k++) cf_csv_put_integer(out, row->predicted[k], CF_CSV_MORE);
    for (int k = 0; k < s->n_classes; k++)
        cf_csv_put_number(out, share_of(row->predicted[k], row->n), DIGITS,
                          end_of(k, s->n_classes));
}

static cf_err save_csv(const cf_predict_summary *m, const char *path)
{
    cf_buf text = {0};
    put_header(m->scheme, &text);
    for (int i = 0; i < m->n_given; i++) put_row(m->scheme, &m->given[i], &text);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK) err = cf_file_save(path, text.data, text.len);
    cf_buf_fini(&text);
    return err;
}

/* ---- picture ----------------------------------------------------------------------------------
 */

enum { NAME_MAX_BYTES = 512, NOTE_MAX_BYTES = 16, MAX_ROWS = 200 };

/* The bytes of the first n characters of UTF-8, fewer where there are not as many. */
static int bytes_of(const char *text, int n)
{
    const char *c = text;
    for (; *c != '\0'; c++)
        if ((*c & 0xc0) != 0x80 && n-- == 0) break;
    return (int)(c - text);
}

/* "Basophil (none)": what the source says, and what that is here, where it is called otherwise. Of
 * a long name both ends are kept: names of one set often begin or end alike. */
static void name_row(const cf_scheme *s, const cf_predict_given_row *row, char text[NAME_MAX_BYTES])
{
    enum { LONGEST = 36, END = LONGEST / 2 - 1 };
    const char *class = row->label >= 0 ? s->classes[row->label].code : "none", *name = row->name;
    int n = 0;
    for (const char *c = name; *c != '\0'; c++) n += (*c & 0xc0) != 0x80;
    if (n == 0)
        snprintf(text, NAME_MAX_BYTES, "(no label)");
    else if (strcmp(name, class) == 0)
        snprintf(text, NAME_MAX_BYTES, "%.300s", class);
    else if (n <= LONGEST)
        snprintf(text, NAME_MAX_BYTES, "%s (%s)", name, class);
    else
        snprintf(text, NAME_MAX_BYTES, "%.*s\u2026%s (%s)", bytes_of(name, END), name,
                 name + bytes_of(name, n - END), class);
}

/* Memory of the picture's rows and columns. */
typedef struct picture {
    char (*names)[NAME_MAX_BYTES]; /* owned, [n_given] */
    const char **rows;             /* owned, [n_given] */
    char (*notes)[NOTE_MAX_BYTES]; /* owned, [n_given] share without a confident class */
    const char **row_notes;        /* owned, [n_given] */
    const char **columns;          /* owned, [n_classes] */
    int64_t *counts;               /* owned, [n_given][n_classes] */
    int *right;                    /* owned, [n_given] */
} picture;

static cf_err fill_picture(const cf_predict_summary *m, picture *x)
{
    const cf_scheme *s = m->scheme;
    size_t n = (size_t)m->n_given, k = (size_t)s->n_classes;
    CF_TRY(cf_new(&x->names, n, sizeof *x->names));
    CF_TRY(cf_new(&x->rows, n, sizeof *x->rows));
    CF_TRY(cf_new(&x->notes, n, sizeof *x->notes));
    CF_TRY(cf_new(&x->row_notes, n, sizeof *x->row_notes));
    CF_TRY(cf_new(&x->columns, k, sizeof *x->columns));
    CF_TRY(cf_new(&x->counts, n * k, sizeof *x->counts));
    CF_TRY(cf_new(&x->right, n, sizeof *x->right));
    for (size_t i = 0; i < n; i++) {
        name_row(s, &m->given[i], x->names[i]);
        x->rows[i] = x->names[i];
        double unsure = share_of(no_confident(s, &m->given[i]), m->given[i].n);
        snprintf(x->notes[i], sizeof x->notes[i], "%.1f %%", 100 * unsure);
        x->row_notes[i] = x->notes[i];
        x->right[i] = m->given[i].label;
        memcpy(x->counts + i * k, m->given[i].predicted, k * sizeof *x->counts);
    }
    for (size_t i = 0; i < k; i++) x->columns[i] = s->classes[i].code;
    return CF_OK;
}

static cf_err draw(const cf_predict_summary *m, cf_canvas **canvas)
{
    picture x = {0};
    cf_err err = fill_picture(m, &x);
    const cf_plot_matrix matrix = {.row_axis = "label of the source",
                                   .column_axis = "prediction",
                                   .n_rows = m->n_given,
                                   .n_columns = m->scheme->n_classes,
                                   .row_names = x.rows,
                                   .column_names = x.columns,
                                   .counts = x.counts,
                                   .right = x.right,
                                   .notes_axis =
                                       m->scheme->n_no_confident > 0 ? "no confident class" : NULL,
                                   .notes = x.row_notes};
    if (err == CF_OK) err = cf_plot_confusion(&matrix, canvas);
    free(x.right);
    free(x.counts);
    free(x.columns);
    free(x.row_notes);
    free(x.notes);
    free(x.rows);
    free(x.names);
    return err;
}

static cf_err save_form(const cf_predict_summary *m, cf_canvas_form form, const char *path)
{
    cf_canvas *canvas = NULL;
    CF_TRY(draw(m, &canvas));
    cf_err err = cf_canvas_save(canvas, form, path);
    cf_canvas_destroy(canvas);
    return err;
}

static cf_err save_png(const cf_predict_summary *m, const char *path)
{
    return save_form(m, CF_CANVAS_PNG, path);
}

static cf_err save_svg(const cf_predict_summary *m, const char *path)
{
    return save_form(m, CF_CANVAS_SVG, path);
}

/* ---- which ------------------------------------------------------------------------------------
 */

static const struct {
    const char *ending;
    saver save;
} forms[] = {{".csv", save_csv}, {".png", save_png}, {".svg", save_svg}};

static saver form_of(const char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t length = strlen(forms[i].ending);
        if (n > length && strcasecmp(path + n - length, forms[i].ending) == 0) return forms[i].save;
    }
    return NULL;
}

cf_err cf_predict_confusion_check(const cf_strings *paths)
{
    for (size_t i = 0; i < paths->n; i++)
        if (!form_of(paths->items[i]))
            return cf_fail(CF_E_USAGE,
                           "--confusion %.200s: the file has to end in .csv, .png or .svg",
                           paths->items[i]);
    return CF_OK;
}

cf_err cf_predict_confusion_fits(const cf_strings *paths, int64_t n_labels)
{
    for (size_t i = 0; i < paths->n && n_labels > MAX_ROWS; i++)
        if (form_of(paths->items[i]) != save_csv)
            return cf_fail(CF_E_USAGE,
                           "--confusion %.200s: %lld labels are too many for a picture, at most "
                           "%d; take .csv",
                           paths->items[i], (long long)n_labels, (int)MAX_ROWS);
    return CF_OK;
}

cf_err cf_predict_confusion_save(const cf_predict_summary *m, const char *path)
{
    saver save = form_of(path);
    if (!save) return cf_fail(CF_E_USAGE, "%.200s: neither .csv, .png nor .svg", path);
    return save(m, path);
}
