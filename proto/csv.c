#include "proto/csv.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/text.h"

enum { MAX_COLUMNS = 8192 };

/* Cells are cut and unquoted in place: what is written never overtakes what is read. */
typedef struct reader {
    cf_csv *csv;
    const char *in, *end;
    char *out;
    int64_t line;     /* of `in`, from 1 */
    int64_t row_line; /* where the row began */
    int64_t room;     /* cells allocated */
    int64_t room_rows;
    int64_t n_cells;
    int column; /* cells of this row so far */
} reader;

static cf_err fail_here(const reader *r, const char *text)
{
    return cf_fail(CF_E_DATA, "%s:%lld:%d: %s", r->csv->name, (long long)r->line, r->column + 1,
                   text);
}

static bool starts_formula(char c)
{
    return c != '\0' && strchr("=+-@\t\r\n", c) != NULL;
}

/* Whether a spreadsheet would run the cell, or whether it would after losing its apostrophes. */
static bool needs_apostrophe(const char *cell)
{
    double number;
    const char *p = cell;
    while (*p == '\'') p++;
    return starts_formula(*p) && !cf_text_number(cell, &number);
}

static cf_err push_cell(reader *r, char *cell)
{
    cf_csv *csv = r->csv;
    if (r->column == MAX_COLUMNS) return fail_here(r, "too many columns");
    if (r->n_cells == r->room) {
        r->room = r->room ? 2 * r->room : 256;
        CF_TRY(cf_resize(&csv->cells, (size_t)r->room, sizeof *csv->cells));
    }
    csv->cells[r->n_cells++] = cell[0] == '\'' && needs_apostrophe(cell) ? cell + 1 : cell;
    r->column++;
    return CF_OK;
}

/* From the opening quote to after the closing one. */
static cf_err read_quoted(reader *r)
{
    int64_t line = r->line;
    for (r->in++; r->in < r->end; r->in++) {
        bool quote = *r->in == '"';
        if (quote && (r->in + 1 == r->end || r->in[1] != '"')) {
            r->in++;
            return CF_OK;
        }
        if (quote) r->in++; /* two for one */
        if (*r->in == '\n') r->line++;
        *r->out++ = *r->in;
    }
    r->line = line;
    return fail_here(r, "a quote that is not closed");
}

static bool at_cell_end(const reader *r)
{
    return r->in == r->end || *r->in == ',' || *r->in == '\n' ||
           (*r->in == '\r' && r->in + 1 < r->end && r->in[1] == '\n');
}

static cf_err read_plain(reader *r)
{
    for (; !at_cell_end(r); r->in++) {
        if (*r->in == '"') return fail_here(r, "a quote inside an unquoted cell");
        if (*r->in == '\r') return fail_here(r, "a carriage return without a line feed");
        *r->out++ = *r->in;
    }
    return CF_OK;
}

/* One cell and the comma or row end behind it; *end_row tells which. */
static cf_err read_cell(reader *r, bool *end_row)
{
    char *cell = r->out;
    if (r->in < r->end && *r->in == '"')
        CF_TRY(read_quoted(r));
    else
        CF_TRY(read_plain(r));
    if (!at_cell_end(r)) return fail_here(r, "text behind a closing quote");
    *end_row = r->in == r->end || *r->in != ',';
    bool cr_lf = r->in < r->end && *r->in == '\r';
    if (cr_lf) r->in++;
    if (r->in < r->end) r->in++;
    /* The separator's place (or the NUL behind the text) takes the cell's own NUL. */
    *r->out++ = '\0';
    return push_cell(r, cell);
}

static bool skip_empty_line(reader *r)
{
    const char *p = r->in;
    if (p < r->end && *p == '\r') p++;
    if (p == r->end || *p != '\n') return false;
    r->in = p + 1;
    r->line++;
    return true;
}

static cf_err end_row(reader *r)
{
    cf_csv *csv = r->csv;
    if (csv->n_rows == 0) csv->n_columns = r->column;
    if (r->column != csv->n_columns)
        return cf_fail(CF_E_DATA, "%s:%lld:%d: a row of %d cells; expected %d as in the header",
                       csv->name, (long long)r->row_line, r->column, r->column, csv->n_columns);
    if (csv->n_rows == r->room_rows) {
        r->room_rows = r->room_rows ? 2 * r->room_rows : 64;
        CF_TRY(cf_resize(&csv->lines, (size_t)r->room_rows, sizeof *csv->lines));
    }
    csv->lines[csv->n_rows++] = r->row_line;
    return CF_OK;
}

static cf_err read_rows(reader *r)
{
    while (r->in < r->end) {
        if (skip_empty_line(r)) continue;
        bool done = false;
        r->row_line = r->line;
        r->column = 0;
        while (!done) CF_TRY(read_cell(r, &done));
        CF_TRY(end_row(r));
        r->line++;
    }
    return CF_OK;
}

static cf_err check_header(const cf_csv *csv)
{
    char quoted[CF_QUOTE_MAX];
    if (csv->n_rows == 0) return cf_fail(CF_E_DATA, "%s:1:1: no header row", csv->name);
    for (int i = 0; i < csv->n_columns; i++)
        if (csv->cells[i][0] != '\0' && cf_csv_column(csv, csv->cells[i]) < i)
            return cf_csv_fail(csv, 0, i, "column %s stands twice",
                               cf_text_quote(csv->cells[i], quoted));
    return CF_OK;
}

/* Takes `text` (owned, n bytes and a NUL). */
static cf_err parse(const char *name, char *text, size_t n, cf_csv *csv)
{
    memset(csv, 0, sizeof *csv);
    csv->text = text;
    snprintf(csv->name, sizeof csv->name, "%s", name);
    reader r = {.csv = csv, .in = text, .end = text + n, .out = text, .line = 1};
    const char *nul = memchr(text, '\0', n);
    cf_err err = CF_OK;
    bool utf16 = n >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0);
    if (utf16) {
        err = fail_here(&r, "UTF-16 text; save the file as UTF-8");
    } else if (nul) {
        for (const char *p = text; p < nul; p++) r.line += *p == '\n';
        err = fail_here(&r, "a NUL byte; expected text");
    }
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) r.in += 3;
    if (err == CF_OK) err = read_rows(&r);
    if (err == CF_OK) err = check_header(csv);
    if (err != CF_OK) cf_csv_fini(csv);
    return err;
}

cf_err cf_csv_read(const char *path, size_t max_bytes, cf_csv *csv)
{
    char *text = NULL;
    size_t n = 0;
    memset(csv, 0, sizeof *csv);
    CF_TRY(cf_file_read(path, max_bytes, &text, &n));
    return parse(path, text, n, csv);
}

cf_err cf_csv_parse(const char *name, const char *text, size_t n, cf_csv *csv)
{
    char *copy = NULL;
    memset(csv, 0, sizeof *csv);
    CF_TRY(cf_new(&copy, n + 1, 1));
    memcpy(copy, text, n);
    return parse(name, copy, n, csv);
}

void cf_csv_fini(cf_csv *csv)
{
    free(csv->text);
    free(csv->cells);
    free(csv->lines);
    memset(csv, 0, sizeof *csv);
}

int cf_csv_column(const cf_csv *csv, const char *header)
{
    for (int i = 0; i < csv->n_columns; i++)
        if (strcmp(csv->cells[i], header) == 0) return i;
    return -1;
}

const char *cf_csv_cell(const cf_csv *csv, int64_t row, int column)
{
    return csv->cells[row * csv->n_columns + column];
}

cf_err cf_csv_require(const cf_csv *csv, const char *header, int *column)
{
    *column = cf_csv_column(csv, header);
    if (*column >= 0) return CF_OK;
    bool alone = csv->n_columns == 1;
    const char *why = "";
    if (alone && strchr(csv->cells[0], ';'))
        why = "; the file seems to be separated by semicolons, expected commas";
    else if (alone && strchr(csv->cells[0], '\t'))
        why = "; the file seems to be separated by tabs, expected commas";
    return cf_csv_fail(csv, 0, csv->n_columns - 1, "no column \"%s\"%s", header, why);
}

cf_err cf_csv_check_utf8(const cf_csv *csv, int64_t row, int column)
{
    const char *cell = cf_csv_cell(csv, row, column);
    for (const char *at = cell; *at != '\0';) {
        size_t n = cf_utf8_length(at);
        if (n == 0)
            return cf_csv_fail(csv, row, column,
                               "%s is not UTF-8 at its byte %d; save the file as UTF-8",
                               csv->cells[column], (int)(at - cell) + 1);
        at += n;
    }
    return CF_OK;
}

cf_err cf_csv_fail(const cf_csv *csv, int64_t row, int column, const char *fmt, ...)
{
    char message[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return cf_fail(CF_E_DATA, "%s:%lld:%d: %s", csv->name, (long long)csv->lines[row], column + 1,
                   message);
}

void cf_csv_put(cf_buf *out, const char *cell, cf_csv_end end)
{
    bool apostrophe = needs_apostrophe(cell);
    bool alone = end == CF_CSV_END_ROW && (out->len == 0 || out->data[out->len - 1] == '\n');
    bool empty_line = alone && cell[0] == '\0'; /* readers skip it */
    bool quote = empty_line || strpbrk(cell, ",\"\r\n") != NULL;
    if (quote) cf_buf_add(out, "\"", 1);
    if (apostrophe) cf_buf_add(out, "'", 1);
    for (const char *p = cell; *p != '\0'; p++) {
        if (*p == '"') cf_buf_add(out, p, 1);
        cf_buf_add(out, p, 1);
    }
    if (quote) cf_buf_add(out, "\"", 1);
    cf_buf_add(out, end == CF_CSV_END_ROW ? "\n" : ",", 1);
}

void cf_csv_put_integer(cf_buf *out, int64_t value, cf_csv_end end)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    cf_csv_put(out, text, end);
}

void cf_csv_put_number(cf_buf *out, double value, int digits, cf_csv_end end)
{
    char text[40] = "";
    if (!isnan(value)) snprintf(text, sizeof text, "%.*g", digits, value);
    cf_csv_put(out, text, end);
}
