#include "launch/class_table.h"

#include <inttypes.h>

#include "coordinator/markdown.h"

enum { MAX_COLUMNS = 12 }; /* more sites than this do not fit beside each other */

const char *cf_site_title(const cf_cells *cells, int site)
{
    const char *name = cells->site_names.items[site];
    return *name ? name : "not named";
}

cf_err cf_class_table(const cf_cells *cells, const int64_t *images, cf_buf *out)
{
    const cf_scheme *scheme = &cells->scheme;
    const size_t n = cells->site_names.n;
    const int n_columns = n > 1 && n <= MAX_COLUMNS ? (int)n : 0;
    char columns[MAX_COLUMNS + 4] = "llr";
    cf_markdown t;
    for (int s = 0; s < n_columns; s++) columns[3 + s] = 'r';
    cf_markdown_begin(&t, columns);
    cf_markdown_put(&t, "code");
    cf_markdown_put(&t, "class");
    cf_markdown_put(&t, "images");
    for (int s = 0; s < n_columns; s++) cf_markdown_put(&t, cf_site_title(cells, s));
    for (int k = 0; k <= scheme->n_classes; k++) {
        const int64_t *row = images + (size_t)k * n;
        bool labelled = k < scheme->n_classes;
        int64_t total = 0;
        for (size_t s = 0; s < n; s++) total += row[s];
        if (!labelled && total == 0) continue;
        cf_markdown_put(&t, labelled ? scheme->classes[k].code : "-");
        cf_markdown_put(&t, labelled ? scheme->classes[k].name : "without a label");
        cf_markdown_putf(&t, "%" PRId64, total);
        for (int s = 0; s < n_columns; s++) cf_markdown_putf(&t, "%" PRId64, row[s]);
    }
    return cf_markdown_print(&t, out);
}
