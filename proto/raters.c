#include "proto/raters.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/csv.h"
#include "proto/names.h"
#include "proto/text.h"

#define MAX_BYTES ((size_t)1 << 30)

typedef struct layout {
    int id, rater, label, round; /* round: -1 for none */
} layout;

static cf_err find_columns(const cf_csv *csv, layout *l)
{
    CF_TRY(cf_csv_require(csv, "id", &l->id));
    CF_TRY(cf_csv_require(csv, "rater", &l->rater));
    CF_TRY(cf_csv_require(csv, "label", &l->label));
    l->round = cf_csv_column(csv, "round");
    return csv->n_rows > 1 ? CF_OK : cf_csv_fail(csv, 0, 0, "a header without rows");
}

/* The number of a name; the list has it too, from its first row on. */
static cf_err number_of(const cf_csv *csv, int64_t row, int column, cf_names *set, cf_strings *list,
                        uint32_t *number)
{
    bool added = false;
    const char *cell = cf_csv_cell(csv, row, column);
    if (cell[0] == '\0') return cf_csv_fail(csv, row, column, "an empty %s", csv->cells[column]);
    CF_TRY(cf_csv_check_utf8(csv, row, column));
    CF_TRY(cf_names_add(set, cell, strlen(cell), number, &added));
    return added ? cf_strings_add(list, cell) : CF_OK;
}

static cf_err read_label(const cf_csv *csv, int64_t row, int column, const cf_scheme *s,
                         int32_t *label)
{
    char quoted[CF_QUOTE_MAX];
    const char *cell = cf_csv_cell(csv, row, column);
    if (cell[0] == '\0')
        return cf_csv_fail(csv, row, column,
                           "an empty label; leave the row out where none was given");
    int found = cf_scheme_find(s, cell);
    if (found < 0)
        return cf_csv_fail(csv, row, column, "label %s is %s scheme %s",
                           cf_text_quote(cell, quoted), found == -1 ? "left out by" : "no class of",
                           s->name);
    *label = found;
    return CF_OK;
}

static cf_err read_round(const cf_csv *csv, int64_t row, int column, int32_t *round)
{
    char quoted[CF_QUOTE_MAX];
    int64_t value = 1;
    const char *cell = column >= 0 ? cf_csv_cell(csv, row, column) : "";
    if (cell[0] != '\0' && (!cf_text_integer(cell, &value) || value < 1 || value > CF_MAX_ROUNDS))
        return cf_csv_fail(csv, row, column, "round is %s; expected a whole number from 1 to %d",
                           cf_text_quote(cell, quoted), CF_MAX_ROUNDS);
    *round = (int32_t)value;
    return CF_OK;
}

static int compare_ratings(const cf_rating *x, const cf_rating *y)
{
    if (x->image != y->image) return x->image < y->image ? -1 : 1;
    if (x->rater != y->rater) return x->rater < y->rater ? -1 : 1;
    return (x->round > y->round) - (x->round < y->round);
}

/* A rating with the row it stands in. */
typedef struct numbered {
    cf_rating rating;
    int64_t row;
} numbered;

static int compare_numbered(const void *a, const void *b)
{
    const numbered *x = a, *y = b;
    int order = compare_ratings(&x->rating, &y->rating);
    return order != 0 ? order : (x->row > y->row) - (x->row < y->row);
}

/* Names the first row of the file that repeats image, rater and round of one before it. items:
 * sorted. */
static cf_err refuse_duplicates(const cf_csv *csv, const layout *l, const numbered *items,
                                int64_t n)
{
    char image[CF_QUOTE_MAX], rater[CF_QUOTE_MAX];
    const numbered *first = NULL;
    for (int64_t i = 1; i < n; i++)
        if (compare_ratings(&items[i].rating, &items[i - 1].rating) == 0 &&
            (!first || items[i].row < first->row))
            first = &items[i];
    if (!first) return CF_OK;
    return cf_csv_fail(csv, first->row, l->id,
                       "rater %s labels image %s a second time in round %d, before in line %lld%s",
                       cf_text_quote(cf_csv_cell(csv, first->row, l->rater), rater),
                       cf_text_quote(cf_csv_cell(csv, first->row, l->id), image),
                       first->rating.round, (long long)csv->lines[first[-1].row],
                       l->round < 0 ? "; a column round tells repeats apart" : "");
}

static cf_err read_rows(const cf_csv *csv, const layout *l, const cf_scheme *s, numbered *items,
                        cf_raters *r)
{
    cf_names images = {0}, raters = {0};
    cf_err err = CF_OK;
    for (int64_t row = 1; row < csv->n_rows; row++) {
        uint32_t image = 0, rater = 0;
        numbered *item = &items[row - 1];
        item->row = row;
        CF_TRY_GOTO(number_of(csv, row, l->id, &images, &r->ids, &image), out);
        CF_TRY_GOTO(number_of(csv, row, l->rater, &raters, &r->names, &rater), out);
        if (rater >= CF_MAX_RATERS)
            CF_TRY_GOTO(cf_csv_fail(csv, row, l->rater, "more than %d raters", CF_MAX_RATERS), out);
        item->rating.image = image;
        item->rating.rater = (int32_t)rater;
        CF_TRY_GOTO(read_label(csv, row, l->label, s, &item->rating.label), out);
        CF_TRY_GOTO(read_round(csv, row, l->round, &item->rating.round), out);
    }
out:
    cf_names_fini(&raters);
    cf_names_fini(&images);
    return err;
}

cf_err cf_raters_read(const char *path, const cf_scheme *s, cf_raters *r)
{
    cf_csv csv = {0};
    layout l = {0};
    numbered *items = NULL;
    cf_err err = CF_OK;
    *r = (cf_raters){0};
    CF_TRY_GOTO(cf_csv_read(path, MAX_BYTES, &csv), out);
    CF_TRY_GOTO(find_columns(&csv, &l), out);
    size_t n = (size_t)csv.n_rows - 1;
    CF_TRY_GOTO(cf_new(&items, n, sizeof *items), out);
    CF_TRY_GOTO(cf_new(&r->items, n, sizeof *r->items), out);
    CF_TRY_GOTO(read_rows(&csv, &l, s, items, r), out);
    qsort(items, n, sizeof *items, compare_numbered);
    CF_TRY_GOTO(refuse_duplicates(&csv, &l, items, (int64_t)n), out);
    for (size_t i = 0; i < n; i++) r->items[i] = items[i].rating;
    r->n = (int64_t)n;
out:
    free(items);
    cf_csv_fini(&csv);
    if (err != CF_OK) cf_raters_fini(r);
    return err;
}

void cf_raters_fini(cf_raters *r)
{
    cf_strings_fini(&r->names);
    cf_strings_fini(&r->ids);
    free(r->items);
    *r = (cf_raters){0};
}
