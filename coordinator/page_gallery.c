/* The most confident errors of report.html, as pictures: where network and label disagree most, and
 * where a label may be wrong. */
#include <stdlib.h>

#include "coordinator/html.h"
#include "coordinator/page_parts.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum { SHOWN = 48, SIDE = 128 };

typedef struct wrong {
    int64_t row;
    double probability;
} wrong;

static int most_confident_first(const void *x, const void *y)
{
    const wrong *a = x, *b = y;
    if (a->probability > b->probability || a->probability < b->probability)
        return a->probability > b->probability ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

static double probability_of(const cf_predictions *p, int64_t row)
{
    return p->p[row * p->n_classes + p->predicted[row]];
}

/* *list: owned by the caller, [*n], the most confident first. */
static cf_err find_errors(const cf_predictions *p, wrong **list, int64_t *n)
{
    *n = 0;
    CF_TRY(cf_new(list, (size_t)p->n, sizeof **list));
    for (int64_t i = 0; i < p->n; i++)
        if (p->labels[i] >= 0 && p->labels[i] != p->predicted[i])
            (*list)[(*n)++] = (wrong){i, probability_of(p, i)};
    qsort(*list, (size_t)*n, sizeof **list, most_confident_first);
    return CF_OK;
}

/* A damaged image costs its picture, not the report. */
static cf_err fetch(const cf_page *p, const char *id, cf_buf *jpeg)
{
    cf_buf_clear(jpeg);
    if (!p->source) return CF_OK;
    cf_err err = p->source->picture(p->source->context, id, SIDE, jpeg);
    if (err != CF_E_DATA) return err;
    cf_log_warn("report: %s", cf_err_text());
    cf_buf_clear(jpeg);
    return CF_OK;
}

static void put_picture(const cf_predictions *p, int64_t row, const cf_class *truth,
                        const cf_class *called, const cf_buf *jpeg, cf_buf *out)
{
    if (jpeg->len == 0) {
        cf_buf_printf(out, "<span class=\"absent\" aria-hidden=\"true\"></span>");
        return;
    }
    cf_buf_printf(out, "<img loading=\"lazy\" alt=\"");
    cf_html_textf(out, "%s, labelled %s, predicted %s", p->ids[row], truth->code, called->code);
    cf_buf_printf(out, "\" src=\"data:image/jpeg;base64,");
    cf_html_base64(out, jpeg->data, jpeg->len);
    cf_buf_printf(out, "\"/>");
}

static cf_err put_error(const cf_page *page, const wrong *w, cf_buf *jpeg, cf_buf *out)
{
    const cf_predictions *p = page->predictions;
    const cf_class *truth = &page->scheme->classes[p->labels[w->row]];
    const cf_class *called = &page->scheme->classes[p->predicted[w->row]];
    char probability[CF_PAGE_NUMBER_MAX];
    cf_text_ratio(w->probability, 3, probability);
    CF_TRY(fetch(page, p->ids[w->row], jpeg));
    cf_buf_printf(out, "<li>");
    put_picture(p, w->row, truth, called, jpeg, out);
    cf_buf_printf(out, "<span class=\"verdict\"><abbr title=\"");
    cf_html_text(out, truth->name);
    cf_buf_printf(out, "\">");
    cf_html_text(out, truth->code);
    cf_buf_printf(out, "</abbr> <span class=\"as\">→</span> <abbr title=\"");
    cf_html_text(out, called->name);
    cf_buf_printf(out, "\">");
    cf_html_text(out, called->code);
    cf_buf_printf(out, "</abbr> <span class=\"p\">%s</span></span><span class=\"id\">",
                  probability);
    cf_html_text(out, p->ids[w->row]);
    cf_buf_printf(out, "</span></li>\n");
    return CF_OK;
}

static void put_absent(const cf_page *p, cf_buf *out)
{
    if (p->source) return;
    cf_buf_printf(out, "<p class=\"warning\">No pictures: ");
    cf_html_text(out, p->absent);
    cf_buf_printf(out, ".</p>\n");
}

cf_err cf_page_gallery(const cf_page *p, cf_buf *out)
{
    wrong *list = NULL;
    int64_t n = 0;
    char count[CF_PAGE_NUMBER_MAX];
    cf_buf jpeg = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(find_errors(p->predictions, &list, &n), out);
    cf_page_count(n, count);
    cf_page_section(out, "errors", "Most confident errors");
    cf_buf_printf(out,
                  "<p>%s of the images are predicted as another class than their label’s. These "
                  "are the %lld of them with the highest probability: label → prediction, and its "
                  "probability. Some labels may be wrong.</p>\n",
                  count, (long long)(n < SHOWN ? n : SHOWN));
    put_absent(p, out);
    cf_buf_printf(out, "<ul class=\"gallery\">\n");
    for (int64_t i = 0; i < n && i < SHOWN; i++)
        CF_TRY_GOTO(put_error(p, &list[i], &jpeg, out), out);
    cf_buf_printf(out, "</ul>\n");
    cf_page_end(out);
out:
    cf_buf_fini(&jpeg);
    free(list);
    return err;
}
