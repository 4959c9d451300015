#include "coordinator/gather.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

cf_err cf_gather_init(cf_gather *g, const cf_cells *cells, const uint8_t *fold_of, int n_folds)
{
    memset(g, 0, sizeof *g);
    g->cells = cells;
    g->fold_of = fold_of;
    g->n_folds = n_folds;
    for (int64_t i = 0; i < cells->n; i++)
        if (fold_of[i] < n_folds) g->size[fold_of[i]]++;
    CF_TRY(cf_new(&g->got, (size_t)cells->n, 1));
    return cf_new(&g->p, (size_t)cells->n * (size_t)cells->scheme.n_classes, sizeof *g->p);
}

void cf_gather_fini(cf_gather *g)
{
    free(g->p);
    free(g->got);
    memset(g, 0, sizeof *g);
}

static cf_err check_message(const cf_gather *g, const cf_msg_result *r)
{
    if (r->fold < 0 || r->fold >= g->n_folds || r->n_nodes != g->cells->scheme.n_nodes)
        return cf_fail(CF_E_DEVICE,
                       "result of fold %d with %d nodes; this run has %d folds and %d nodes",
                       r->fold, r->n_nodes, g->n_folds, g->cells->scheme.n_nodes);
    for (int64_t i = 0; i < r->n; i++)
        if (r->images[i] < 0 || r->images[i] >= g->cells->n || g->fold_of[r->images[i]] != r->fold)
            return cf_fail(CF_E_DEVICE, "result for image %lld, which is not tested in fold %d",
                           (long long)r->images[i], r->fold);
    return CF_OK;
}

cf_err cf_gather_add(cf_gather *g, const cf_msg_result *r, bool *complete)
{
    *complete = false;
    CF_TRY(check_message(g, r));
    const cf_scheme *s = &g->cells->scheme;
    double *scratch = NULL;
    CF_TRY(cf_new(&scratch, (size_t)(s->n_nodes + s->n_classes), sizeof *scratch));
    double *curve = scratch + s->n_nodes;
    for (int64_t i = 0; i < r->n; i++) {
        int64_t image = r->images[i];
        double *p = r->final ? g->p + image * s->n_classes : curve;
        cf_scheme_probabilities(s, r->logits + i * s->n_nodes, scratch, p);
        if (r->final) {
            g->n_got[r->fold] += g->got[image] == 0;
            g->got[image] = 1;
        } else {
            g->curve_n[r->fold]++;
            g->curve_correct[r->fold] += cf_scheme_highest(s, p) == g->cells->labels[image];
        }
    }
    free(scratch);
    int64_t have = r->final ? g->n_got[r->fold] : g->curve_n[r->fold];
    *complete = have == g->size[r->fold];
    return CF_OK;
}

double cf_gather_take_curve(cf_gather *g, int fold)
{
    double share = (double)g->curve_correct[fold] / (double)g->curve_n[fold];
    g->curve_n[fold] = g->curve_correct[fold] = 0;
    return share;
}

cf_err cf_gather_predictions(const cf_gather *g, int fold, cf_predictions *out)
{
    const cf_cells *c = g->cells;
    int n_classes = c->scheme.n_classes;
    CF_TRY(cf_predictions_init(out, g->size[fold], n_classes));
    int64_t row = 0;
    for (int64_t i = 0; i < c->n; i++) {
        if (g->fold_of[i] != fold) continue;
        CF_TRY(cf_strdup(c->ids[i], &out->ids[row]));
        CF_TRY(cf_strdup(c->site_names.items[c->sites[i]], &out->sites[row]));
        out->folds[row] = fold;
        out->labels[row] = c->labels[i];
        memcpy(out->p + row * n_classes, g->p + i * n_classes, (size_t)n_classes * sizeof *out->p);
        out->predicted[row] = cf_scheme_highest(&c->scheme, out->p + row * n_classes);
        row++;
    }
    return CF_OK;
}
