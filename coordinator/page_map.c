/* The map of all images in report.html, from the run's embed.csv: data for the script, which draws
 * it on a canvas, since 50,000 elements would be too many for a page. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/html.h"
#include "coordinator/page_parts.h"
#include "coordinator/plot.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/map_origin.h"
#include "proto/text.h"

#define PLACE_MAX 1e9 /* far beyond any map, and spans stay finite */
enum { CSV_MAX_BYTES = 1 << 30, UNKNOWN = 65535, SIDE = 48, PICTURE_BYTES = 1400 * 1000 };

/* Columns of embed.csv as the page stores them. */
typedef struct map {
    int64_t n;
    uint16_t *x, *y, *label, *predicted, *fold; /* owned, [n]; places in 0..65534 */
    double width, height;                       /* of what the places span, in one unit */
} map;

static void map_fini(map *m)
{
    free(m->x);
    free(m->y);
    free(m->label);
    free(m->predicted);
    free(m->fold);
}

static cf_err map_init(map *m, int64_t n)
{
    size_t items = (size_t)n;
    *m = (map){.n = n};
    CF_TRY(cf_new(&m->x, items, sizeof *m->x));
    CF_TRY(cf_new(&m->y, items, sizeof *m->y));
    CF_TRY(cf_new(&m->label, items, sizeof *m->label));
    CF_TRY(cf_new(&m->predicted, items, sizeof *m->predicted));
    return cf_new(&m->fold, items, sizeof *m->fold);
}

static cf_err map_path(const char *run_dir, char path[CF_PATH_MAX])
{
    return cf_path_join(path, CF_PATH_MAX, run_dir, "embed.csv");
}

bool cf_page_has_map(const cf_page *p)
{
    char path[CF_PATH_MAX];
    return map_path(p->run_dir, path) == CF_OK && cf_path_exists(path);
}

/* ---- reading ---- */

static uint16_t class_of(const cf_scheme *s, const char *code)
{
    int k = code[0] ? cf_scheme_find(s, code) : -1;
    return k >= 0 ? (uint16_t)k : UNKNOWN;
}

static cf_err read_place(const cf_csv *csv, int64_t row, int column, double *value)
{
    const char *text = cf_csv_cell(csv, row, column);
    char quoted[CF_QUOTE_MAX];
    if (!cf_text_number(text, value))
        return cf_csv_fail(csv, row, column, "%s is not a number", cf_text_quote(text, quoted));
    if (fabs(*value) <= PLACE_MAX) return CF_OK;
    return cf_csv_fail(csv, row, column, "%s is no place, expected from -1e9 to 1e9",
                       cf_text_quote(text, quoted));
}

/* Values of a column to 0..65534, on the scale of the wider one of both. */
static void quantise(const double *v, int64_t n, double low, double span, uint16_t *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = (uint16_t)lround((v[i] - low) / span * 65534);
}

static cf_err place(map *m, const double *x, const double *y)
{
    double low[2] = {x[0], y[0]}, high[2] = {x[0], y[0]};
    for (int64_t i = 1; i < m->n; i++) {
        low[0] = fmin(low[0], x[i]);
        high[0] = fmax(high[0], x[i]);
        low[1] = fmin(low[1], y[i]);
        high[1] = fmax(high[1], y[i]);
    }
    double span = fmax(high[0] - low[0], high[1] - low[1]);
    if (!(span > 0)) span = 1;
    quantise(x, m->n, low[0], span, m->x);
    quantise(y, m->n, low[1], span, m->y);
    m->width = (high[0] - low[0]) / span;
    m->height = (high[1] - low[1]) / span;
    return CF_OK;
}

static cf_err fill(const cf_csv *csv, const cf_scheme *s, map *m)
{
    static const char *const names[] = {"id", "fold", "label", "predicted", "x", "y"};
    enum { ID, FOLD, LABEL, PREDICTED, X, Y, N };
    int column[N];
    double *x = NULL, *y = NULL;
    cf_err err = CF_OK;
    for (int i = 0; i < N; i++) {
        column[i] = cf_csv_column(csv, names[i]);
        if (column[i] < 0) return cf_fail(CF_E_DATA, "%s:1: no column %s", csv->name, names[i]);
    }
    if (csv->n_rows < 2) return cf_fail(CF_E_DATA, "%s: no rows", csv->name);
    CF_TRY_GOTO(map_init(m, csv->n_rows - 1), out);
    CF_TRY_GOTO(cf_new(&x, (size_t)m->n, sizeof *x), out);
    CF_TRY_GOTO(cf_new(&y, (size_t)m->n, sizeof *y), out);
    for (int64_t i = 0; i < m->n; i++) {
        int64_t fold = 0;
        CF_TRY_GOTO(read_place(csv, i + 1, column[X], &x[i]), out);
        CF_TRY_GOTO(read_place(csv, i + 1, column[Y], &y[i]), out);
        m->label[i] = class_of(s, cf_csv_cell(csv, i + 1, column[LABEL]));
        m->predicted[i] = class_of(s, cf_csv_cell(csv, i + 1, column[PREDICTED]));
        bool known = cf_text_integer(cf_csv_cell(csv, i + 1, column[FOLD]), &fold);
        m->fold[i] = known && fold >= 0 && fold < UNKNOWN ? (uint16_t)fold : UNKNOWN;
    }
    CF_TRY_GOTO(place(m, x, y), out);
out:
    free(x);
    free(y);
    return err;
}

/* ---- writing ---- */

static void put_column(cf_buf *out, const char *key, const uint16_t *values, int64_t n)
{
    cf_buf_printf(out, "\"%s\":\"", key);
    /* little endian, whatever the machine: the page's script reads bytes; 3 values at a time keep
     * base64 without padding in between */
    for (int64_t i = 0; i < n; i += 3) {
        unsigned char bytes[6];
        int64_t k = n - i < 3 ? n - i : 3;
        for (int64_t j = 0; j < k; j++) {
            bytes[2 * j] = (unsigned char)(values[i + j] & 255);
            bytes[2 * j + 1] = (unsigned char)(values[i + j] >> 8);
        }
        cf_html_base64(out, bytes, (size_t)(2 * k));
    }
    cf_buf_printf(out, "\",\n");
}

static void put_classes(const cf_scheme *s, cf_buf *out)
{
    cf_buf_printf(out, "\"classes\":[");
    for (int k = 0; k < s->n_classes; k++) {
        cf_buf_printf(out, "%s", k > 0 ? "," : "");
        cf_html_json(out, s->classes[k].code);
    }
    cf_buf_printf(out, "],\n");
}

/* Small pictures of images spread evenly over the file, as many as PICTURE_BYTES allows. */
static cf_err put_pictures(const cf_page *p, const cf_csv *csv, int64_t n, cf_buf *out)
{
    int id = cf_csv_column(csv, "id");
    int64_t wanted = PICTURE_BYTES / 1500, step = n > wanted ? (n + wanted - 1) / wanted : 1;
    size_t begin = out->len;
    const char *comma = "";
    cf_buf jpeg = {0};
    cf_err err = CF_OK;
    cf_buf_printf(out, "\"pictures\":{");
    for (int64_t i = 0; p->source && i < n; i += step) {
        cf_buf_clear(&jpeg);
        err = p->source->picture(p->source->context, cf_csv_cell(csv, i + 1, id), SIDE, &jpeg);
        if (err == CF_E_DATA) { /* a damaged image costs its picture, not the report */
            cf_log_warn("report: %s", cf_err_text());
            err = CF_OK;
            continue;
        }
        if (err != CF_OK || out->len - begin > PICTURE_BYTES) break;
        if (jpeg.len == 0) continue;
        cf_buf_printf(out, "%s\n\"%lld\":\"", comma, (long long)i);
        cf_html_base64(out, jpeg.data, jpeg.len);
        cf_buf_printf(out, "\"");
        comma = ",";
    }
    cf_buf_printf(out, "}");
    cf_buf_fini(&jpeg);
    return err;
}

static cf_err put_data(const cf_page *p, const cf_csv *csv, const map *m, cf_buf *out)
{
    int id = cf_csv_column(csv, "id");
    cf_buf_printf(out,
                  "<script type=\"application/json\" id=\"map-data\">{\"n\":%lld,"
                  "\"width\":%.6f,\"height\":%.6f,\"paint\":%d,\"colors\":%d,\"marks\":%d,\n",
                  (long long)m->n, m->width, m->height, CF_PAINT_SERIES, CF_N_SERIES_COLORS,
                  CF_N_MARKS);
    put_classes(p->scheme, out);
    put_column(out, "x", m->x, m->n);
    put_column(out, "y", m->y, m->n);
    put_column(out, "label", m->label, m->n);
    put_column(out, "predicted", m->predicted, m->n);
    put_column(out, "fold", m->fold, m->n);
    cf_buf_printf(out, "\"ids\":[");
    for (int64_t i = 0; i < m->n; i++) {
        cf_buf_printf(out, "%s", i > 0 ? "," : "");
        cf_html_json(out, cf_csv_cell(csv, i + 1, id));
    }
    cf_buf_printf(out, "],\n");
    CF_TRY(put_pictures(p, csv, m->n, out));
    cf_buf_printf(out, "}</script>\n");
    return CF_OK;
}

/* No figure depends on it: a page without the warning is better than none. */
static cf_err is_earlier(const char *run_dir, bool *earlier)
{
    cf_err err = cf_map_origin_is_earlier(run_dir, earlier);
    if (err != CF_E_DATA) return err;
    cf_log_warn("of which weights the map is, cannot be told: %s", cf_err_text());
    *earlier = false;
    return CF_OK;
}

/* How many images, and what is not to be expected of them. */
static cf_err put_words(const cf_page *p, int64_t n, cf_buf *out)
{
    char count[CF_PAGE_NUMBER_MAX], all[CF_PAGE_NUMBER_MAX];
    bool earlier = false;
    CF_TRY(is_earlier(p->run_dir, &earlier));
    cf_page_count(n, count);
    cf_page_count(p->predictions->n, all);
    cf_buf_printf(out, "<p>%s", count);
    if (n < p->predictions->n) cf_buf_printf(out, " of the %s", all);
    cf_buf_printf(out,
                  " images by the features of the last layer, each of the network that was not "
                  "trained on it; close ones look alike to it. Point at one, or step through them "
                  "with the arrow keys.</p>\n");
    if (earlier)
        cf_buf_printf(out,
                      "<p class=\"warning\">The map is of earlier weights: the run was trained "
                      "further since. <code>cytofold embed</code> draws it again.</p>\n");
    return CF_OK;
}

cf_err cf_page_map(const cf_page *p, cf_buf *out)
{
    char path[CF_PATH_MAX];
    cf_csv csv = {0};
    map m = {0};
    cf_err err = CF_OK;
    if (!cf_page_has_map(p)) return CF_OK;
    CF_TRY(map_path(p->run_dir, path));
    CF_TRY(cf_csv_read(path, CSV_MAX_BYTES, &csv));
    CF_TRY_GOTO(fill(&csv, p->scheme, &m), out);
    cf_page_section(out, "map", "Map of the images");
    CF_TRY_GOTO(put_words(p, m.n, out), out);
    cf_buf_printf(out,
                  "<figure class=\"map\" id=\"map-figure\">"
                  "<canvas id=\"map-canvas\" tabindex=\"0\" role=\"img\" aria-label=\"Map of the "
                  "images, coloured by label\" width=\"960\" height=\"640\"></canvas>\n"
                  "<figcaption class=\"status\" role=\"status\" id=\"map-status\">Distances "
                  "within the map mean something, its axes do not.</figcaption></figure>\n");
    CF_TRY_GOTO(put_data(p, &csv, &m, out), out);
    cf_page_end(out);
out:
    map_fini(&m);
    cf_csv_fini(&csv);
    return err;
}
