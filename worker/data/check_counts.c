/* Images and patients of every class and site. */
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/data/check.h"

typedef struct seen {
    int64_t cell; /* class and site */
    int32_t patient;
} seen;

static int compare(const void *a, const void *b)
{
    const seen *p = a, *q = b;
    if (p->cell != q->cell) return p->cell < q->cell ? -1 : 1;
    return (p->patient > q->patient) - (p->patient < q->patient);
}

cf_err cf_check_count_images(const cf_cells *cells, cf_check_result *r)
{
    r->n_classes = cells->scheme.n_classes + 1;
    r->n_sites = (int)cells->site_names.n;
    size_t n;
    if (!cf_size_mul((size_t)r->n_classes, (size_t)r->n_sites, &n))
        return cf_fail(CF_E_DATA, "%d sites are too many to count by", r->n_sites);
    seen *all;
    CF_TRY(cf_new(&r->counts, n, sizeof *r->counts));
    CF_TRY(cf_new(&all, (size_t)cells->n, sizeof *all));
    for (int64_t i = 0; i < cells->n; i++) {
        int32_t label = cells->labels[i] < 0 ? cells->scheme.n_classes : cells->labels[i];
        int64_t at = (int64_t)label * r->n_sites + cells->sites[i];
        all[i] = (seen){at, cells->patients[i]};
        r->counts[at].images++;
        r->counts[at].without_patient += cells->patients[i] < 0;
    }
    qsort(all, (size_t)cells->n, sizeof *all, compare);
    for (int64_t i = 0; i < cells->n; i++)
        if (all[i].patient >= 0 && (i == 0 || compare(&all[i - 1], &all[i]) != 0))
            r->counts[all[i].cell].patients++;
    free(all);
    return CF_OK;
}
