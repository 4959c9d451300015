/* The confusion matrix of report.html: a table, so that it can be read out, searched and copied;
 * the script adds a cursor that tells counts and shares of the cell below it. */
#include "coordinator/html.h"
#include "coordinator/page_parts.h"

static double share_of(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static void put_cell(const cf_page *p, int row, int column, cf_buf *out)
{
    const cf_fold_metrics *m = &p->metrics->pooled;
    int64_t count = m->confusion[(int64_t)row * p->scheme->n_classes + column];
    double share = share_of(count, m->classes[row].support);
    bool pair = p->scheme->tolerant[(int64_t)row * p->scheme->n_classes + column] != 0;
    cf_buf_printf(out, "<td class=\"h%d%s%s\" data-n=\"%lld\">", cf_paint_heat_step(share),
                  row == column ? " right" : "", pair ? " pair" : "", (long long)count);
    if (count > 0 && share < 0.0005)
        cf_buf_printf(out, "&lt;.1");
    else if (count > 0)
        cf_buf_printf(out, "%.1f", 100 * share);
    cf_buf_printf(out, "</td>");
}

static void put_row(const cf_page *p, int row, cf_buf *out)
{
    char total[CF_PAGE_NUMBER_MAX];
    cf_page_count(p->metrics->pooled.classes[row].support, total);
    cf_buf_printf(out, "<tr><th scope=\"row\">");
    cf_html_text(out, p->scheme->classes[row].code);
    cf_buf_printf(out, "</th>");
    for (int k = 0; k < p->scheme->n_classes; k++) put_cell(p, row, k, out);
    cf_buf_printf(out, "<td class=\"total\">%s</td></tr>\n", total);
}

void cf_page_confusion(const cf_page *p, cf_buf *out)
{
    int n = p->scheme->n_classes;
    cf_page_section(out, "confusion", "Confusion matrix");
    cf_buf_printf(out,
                  "<p>Rows: truth. Columns: prediction. Percent of the row, all folds "
                  "together.%s</p>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
                  "aria-label=\"Confusion matrix\"><table class=\"confusion%s\">\n"
                  "<caption>Confusion matrix in percent of the true class</caption>\n"
                  "<thead><tr><th scope=\"col\">truth</th>",
                  cf_page_has_tolerance(p->scheme) ? " Dotted frames: tolerance pairs." : "",
                  n > 12 ? " dense" : "");
    for (int k = 0; k < n; k++) {
        cf_buf_printf(out, "<th scope=\"col\">");
        cf_html_text(out, p->scheme->classes[k].code);
        cf_buf_printf(out, "</th>");
    }
    cf_buf_printf(out, "<th scope=\"col\" class=\"total\">images</th></tr></thead>\n<tbody>\n");
    for (int row = 0; row < n; row++) put_row(p, row, out);
    cf_buf_printf(out, "</tbody></table></div>\n<p class=\"status\" role=\"status\" "
                       "id=\"cell\">Point at a cell, or move over the matrix with the arrow "
                       "keys, for counts and shares.</p>\n");
    cf_page_end(out);
}
