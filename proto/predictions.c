/* predictions.csv: rows of cf_predictions, whoever wrote them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/csv.h"
#include "proto/text.h"

#define MAX_BYTES     ((size_t)1 << 30)
#define SUM_TOLERANCE 1e-3 /* of probabilities rounded to three digits or more */
#define TIE_TOLERANCE                                                                              \
    1e-6 /* two probabilities that a text with few digits no longer tells apart                    \
          */

enum { MAX_FOLD = 65535 };

cf_err cf_predictions_init(cf_predictions *p, int64_t n, int n_classes)
{
    size_t rows = (size_t)n, cells = 0;
    cf_err err = CF_OK;
    memset(p, 0, sizeof *p);
    if (n < 0 || n_classes < 1 || !cf_size_mul(rows, (size_t)n_classes, &cells))
        return cf_fail(CF_E_UNEXPECTED, "predictions of %lld rows and %d classes", (long long)n,
                       n_classes);
    CF_TRY_GOTO(cf_new(&p->ids, rows, sizeof *p->ids), out);
    p->n = n;
    p->n_classes = n_classes;
    CF_TRY_GOTO(cf_new(&p->sites, rows, sizeof *p->sites), out);
    CF_TRY_GOTO(cf_new(&p->folds, rows, sizeof *p->folds), out);
    CF_TRY_GOTO(cf_new(&p->labels, rows, sizeof *p->labels), out);
    CF_TRY_GOTO(cf_new(&p->predicted, rows, sizeof *p->predicted), out);
    CF_TRY_GOTO(cf_new(&p->p, cells, sizeof *p->p), out);
out:
    if (err != CF_OK) cf_predictions_fini(p);
    return err;
}

void cf_predictions_fini(cf_predictions *p)
{
    for (int64_t i = 0; p->ids && i < p->n; i++) free(p->ids[i]);
    for (int64_t i = 0; p->sites && i < p->n; i++) free(p->sites[i]);
    for (int64_t i = 0; p->patients && i < p->n; i++) free(p->patients[i]);
    free(p->ids);
    free(p->sites);
    free(p->patients);
    free(p->folds);
    free(p->labels);
    free(p->predicted);
    free(p->p);
    memset(p, 0, sizeof *p);
}

typedef enum value_kind { CLASS_P, NODE_P, NODE_Z } value_kind;

/* Where the columns of a predictions file stand. */
typedef struct layout {
    int id, site, patient, fold, label, predicted; /* site, patient, fold: -1 for none */
    value_kind kind;
    bool labels_may_lack;
    int n_values;
    int *columns;   /* owned, [n_values]: one for each class or output node */
    double *values; /* owned, [n_values]: of one row */
} layout;

static const char *value_name(const cf_scheme *s, value_kind kind, int i)
{
    return kind == CLASS_P ? s->classes[i].code : s->node_names[i];
}

/* Fills l for columns of one kind; *missing is the first that is not there, NULL when all are. */
static int find_values(const cf_csv *csv, const cf_scheme *s, value_kind kind, layout *l,
                       const char **missing)
{
    char header[CF_CODE_MAX + 2];
    int found = 0;
    *missing = NULL;
    l->kind = kind;
    l->n_values = kind == CLASS_P ? s->n_classes : s->n_nodes;
    for (int i = 0; i < l->n_values; i++) {
        snprintf(header, sizeof header, "%s%s", kind == NODE_Z ? "z_" : "p_",
                 value_name(s, kind, i));
        l->columns[i] = cf_csv_column(csv, header);
        if (l->columns[i] >= 0)
            found++;
        else if (!*missing)
            *missing = value_name(s, kind, i);
    }
    return found;
}

/* A p_ or z_ column beside those that are read: of another scheme, or of both kinds. */
static cf_err refuse_others(const cf_csv *csv, const cf_scheme *s, const layout *l)
{
    char quoted[CF_QUOTE_MAX];
    for (int c = 0; c < csv->n_columns; c++) {
        const char *header = csv->cells[c];
        if (strncmp(header, "p_", 2) != 0 && strncmp(header, "z_", 2) != 0) continue;
        int i = 0;
        while (i < l->n_values && l->columns[i] != c) i++;
        if (i == l->n_values)
            return cf_csv_fail(csv, 0, c, "column %s does not fit the others and scheme %s",
                               cf_text_quote(header, quoted), s->name);
    }
    return CF_OK;
}

static cf_err find_columns(const cf_csv *csv, const cf_scheme *s, layout *l)
{
    const char *missing = NULL, *missing_class = NULL;
    size_t room = (size_t)(s->n_nodes > s->n_classes ? s->n_nodes : s->n_classes);
    CF_TRY(cf_csv_require(csv, "id", &l->id));
    CF_TRY(cf_csv_require(csv, "label", &l->label));
    CF_TRY(cf_csv_require(csv, "predicted", &l->predicted));
    l->site = cf_csv_column(csv, "site");
    l->patient = cf_csv_column(csv, "patient");
    l->fold = cf_csv_column(csv, "fold");
    CF_TRY(cf_new(&l->columns, room, sizeof *l->columns));
    CF_TRY(cf_new(&l->values, room, sizeof *l->values));
    if (find_values(csv, s, NODE_Z, l, &missing) > 0) {
        if (missing) return cf_csv_fail(csv, 0, csv->n_columns - 1, "no column \"z_%s\"", missing);
        return refuse_others(csv, s, l);
    }
    find_values(csv, s, NODE_P, l, &missing);
    if (missing) find_values(csv, s, CLASS_P, l, &missing_class);
    if (missing_class)
        return cf_csv_fail(csv, 0, csv->n_columns - 1, "no column \"p_%s\" of scheme %s",
                           missing_class, s->name);
    return refuse_others(csv, s, l);
}

static cf_err read_label(const cf_csv *csv, int64_t row, int column, const cf_scheme *s,
                         int32_t *label)
{
    char quoted[CF_QUOTE_MAX];
    const char *cell = cf_csv_cell(csv, row, column);
    int found = cf_scheme_find(s, cell);
    if (found < 0)
        return cf_csv_fail(csv, row, column, "%s %s is %s scheme %s", csv->cells[column],
                           cf_text_quote(cell, quoted), found == -1 ? "left out by" : "no class of",
                           s->name);
    *label = found;
    return CF_OK;
}

static cf_err read_fold(const cf_csv *csv, int64_t row, int column, int32_t *fold)
{
    char quoted[CF_QUOTE_MAX];
    int64_t value = 0;
    const char *cell = cf_csv_cell(csv, row, column);
    if (cell[0] == '\0') return CF_OK; /* 0, as where there is no column */
    if (!cf_text_integer(cell, &value) || value < 0 || value > MAX_FOLD)
        return cf_csv_fail(csv, row, column, "fold is %s; expected a whole number from 0 to %d",
                           cf_text_quote(cell, quoted), (int)MAX_FOLD);
    *fold = (int32_t)value;
    return CF_OK;
}

/* The row's numbers as they stand. */
static cf_err read_values(const cf_csv *csv, int64_t row, const layout *l)
{
    char quoted[CF_QUOTE_MAX];
    double sum = 0.0;
    for (int i = 0; i < l->n_values; i++) {
        const char *cell = cf_csv_cell(csv, row, l->columns[i]);
        bool known = cf_text_number(cell, &l->values[i]);
        bool in_range =
            l->kind == NODE_Z || (l->values[i] >= 0.0 && l->values[i] <= 1.0 + TIE_TOLERANCE);
        if (!known || !in_range)
            return cf_csv_fail(csv, row, l->columns[i], "%s is %s; expected %s",
                               csv->cells[l->columns[i]], cf_text_quote(cell, quoted),
                               l->kind == NODE_Z ? "a finite number" : "a number from 0 to 1");
        sum += l->values[i];
    }
    if (l->kind != NODE_Z && fabs(sum - 1.0) > SUM_TOLERANCE)
        return cf_csv_fail(csv, row, l->columns[0], "probabilities sum to %.6g; expected 1", sum);
    return CF_OK;
}

static void softmax(double *z, int n)
{
    double peak = z[0], total = 0.0;
    for (int i = 1; i < n; i++) peak = z[i] > peak ? z[i] : peak;
    for (int i = 0; i < n; i++) total += z[i] = exp(z[i] - peak);
    for (int i = 0; i < n; i++) z[i] /= total;
}

/* The file's word stands where its class ties for the highest within the digits of the text; any
 * other word contradicts the row's own numbers. */
static cf_err check_predicted(const cf_csv *csv, int64_t row, const layout *l, const cf_scheme *s,
                              const cf_predictions *p, int64_t i)
{
    const double *probability = p->p + i * s->n_classes;
    int best = 0;
    for (int c = 1; c < s->n_classes; c++) best = probability[c] > probability[best] ? c : best;
    int said = p->predicted[i];
    if (probability[said] + TIE_TOLERANCE >= probability[best]) return CF_OK;
    return cf_csv_fail(csv, row, l->predicted, "predicted is %s with %.6g; but %s has %.6g",
                       s->classes[said].code, probability[said], s->classes[best].code,
                       probability[best]);
}

/* column -1: "". */
static cf_err read_name(const cf_csv *csv, int64_t row, int column, char **name)
{
    if (column < 0) return cf_strdup("", name);
    CF_TRY(cf_csv_check_utf8(csv, row, column));
    return cf_strdup(cf_csv_cell(csv, row, column), name);
}

static cf_err read_row(const cf_csv *csv, int64_t row, const layout *l, const cf_scheme *s,
                       cf_predictions *p)
{
    int64_t i = row - 1;
    double *probability = p->p + i * s->n_classes;
    const char *id = cf_csv_cell(csv, row, l->id);
    if (id[0] == '\0') return cf_csv_fail(csv, row, l->id, "an empty id");
    CF_TRY(read_name(csv, row, l->id, &p->ids[i]));
    CF_TRY(read_name(csv, row, l->site, &p->sites[i]));
    if (l->patient >= 0) CF_TRY(read_name(csv, row, l->patient, &p->patients[i]));
    if (l->fold >= 0) CF_TRY(read_fold(csv, row, l->fold, &p->folds[i]));
    if (l->labels_may_lack && cf_csv_cell(csv, row, l->label)[0] == '\0') {
        p->labels[i] = CF_LABEL_UNKNOWN;
        p->n_unknown++;
    } else {
        CF_TRY(read_label(csv, row, l->label, s, &p->labels[i]));
    }
    CF_TRY(read_label(csv, row, l->predicted, s, &p->predicted[i]));
    CF_TRY(read_values(csv, row, l));
    if (l->kind == NODE_Z) softmax(l->values, l->n_values);
    if (l->kind == CLASS_P)
        memcpy(probability, l->values, (size_t)s->n_classes * sizeof(double));
    else
        cf_scheme_merge(s, l->values, probability);
    return check_predicted(csv, row, l, s, p, i);
}

typedef struct id_row {
    const char *id;
    int32_t fold;
    int64_t row;
} id_row;

static int compare_ids(const void *a, const void *b)
{
    const id_row *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    if (order != 0) return order;
    if (x->fold != y->fold) return x->fold < y->fold ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Names the first row of the file that repeats an id of its fold. */
static cf_err refuse_duplicates(const cf_csv *csv, const layout *l, const cf_predictions *p)
{
    id_row *rows = NULL;
    char quoted[CF_QUOTE_MAX];
    CF_TRY(cf_new(&rows, (size_t)p->n, sizeof *rows));
    for (int64_t i = 0; i < p->n; i++) rows[i] = (id_row){p->ids[i], p->folds[i], i + 1};
    qsort(rows, (size_t)p->n, sizeof *rows, compare_ids);
    const id_row *first = NULL, *original = NULL;
    for (int64_t i = 1; i < p->n; i++) {
        bool same = strcmp(rows[i].id, rows[i - 1].id) == 0 && rows[i].fold == rows[i - 1].fold;
        if (same && (!first || rows[i].row < first->row)) first = &rows[i], original = &rows[i - 1];
    }
    cf_err err = CF_OK;
    if (first)
        err = cf_csv_fail(
            csv, first->row, l->id, "id %s stands twice in fold %d; before in line %lld",
            cf_text_quote(first->id, quoted), first->fold, (long long)csv->lines[original->row]);
    free(rows);
    return err;
}

static cf_err read_file(const char *path, const cf_scheme *s, bool labels_may_lack,
                        cf_predictions *p)
{
    cf_csv csv = {0};
    layout l = {.labels_may_lack = labels_may_lack};
    cf_err err = CF_OK;
    memset(p, 0, sizeof *p);
    CF_TRY_GOTO(cf_csv_read(path, MAX_BYTES, &csv), out);
    CF_TRY_GOTO(find_columns(&csv, s, &l), out);
    if (csv.n_rows < 2) CF_TRY_GOTO(cf_csv_fail(&csv, 0, 0, "a header without rows"), out);
    CF_TRY_GOTO(cf_predictions_init(p, csv.n_rows - 1, s->n_classes), out);
    if (l.patient >= 0) CF_TRY_GOTO(cf_new(&p->patients, (size_t)p->n, sizeof *p->patients), out);
    for (int64_t row = 1; row < csv.n_rows; row++) CF_TRY_GOTO(read_row(&csv, row, &l, s, p), out);
    CF_TRY_GOTO(refuse_duplicates(&csv, &l, p), out);
out:
    if (err != CF_OK) cf_predictions_fini(p);
    free(l.columns);
    free(l.values);
    cf_csv_fini(&csv);
    return err;
}

cf_err cf_predictions_read(const char *path, const cf_scheme *s, cf_predictions *p)
{
    return read_file(path, s, false, p);
}

cf_err cf_predictions_read_any(const char *path, const cf_scheme *s, cf_predictions *p)
{
    return read_file(path, s, true, p);
}

void cf_predictions_drop_unknown(cf_predictions *p)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < p->n; i++) {
        if (p->labels[i] == CF_LABEL_UNKNOWN) {
            free(p->ids[i]);
            free(p->sites[i]);
            if (p->patients) free(p->patients[i]);
            continue;
        }
        p->ids[kept] = p->ids[i];
        p->sites[kept] = p->sites[i];
        if (p->patients) p->patients[kept] = p->patients[i];
        p->folds[kept] = p->folds[i];
        p->labels[kept] = p->labels[i];
        p->predicted[kept] = p->predicted[i];
        memmove(p->p + kept * p->n_classes, p->p + i * p->n_classes,
                (size_t)p->n_classes * sizeof *p->p);
        kept++;
    }
    p->n = kept;
    p->n_unknown = 0;
}

static void put_number(cf_buf *out, double value, cf_csv_end end)
{
    cf_buf_printf(out, "%.9g%c", value, end == CF_CSV_END_ROW ? '\n' : ',');
}

static void put_row(const cf_scheme *s, const cf_predictions *p, int64_t i, cf_csv_end end,
                    cf_buf *out)
{
    cf_csv_put(out, p->ids[i], CF_CSV_MORE);
    cf_csv_put(out, p->sites[i], CF_CSV_MORE);
    if (p->folds[i] != CF_FOLD_MEAN) cf_buf_printf(out, "%d", p->folds[i]);
    cf_buf_printf(out, ",");
    const char *label = p->labels[i] == CF_LABEL_UNKNOWN ? "" : s->classes[p->labels[i]].code;
    cf_csv_put(out, label, CF_CSV_MORE);
    cf_csv_put(out, s->classes[p->predicted[i]].code, CF_CSV_MORE);
    for (int c = 0; c < s->n_classes; c++)
        put_number(out, p->p[i * s->n_classes + c], c + 1 < s->n_classes ? CF_CSV_MORE : end);
}

static void put_further(const cf_further_column *column, int64_t i, cf_csv_end end, cf_buf *out)
{
    if (column->texts != NULL)
        cf_csv_put(out, column->texts[i], end);
    else
        cf_csv_put_number(out, column->numbers[i], 6, end);
}

cf_err cf_predictions_write_further(const char *path, const cf_scheme *s, const cf_predictions *p,
                                    const cf_further_column *columns, int n_columns)
{
    cf_buf out = {0};
    char header[CF_CODE_MAX + 2];
    cf_buf_printf(&out, "id,site,fold,label,predicted,");
    for (int c = 0; c < s->n_classes; c++) {
        snprintf(header, sizeof header, "p_%s", s->classes[c].code);
        bool last = c + 1 == s->n_classes && n_columns == 0;
        cf_csv_put(&out, header, last ? CF_CSV_END_ROW : CF_CSV_MORE);
    }
    for (int k = 0; k < n_columns; k++)
        cf_csv_put(&out, columns[k].name, k + 1 == n_columns ? CF_CSV_END_ROW : CF_CSV_MORE);
    for (int64_t i = 0; i < p->n; i++) {
        put_row(s, p, i, n_columns == 0 ? CF_CSV_END_ROW : CF_CSV_MORE, &out);
        for (int k = 0; k < n_columns; k++)
            put_further(&columns[k], i, k + 1 == n_columns ? CF_CSV_END_ROW : CF_CSV_MORE, &out);
    }
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) err = cf_file_save(path, out.data, out.len);
    cf_buf_fini(&out);
    return err;
}

cf_err cf_predictions_write(const char *path, const cf_scheme *s, const cf_predictions *p)
{
    return cf_predictions_write_further(path, s, p, NULL, 0);
}
