#include "coordinator/metrics_sites.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/metrics_fold.h"
#include "kernels/base/mem.h"

static const char *site_of(const cf_predictions *p, int64_t row)
{
    return p->sites[row] ? p->sites[row] : "";
}

/* Rows of one site mostly stand together: most calls end at the first comparison. */
static int find(const char *const *names, int n, const char *name, int last)
{
    if (last < n && strcmp(names[last], name) == 0) return last;
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different names, sorted, borrowed from p. Returns how many; more than names holds: one too
 * many. */
static int distinct_sites(const cf_predictions *p, const char *names[CF_METRICS_MAX_SITES])
{
    int n = 0, last = 0;
    for (int64_t row = 0; row < p->n; row++) {
        int found = find(names, n, site_of(p, row), last);
        if (found < 0 && n == CF_METRICS_MAX_SITES) return CF_METRICS_MAX_SITES + 1;
        if (found < 0) names[found = n++] = site_of(p, row);
        last = found;
    }
    qsort(names, (size_t)n, sizeof *names, by_name);
    return n;
}

int64_t cf_sites_rows(const cf_metrics *m, const cf_predictions *p, int i, int64_t *rows)
{
    int64_t n = 0;
    for (int64_t row = 0; row < p->n; row++)
        if (strcmp(site_of(p, row), m->site_names[i]) == 0) rows[n++] = row;
    return n;
}

static int fold_index(const cf_metrics *m, int fold)
{
    int low = 0, high = m->n_folds - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (m->folds[middle].fold < fold)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Each fold one site, each site one fold: the split left a site out at a time. */
static cf_err find_left_out(const cf_predictions *p, cf_metrics *m)
{
    int site_of_fold[CF_METRICS_MAX_SITES], fold_of_site[CF_METRICS_MAX_SITES], last = 0;
    if (m->n_folds != m->n_sites) return CF_OK;
    for (int i = 0; i < m->n_sites; i++) site_of_fold[i] = fold_of_site[i] = -1;
    for (int64_t row = 0; row < p->n; row++) {
        int site = find((const char *const *)m->site_names, m->n_sites, site_of(p, row), last);
        int fold = fold_index(m, p->folds[row]);
        if (site_of_fold[fold] < 0) site_of_fold[fold] = site;
        if (fold_of_site[site] < 0) fold_of_site[site] = fold;
        if (site_of_fold[fold] != site || fold_of_site[site] != fold) return CF_OK;
        last = site;
    }
    CF_TRY(cf_new(&m->left_out, (size_t)m->n_folds, sizeof *m->left_out));
    for (int i = 0; i < m->n_folds; i++) m->left_out[i] = site_of_fold[i];
    return CF_OK;
}

cf_err cf_sites_compute(const cf_scheme *s, const cf_predictions *p, int64_t *rows, cf_metrics *m)
{
    const char *names[CF_METRICS_MAX_SITES];
    int n = distinct_sites(p, names);
    if (n < 2 || n > CF_METRICS_MAX_SITES) return CF_OK;
    CF_TRY(cf_new(&m->sites, (size_t)n, sizeof *m->sites));
    CF_TRY(cf_new(&m->site_names, (size_t)n, sizeof *m->site_names));
    m->n_sites = n;
    for (int i = 0; i < n; i++) CF_TRY(cf_strdup(names[i], &m->site_names[i]));
    for (int i = 0; i < n; i++) {
        m->sites[i].fold = -1;
        CF_TRY(cf_fold_compute(s, p, rows, cf_sites_rows(m, p, i, rows), &m->sites[i]));
    }
    return find_left_out(p, m);
}
