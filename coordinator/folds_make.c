#include "coordinator/folds_make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/folds.h"
#include "coordinator/folds_balance.h"
#include "kernels/base/buf.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

cf_split cf_split_of_config(const cf_config *c)
{
    return (cf_split){.kind = (cf_split_kind)c->data_split,
                      .group = (cf_group_by)c->data_group,
                      .missing = (cf_missing_patient)c->data_missing_patient,
                      .n_folds = (int)c->data_folds,
                      .test_share = c->data_test_share,
                      .seed = (uint64_t)c->data_seed};
}

int cf_split_n_folds(const cf_config *c, const cf_cells *cells)
{
    if (c->data_split == CF_SPLIT_HOLDOUT) return 1;
    if (c->data_split == CF_SPLIT_FOLDS || c->data_folds_file[0] != '\0') return (int)c->data_folds;
    return cells ? (int)cells->site_names.n : 0;
}

/* ---- what a split must and cannot promise -----------------------------------------------------
 */

enum { NOWHERE = UINT8_MAX };

/* First and (where there are two) another part in which a name's images stand. */
typedef struct seen {
    uint8_t first, other;
} seen;

/* names: [n] places of each patient or site; images without one are left out. */
static void find_places(const cf_cells *cells, const int32_t *name_of, const uint8_t *fold_of,
                        size_t n, seen *places)
{
    memset(places, NOWHERE, n * sizeof *places);
    for (int64_t i = 0; i < cells->n; i++) {
        if (name_of[i] < 0) continue;
        seen *at = &places[name_of[i]];
        if (at->first == NOWHERE)
            at->first = fold_of[i];
        else if (at->first != fold_of[i])
            at->other = fold_of[i];
    }
}

static cf_err check_whole(const cf_cells *cells, cf_group_by group, const uint8_t *fold_of)
{
    bool patient = group == CF_GROUP_PATIENT;
    const cf_strings *names = patient ? &cells->patient_names : &cells->site_names;
    const int32_t *name_of = patient ? cells->patients : cells->sites;
    seen *places = NULL;
    size_t n_torn = 0, first = 0;
    CF_TRY(cf_new(&places, names->n, sizeof *places));
    find_places(cells, name_of, fold_of, names->n, places);
    for (size_t k = names->n; k-- > 0;) {
        if (places[k].other == NOWHERE) continue;
        n_torn++;
        first = k;
    }
    free(places);
    if (n_torn == 0) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "%zu of %zu %ss stand in more than one fold, \"%s\" for one; data.group "
                   "asks that each is kept together",
                   n_torn, names->n, patient ? "patient" : "site", names->items[first]);
}

/* counts: [n_classes][n_folds] images tested; images: [n_classes]. */
static cf_err check_training(const cf_cells *cells, int n_folds, const int64_t *counts,
                             const int64_t *images)
{
    cf_buf lost = {0};
    for (int c = 0; c < cells->scheme.n_classes; c++)
        for (int f = 0; f < n_folds; f++)
            if (images[c] > 0 && counts[(int64_t)c * n_folds + f] == images[c])
                cf_buf_printf(&lost, "%sclass %s has all its %lld images in fold %d",
                              lost.len > 0 ? ", " : "", cells->scheme.classes[c].code,
                              (long long)images[c], f);
    cf_err err = CF_OK;
    if (lost.len > 0)
        err = cf_fail(CF_E_DATA, "a class that is tested needs images to train on: %s",
                      cf_buf_text(&lost));
    cf_buf_fini(&lost);
    return err;
}

/* counts: [n_classes][n_folds] images tested, owned by the caller. */
static cf_err count_tested(const cf_cells *cells, int n_folds, const uint8_t *fold_of,
                           int64_t **counts)
{
    CF_TRY(cf_new(counts, (size_t)cells->scheme.n_classes * (size_t)n_folds, sizeof **counts));
    for (int64_t i = 0; i < cells->n; i++)
        if (fold_of[i] < n_folds) (*counts)[(int64_t)cells->labels[i] * n_folds + fold_of[i]]++;
    return CF_OK;
}

cf_err cf_folds_check(const cf_cells *cells, cf_group_by group, int n_folds, const uint8_t *fold_of)
{
    int64_t images[CF_MAX_CLASSES], *counts = NULL;
    cf_cells_count(cells, images);
    if (group != CF_GROUP_NONE) CF_TRY(check_whole(cells, group, fold_of));
    CF_TRY(count_tested(cells, n_folds, fold_of, &counts));
    cf_err err = check_training(cells, n_folds, counts, images);
    free(counts);
    return err;
}

void cf_folds_warn(const cf_cells *cells, const uint8_t *fold_of, bool whole_sites)
{
    size_t n = cells->patient_names.n, n_torn = 0;
    int64_t n_without = 0;
    seen *places = NULL;
    if (cf_new(&places, n, sizeof *places) != CF_OK) return; /* a warning is not worth a run */
    find_places(cells, cells->patients, fold_of, n, places);
    for (size_t k = 0; k < n; k++) n_torn += places[k].other != NOWHERE;
    for (int64_t i = 0; i < cells->n; i++) n_without += cells->patients[i] < 0;
    free(places);
    if (n_torn > 0)
        cf_log_warn("%zu of %zu patients have images in more than one fold%s", n_torn, n,
                    whole_sites ? ": they were seen at two sites, or two sites use one name"
                                : "; --group patient (data.group: patient) keeps them together");
    if (n_without > 0 && !whole_sites)
        cf_log_warn("%lld of %lld images have no patient: images of one patient may stand in "
                    "several folds",
                    (long long)n_without, (long long)cells->n);
}

/* ---- by groups --------------------------------------------------------------------------------
 */

/* Equal shares, or the test share and the rest; in sum CF_SHARE_ONE or a few units less. */
static void set_shares(const cf_split *split, int n_parts, int64_t shares[CF_MAX_FOLDS])
{
    for (int p = 0; p < n_parts; p++) shares[p] = CF_SHARE_ONE / n_parts;
    if (split->kind != CF_SPLIT_HOLDOUT) return;
    shares[0] = cf_folds_millionths(split->test_share) * CF_SHARE_ONE / 1000000;
    shares[1] = CF_SHARE_ONE - shares[0];
}

/* Groups may be too few or too large for a class to be in every fold. */
static void warn_untested(const cf_cells *cells, int n_folds, const uint8_t *fold_of)
{
    int64_t *counts = NULL, images[CF_MAX_CLASSES];
    cf_buf list = {0};
    if (count_tested(cells, n_folds, fold_of, &counts) != CF_OK) return;
    cf_cells_count(cells, images);
    for (int c = 0; c < cells->scheme.n_classes; c++)
        for (int f = 0; f < n_folds; f++)
            if (images[c] > 0 && counts[(int64_t)c * n_folds + f] == 0)
                cf_buf_printf(&list, "%s%s in fold %d", list.len > 0 ? ", " : "",
                              cells->scheme.classes[c].code, f);
    if (list.len > 0) cf_log_warn("classes without an image to test: %s", cf_buf_text(&list));
    cf_buf_fini(&list);
    free(counts);
}

static cf_err deal_groups(const cf_cells *cells, const cf_split *split, const cf_groups *groups,
                          uint8_t *fold_of)
{
    bool holdout = split->kind == CF_SPLIT_HOLDOUT;
    int n_parts = holdout ? 2 : split->n_folds;
    int64_t shares[CF_MAX_FOLDS];
    char purpose[64];
    uint8_t *part_of = NULL;
    if (holdout)
        snprintf(purpose, sizeof purpose, "test and training");
    else
        snprintf(purpose, sizeof purpose, "%d folds", n_parts);
    CF_TRY(cf_groups_check(groups, cells, n_parts, purpose));
    set_shares(split, n_parts, shares);
    CF_TRY(cf_new(&part_of, (size_t)groups->n, 1));
    cf_err err = cf_folds_balance(groups, cells, n_parts, shares, part_of);
    for (int64_t i = 0; i < cells->n && err == CF_OK; i++) {
        uint8_t part = part_of[groups->of_image[i]];
        fold_of[i] = holdout && part == 1 ? CF_FOLD_TRAIN : part;
    }
    if (err == CF_OK && !holdout) warn_untested(cells, n_parts, fold_of);
    free(part_of);
    return err;
}

static cf_err split_groups(const cf_cells *cells, const cf_split *split, uint8_t *fold_of)
{
    cf_groups groups = {0};
    CF_TRY(cf_folds_check_counts(cells, 1));
    cf_err err = cf_groups_init(&groups, cells, split->group, split->missing, split->seed);
    if (err == CF_OK) err = deal_groups(cells, split, &groups, fold_of);
    cf_groups_fini(&groups);
    return err;
}

/* ---- by site ----------------------------------------------------------------------------------
 */

typedef struct site_name {
    const char *name; /* borrowed */
    size_t site;
} site_name;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const site_name *)a)->name, ((const site_name *)b)->name);
}

static cf_err check_sites(const cf_cells *cells)
{
    const cf_strings *names = &cells->site_names;
    int64_t n_without = 0;
    if (names->n < 2)
        return cf_fail(
            CF_E_DATA,
            "all images are of one site (\"%s\"); leaving one site out needs two or more",
            names->n == 1 ? names->items[0] : "");
    if (names->n > CF_MAX_FOLDS)
        return cf_fail(CF_E_DATA, "%zu sites, at most %d folds are possible", names->n,
                       CF_MAX_FOLDS);
    for (int64_t i = 0; i < cells->n; i++) n_without += names->items[cells->sites[i]][0] == '\0';
    if (n_without > 0)
        return cf_fail(CF_E_DATA,
                       "%lld of %lld images have no site; leaving one site out needs all",
                       (long long)n_without, (long long)cells->n);
    return CF_OK;
}

/* CF_E_DATA naming every class that only one site has. */
static cf_err check_site_classes(const cf_cells *cells)
{
    int32_t site_of[CF_MAX_CLASSES];
    cf_buf lone = {0};
    memset(site_of, 0xFF, sizeof site_of);
    for (int64_t i = 0; i < cells->n; i++) {
        int32_t *site = &site_of[cells->labels[i]];
        if (*site == -1) *site = cells->sites[i];
        if (*site != cells->sites[i]) *site = -2;
    }
    for (int c = 0; c < cells->scheme.n_classes; c++)
        if (site_of[c] >= 0)
            cf_buf_printf(&lone, "%s%s of %s", lone.len > 0 ? ", " : "",
                          cells->scheme.classes[c].code, cells->site_names.items[site_of[c]]);
    cf_err err = CF_OK;
    if (lone.len > 0)
        err = cf_fail(CF_E_DATA,
                      "a class that one site alone has cannot be trained when that site is left "
                      "out: %s; pack without it, or merge it in the scheme",
                      cf_buf_text(&lone));
    cf_buf_fini(&lone);
    return err;
}

static cf_err split_sites(const cf_cells *cells, const cf_split *split, int *n_folds,
                          uint8_t *fold_of)
{
    uint8_t fold_of_site[CF_MAX_FOLDS];
    site_name sorted[CF_MAX_FOLDS];
    size_t n = cells->site_names.n;
    CF_TRY(check_sites(cells));
    CF_TRY(cf_folds_check_counts(cells, 1));
    CF_TRY(check_site_classes(cells));
    for (size_t s = 0; s < n; s++) sorted[s] = (site_name){cells->site_names.items[s], s};
    qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t s = 0; s < n; s++) fold_of_site[sorted[s].site] = (uint8_t)s;
    for (int64_t i = 0; i < cells->n; i++) fold_of[i] = fold_of_site[cells->sites[i]];
    *n_folds = (int)n;
    return split->group == CF_GROUP_PATIENT ? check_whole(cells, split->group, fold_of) : CF_OK;
}

/* ---- all kinds --------------------------------------------------------------------------------
 */

cf_err cf_folds_make(const cf_cells *cells, const cf_split *split, int *n_folds, uint8_t *fold_of)
{
    bool holdout = split->kind == CF_SPLIT_HOLDOUT;
    bool sites = split->kind == CF_SPLIT_LEAVE_SITE_OUT;
    *n_folds = holdout ? 1 : split->n_folds;
    if (!holdout && !sites && (split->n_folds < 2 || split->n_folds > CF_MAX_FOLDS))
        return cf_fail(CF_E_USAGE, "%d folds, expected 2 to %d", split->n_folds, CF_MAX_FOLDS);
    if (holdout && cf_folds_millionths(split->test_share) == 0)
        return cf_fail(CF_E_USAGE, "test share %g, expected one between 0 and 1",
                       split->test_share);
    if (sites)
        CF_TRY(split_sites(cells, split, n_folds, fold_of));
    else if (split->group != CF_GROUP_NONE)
        CF_TRY(split_groups(cells, split, fold_of));
    else if (holdout)
        CF_TRY(cf_folds_holdout(cells, split->test_share, split->seed, fold_of));
    else
        CF_TRY(cf_folds_stratified(cells, split->n_folds, split->seed, fold_of));
    cf_folds_warn(cells, fold_of, sites || split->group == CF_GROUP_SITE);
    return CF_OK;
}
