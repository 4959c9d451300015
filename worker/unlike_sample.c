#include "worker/unlike_sample.h"

#include <stdbool.h>
#include <string.h>

/* Picks `wanted` of n things evenly, as they are offered one after the other. */
typedef struct picker {
    int64_t n, wanted, offered, picked;
} picker;

static bool pick(picker *p)
{
    bool is = p->picked < p->wanted && p->offered == p->picked * p->n / p->wanted;
    p->offered++;
    p->picked += is;
    return is;
}

static picker picker_of(int64_t n, int64_t wanted)
{
    return (picker){.n = n, .wanted = n < wanted ? n : wanted};
}

/* The images to choose from: not taken yet, and the fold's own, or others. */
static bool is_open(const uint8_t *fold_of, int fold, bool own, const uint8_t *use, int64_t i)
{
    return (fold_of[i] == fold) == own && use[i] == CF_UNLIKE_NOT_TAKEN;
}

/* n_of: [n_classes] images that make each class's centre. */
static void fill_up(const cf_cells *cells, const uint8_t *fold_of, int fold, bool own,
                    int64_t n_of[CF_MAX_CLASSES], uint8_t *use)
{
    picker pickers[CF_MAX_CLASSES];
    int64_t n_open[CF_MAX_CLASSES] = {0};
    int n_classes = cells->scheme.n_classes;
    for (int64_t i = 0; i < cells->n; i++)
        n_open[cells->labels[i]] += is_open(fold_of, fold, own, use, i);
    for (int k = 0; k < n_classes; k++)
        pickers[k] =
            picker_of(n_open[k], n_of[k] < CF_UNLIKE_OF_CLASS ? CF_UNLIKE_OF_CLASS - n_of[k] : 0);
    for (int64_t i = 0; i < cells->n; i++) {
        int k = cells->labels[i];
        if (!is_open(fold_of, fold, own, use, i) || !pick(&pickers[k])) continue;
        use[i] = own ? CF_UNLIKE_FITTED : CF_UNLIKE_CENTRE;
        n_of[k]++;
    }
}

void cf_unlike_sample(const cf_cells *cells, const uint8_t *fold_of, int fold, uint8_t *use,
                      int64_t counts[CF_UNLIKE_USES])
{
    int64_t n = 0, n_of[CF_MAX_CLASSES] = {0};
    for (int64_t i = 0; i < cells->n; i++) {
        n += fold_of[i] == fold;
        use[i] = CF_UNLIKE_NOT_TAKEN;
    }
    memset(counts, 0, CF_UNLIKE_USES * sizeof *counts);
    bool enough = n / 3 >= CF_UNLIKE_MIN_HELD_OF_FOLD;
    picker p = picker_of(n, enough ? CF_UNLIKE_SAMPLE : 0);
    for (int64_t i = 0; i < cells->n; i++) {
        if (fold_of[i] != fold || !pick(&p)) continue;
        use[i] = p.picked % 3 == 0 ? CF_UNLIKE_HELD : CF_UNLIKE_FITTED;
        n_of[cells->labels[i]] += use[i] == CF_UNLIKE_FITTED;
    }
    if (enough) fill_up(cells, fold_of, fold, true, n_of, use);
    if (enough) fill_up(cells, fold_of, fold, false, n_of, use);
    for (int64_t i = 0; i < cells->n; i++) counts[use[i]]++;
}
