/* Patients and sites for the cells of fake_cells.h. Read first: fake_groups_init. */
#ifndef CF_TESTS_SUPPORT_FAKE_GROUPS_H
#define CF_TESTS_SUPPORT_FAKE_GROUPS_H

#include <string.h>

#include "tests/support/fake_cells.h"

static inline bool fake_names_init(cf_strings *list, const char *prefix, int n)
{
    char name[64];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s%d", prefix, i);
        if (cf_strings_add(list, name) != CF_OK) return false;
    }
    return true;
}

/* cells as fake_cells_init made them; patients [n]: below n_patients, -1 for none; sites [n]: below
 * n_sites. The names are "patient 0", "site 0" and so on. False on a failure. */
static inline bool fake_groups_init(cf_cells *cells, const int32_t *patients, int n_patients,
                                    const int32_t *sites, int n_sites)
{
    size_t bytes = (size_t)cells->n * sizeof(int32_t);
    cells->patients = malloc(bytes + 1);
    cells->sites = malloc(bytes + 1);
    if (!cells->patients || !cells->sites) return false;
    memcpy(cells->patients, patients, bytes);
    memcpy(cells->sites, sites, bytes);
    return fake_names_init(&cells->patient_names, "patient ", n_patients) &&
           fake_names_init(&cells->site_names, "site ", n_sites);
}

static inline void fake_groups_fini(cf_cells *cells)
{
    free(cells->patients);
    free(cells->sites);
    cf_strings_fini(&cells->patient_names);
    cf_strings_fini(&cells->site_names);
    fake_cells_fini(cells);
}

#endif
