/* Folds by patient of manifests that come on stdin, for folds_sklearn.py: for each "n_folds seed
 * n_images n_classes n_patients" and then "label patient" an image, a line with the fold of every
 * image, or "refused" and the reason. */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/folds_make.h"
#include "tests/support/fake_groups.h"

typedef struct manifest {
    int n_folds, n_classes, n_patients;
    uint64_t seed;
    int64_t n;
    int32_t *labels, *patients, *sites; /* owned, [n] */
} manifest;

/* False at the end of the input. */
static bool read_manifest(manifest *m)
{
    long long n, seed;
    if (scanf("%d %lld %lld %d %d", &m->n_folds, &seed, &n, &m->n_classes, &m->n_patients) != 5)
        return false;
    m->n = n;
    m->seed = (uint64_t)seed;
    m->labels = calloc((size_t)n, sizeof *m->labels);
    m->patients = calloc((size_t)n, sizeof *m->patients);
    m->sites = calloc((size_t)n, sizeof *m->sites);
    if (!m->labels || !m->patients || !m->sites) return false;
    for (int64_t i = 0; i < n; i++)
        if (scanf("%d %d", &m->labels[i], &m->patients[i]) != 2) return false;
    return true;
}

static bool deal(const manifest *m)
{
    cf_split split = {.group = CF_GROUP_PATIENT, .n_folds = m->n_folds, .seed = m->seed};
    cf_cells cells;
    int n_folds;
    uint8_t *fold_of = calloc((size_t)m->n, 1);
    if (!fold_of || !fake_cells_init(&cells, m->labels, m->n, m->n_classes, 0) ||
        !fake_groups_init(&cells, m->patients, m->n_patients, m->sites, 1))
        return false;
    if (cf_folds_make(&cells, &split, &n_folds, fold_of) != CF_OK)
        printf("refused %s", cf_err_text());
    else
        for (int64_t i = 0; i < m->n; i++) printf("%d ", fold_of[i]);
    printf("\n");
    fake_groups_fini(&cells);
    free(fold_of);
    return true;
}

int main(void)
{
    manifest m = {0};
    bool ok = true;
    while (ok && read_manifest(&m)) {
        ok = deal(&m);
        free(m.labels);
        free(m.patients);
        free(m.sites);
    }
    return ok ? 0 : 1;
}
