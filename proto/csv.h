/* CSV (RFC 4180): a reader that names line and column, a writer that quotes; predictions and folds.
 *
 * Cells that a spreadsheet would take for a formula (=, +, -, @ first, where the cell is not a
 * number) are written with a leading apostrophe, which the reader takes off again. In messages
 * "path:line:column" the column is the number of the cell in its row, from 1. Threads: any. Read
 * first: cf_csv, cf_predictions. */
#ifndef CF_PROTO_CSV_H
#define CF_PROTO_CSV_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "kernels/base/file.h"
#include "proto/scheme.h"

/* A whole CSV file in memory, rows of cells. */
typedef struct cf_csv {
    char *text;     /* owned; cells point into it */
    char **cells;   /* owned, [n_rows * n_columns], row 0 is the header */
    int64_t *lines; /* owned, [n_rows]: line where the row starts */
    int64_t n_rows;
    int n_columns;
    char name[CF_PATH_MAX];
} cf_csv;

/* Rows end in LF or CR LF; a byte order mark and empty lines are skipped. Errors: CF_E_DATA
 * "path:line:column: ..." for a quote left open or out of place, rows of another length, NUL bytes,
 * UTF-16, a header cell that stands twice, no header; "path: ..." for what is no regular file,
 * cannot be read or has more than max_bytes. */
CF_CHECKED cf_err cf_csv_read(const char *path, size_t max_bytes, cf_csv *csv);
CF_CHECKED cf_err cf_csv_parse(const char *name, const char *text, size_t n, cf_csv *csv);
void cf_csv_fini(cf_csv *csv);
/* Column of a header cell, or -1. */
int cf_csv_column(const cf_csv *csv, const char *header);
/* CF_E_DATA where there is none; it says so where the file seems to have another separator. */
CF_CHECKED cf_err cf_csv_require(const cf_csv *csv, const char *header, int *column);
const char *cf_csv_cell(const cf_csv *csv, int64_t row, int column);
/* A name goes into tables, pages and JSON, which are UTF-8: CF_E_DATA for another one. */
CF_CHECKED cf_err cf_csv_check_utf8(const cf_csv *csv, int64_t row, int column);
/* CF_E_DATA with "path:line:column: " of a cell before the message. */
CF_CHECKED CF_PRINTF(4, 5) cf_err
    cf_csv_fail(const cf_csv *csv, int64_t row, int column, const char *fmt, ...);
/* Appends one cell, quoted where needed; `last` ends the row. */
typedef enum cf_csv_end { CF_CSV_MORE, CF_CSV_END_ROW } cf_csv_end;
void cf_csv_put(cf_buf *out, const char *cell, cf_csv_end end);
void cf_csv_put_integer(cf_buf *out, int64_t value, cf_csv_end end);
/* digits: significant ones. NaN is an empty cell. */
void cf_csv_put_number(cf_buf *out, double value, int digits, cf_csv_end end);

enum { CF_FOLD_MEAN = -1 };

/* Predictions of any number of folds: the rows of predictions.csv. */
typedef struct cf_predictions {
    int64_t n, n_unknown; /* rows, and those of them without a label */
    int n_classes;
    char **ids;         /* owned strings, [n] */
    char **sites;       /* owned strings, [n] */
    char **patients;    /* owned strings, [n], "" or NULL where not known; NULL: known of none */
    int32_t *folds;     /* [n]; CF_FOLD_MEAN: the mean of several networks, an empty cell */
    int32_t *labels;    /* [n] class index, or CF_LABEL_UNKNOWN, an empty cell */
    int32_t *predicted; /* [n] class index: highest probability, the first on a tie; reading keeps
                           the file's word among classes within 1e-6 of the highest */
    double *p;          /* [n][n_classes] after merging; rows sum to 1 */
} cf_predictions;

/* Room for n rows. */
CF_CHECKED cf_err cf_predictions_init(cf_predictions *p, int64_t n, int n_classes);
void cf_predictions_fini(cf_predictions *p);
/* Columns id,site,fold,label,predicted, then p_<CODE> a class. Also reads p_<NODE> or z_<NODE>
 * (logits, softmax taken) columns of unmerged nodes; site and fold may be missing ("" and 0), a
 * fold's cell empty (0); a column patient is read where there is one.
 * Errors: CF_E_DATA with path:line:column: missing column, unknown label, bad number, probabilities
 * that do not sum to one within 1e-3, a predicted class that is not the highest, duplicate id
 * within a fold, no rows, p_ or z_ columns beyond the scheme's, ids, sites or patients that are not
 * UTF-8. Taken as they are: control characters and line breaks in names, a negative zero. */
CF_CHECKED cf_err cf_predictions_read(const char *path, const cf_scheme *s, cf_predictions *p);
/* The same where label cells may be empty: CF_LABEL_UNKNOWN. */
CF_CHECKED cf_err cf_predictions_read_any(const char *path, const cf_scheme *s, cf_predictions *p);
/* Takes out the rows without a label; the others keep their order. */
void cf_predictions_drop_unknown(cf_predictions *p);
/* Probabilities with %.9g: they read back to the same float. Atomic. */
CF_CHECKED cf_err cf_predictions_write(const char *path, const cf_scheme *s,
                                       const cf_predictions *p);
/* A column that stands behind those of the probabilities. */
typedef struct cf_further_column {
    const char *name;         /* begins with neither p_ nor z_ */
    const char *const *texts; /* [n]; NULL: numbers */
    const double *numbers;    /* [n], six digits; NaN is an empty cell */
} cf_further_column;
CF_CHECKED cf_err cf_predictions_write_further(const char *path, const cf_scheme *s,
                                               const cf_predictions *p,
                                               const cf_further_column *columns, int n_columns);

#endif
