#include "coordinator/folds_groups.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "kernels/math/philox.h"

/* Names of one kind never share numbers with another: an image "7" is not the patient "7". */
enum { STREAM_NAMED = 1, STREAM_ALONE = 2 };

/* By its name, so that the order of images in the file has no say in a split by groups. */
static uint64_t key_of(uint64_t seed, uint32_t stream, const char *name)
{
    uint64_t hash = cf_hash64(name, strlen(name));
    cf_rng rng = cf_rng_at(seed, stream, (uint32_t)(hash >> 32), (uint32_t)hash, CF_PURPOSE_SPLIT);
    uint64_t high = cf_rng_u32(&rng);
    return high << 32 | cf_rng_u32(&rng);
}

/* ---- who belongs together ---------------------------------------------------------------------
 */

static cf_err refuse_missing(const cf_cells *cells, int64_t n_missing)
{
    cf_buf sites = {0};
    int64_t *total = NULL, *missing = NULL;
    size_t n_sites = cells->site_names.n;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&total, n_sites, sizeof *total), out);
    CF_TRY_GOTO(cf_new(&missing, n_sites, sizeof *missing), out);
    for (int64_t i = 0; i < cells->n; i++) {
        total[cells->sites[i]]++;
        missing[cells->sites[i]] += cells->patients[i] < 0;
    }
    for (size_t s = 0; s < n_sites; s++)
        if (missing[s] > 0 && n_sites > 1)
            cf_buf_printf(&sites, "%s%s %lld of %lld",
                          sites.len > 0 ? ", " : "; by site: ", cells->site_names.items[s],
                          (long long)missing[s], (long long)total[s]);
    err = cf_fail(CF_E_DATA,
                  "%lld of %lld images have no patient, so patients cannot be kept together%s; "
                  "pack them with patients, or let each such image be a patient of its own "
                  "(--missing-patient own, data.missing_patient: own)",
                  (long long)n_missing, (long long)cells->n, cf_buf_text(&sites));
out:
    cf_buf_fini(&sites);
    free(missing);
    free(total);
    return err;
}

static int64_t count_missing(const cf_cells *cells)
{
    int64_t n = 0;
    for (int64_t i = 0; i < cells->n; i++) n += cells->patients[i] < 0;
    return n;
}

/* Numbers the groups in the order in which they are met. number: [n_names], -1 for not met. */
static void number_groups(cf_groups *g, const cf_cells *cells, uint64_t seed, int32_t *number)
{
    bool patient = g->by == CF_GROUP_PATIENT;
    const int32_t *label = patient ? cells->patients : cells->sites;
    char **names = patient ? cells->patient_names.items : cells->site_names.items;
    for (int64_t i = 0; i < cells->n; i++) {
        int32_t name = label[i];
        if (name >= 0 && number[name] >= 0) {
            g->of_image[i] = number[name];
            continue;
        }
        if (name >= 0) number[name] = g->n;
        g->names[g->n] = name >= 0 ? names[name] : cells->ids[i];
        g->keys[g->n] = key_of(seed, name >= 0 ? STREAM_NAMED : STREAM_ALONE, g->names[g->n]);
        g->of_image[i] = g->n++;
    }
}

static cf_err find_groups(cf_groups *g, const cf_cells *cells, cf_missing_patient missing,
                          uint64_t seed)
{
    bool patient = g->by == CF_GROUP_PATIENT;
    size_t n_names = patient ? cells->patient_names.n : cells->site_names.n;
    int64_t n_missing = patient ? count_missing(cells) : 0;
    if (n_missing > 0 && missing == CF_MISSING_REFUSE) return refuse_missing(cells, n_missing);
    size_t most = n_names + (size_t)n_missing;
    int32_t *number = NULL;
    CF_TRY(cf_new(&g->of_image, (size_t)cells->n, sizeof *g->of_image));
    CF_TRY(cf_new(&g->keys, most, sizeof *g->keys));
    CF_TRY(cf_new(&g->names, most, sizeof *g->names));
    CF_TRY(cf_new(&number, n_names, sizeof *number));
    memset(number, 0xFF, n_names * sizeof *number);
    number_groups(g, cells, seed, number);
    free(number);
    return CF_OK;
}

/* ---- classes of a group -----------------------------------------------------------------------
 */

/* Images in the order of their groups. at: scratch, [n + 1]; list: [n_images]. */
static void list_by_group(const cf_groups *g, int64_t n_images, int64_t *at, int32_t *list)
{
    for (int64_t i = 0; i < n_images; i++) at[g->of_image[i] + 1]++;
    for (int32_t k = 0; k < g->n; k++) at[k + 1] += at[k];
    for (int64_t i = 0; i < n_images; i++) list[at[g->of_image[i]]++] = (int32_t)i;
}

static int by_class(const void *a, const void *b)
{
    const cf_group_count *p = a, *q = b;
    return p->class_index - q->class_index;
}

/* images: scratch, [n_classes], all zero before and after. */
static void count_classes(cf_groups *g, const cf_cells *cells, const int32_t *list, int32_t *images)
{
    int64_t n = 0, i = 0;
    for (int32_t k = 0; k < g->n; k++) {
        int64_t begin = n;
        g->first[k] = begin;
        for (; i < cells->n && g->of_image[list[i]] == k; i++) {
            int32_t c = cells->labels[list[i]];
            if (images[c]++ == 0) g->counts[n++].class_index = c;
        }
        qsort(g->counts + begin, (size_t)(n - begin), sizeof *g->counts, by_class);
        for (int64_t e = begin; e < n; e++) {
            g->counts[e].images = images[g->counts[e].class_index];
            images[g->counts[e].class_index] = 0;
        }
    }
    g->first[g->n] = n;
}

static cf_err fill_counts(cf_groups *g, const cf_cells *cells)
{
    int64_t *at = NULL;
    int32_t *list = NULL, *images = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&at, (size_t)g->n + 1, sizeof *at), out);
    CF_TRY_GOTO(cf_new(&list, (size_t)cells->n, sizeof *list), out);
    CF_TRY_GOTO(cf_new(&images, (size_t)cells->scheme.n_classes, sizeof *images), out);
    CF_TRY_GOTO(cf_new(&g->first, (size_t)g->n + 1, sizeof *g->first), out);
    /* no more entries than images; shortened below */
    CF_TRY_GOTO(cf_new(&g->counts, (size_t)cells->n, sizeof *g->counts), out);
    list_by_group(g, cells->n, at, list);
    count_classes(g, cells, list, images);
    err = cf_resize(&g->counts, (size_t)g->first[g->n], sizeof *g->counts);
out:
    free(images);
    free(list);
    free(at);
    return err;
}

cf_err cf_groups_init(cf_groups *g, const cf_cells *cells, cf_group_by by,
                      cf_missing_patient missing, uint64_t seed)
{
    memset(g, 0, sizeof *g);
    g->by = by;
    CF_TRY(find_groups(g, cells, missing, seed));
    return fill_counts(g, cells);
}

void cf_groups_fini(cf_groups *g)
{
    free(g->of_image);
    free(g->keys);
    free(g->names);
    free(g->first);
    free(g->counts);
    memset(g, 0, sizeof *g);
}

cf_err cf_groups_check(const cf_groups *g, const cf_cells *cells, int needed, const char *purpose)
{
    const char *word = g->by == CF_GROUP_PATIENT ? "patient" : "site";
    int32_t n_groups[CF_MAX_CLASSES] = {0};
    int64_t images[CF_MAX_CLASSES] = {0};
    cf_buf small = {0};
    for (int64_t e = 0; e < g->first[g->n]; e++) {
        n_groups[g->counts[e].class_index]++;
        images[g->counts[e].class_index] += g->counts[e].images;
    }
    for (int c = 0; c < cells->scheme.n_classes; c++)
        if (n_groups[c] > 0 && n_groups[c] < needed)
            cf_buf_printf(&small, "%s%s has %d %s%s (%lld image%s)", small.len > 0 ? ", " : "",
                          cells->scheme.classes[c].code, n_groups[c], word,
                          n_groups[c] == 1 ? "" : "s", (long long)images[c],
                          images[c] == 1 ? "" : "s");
    cf_err err = CF_OK;
    if (small.len > 0)
        err = cf_fail(CF_E_DATA,
                      "%s need images of at least %d %ss in every class: %s; merge or drop "
                      "the class in the scheme%s",
                      purpose, needed, word, cf_buf_text(&small),
                      needed > 2 ? ", or make fewer folds" : "");
    cf_buf_fini(&small);
    return err;
}
