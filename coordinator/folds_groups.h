/* Groups: images that may not be torn apart by a split, because they come from one patient (or one
 * site). Holds who belongs together and how many images of each class a group has; where a group
 * goes is folds_balance's business. Threads: any, plain data. Read first: cf_groups. */
#ifndef CF_COORDINATOR_FOLDS_GROUPS_H
#define CF_COORDINATOR_FOLDS_GROUPS_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/cells.h"
#include "proto/config.h"

/* Images of one class in one group. */
typedef struct cf_group_count {
    int32_t class_index;
    int32_t images;
} cf_group_count;

typedef struct cf_groups {
    cf_group_by by;
    int32_t n;              /* groups, none of them empty */
    int32_t *of_image;      /* owned, [n_images]: the image's group */
    uint64_t *keys;         /* owned, [n]: seeded random order, a function of (seed, name) */
    const char **names;     /* owned, [n]; the texts are borrowed from the cells file */
    int64_t *first;         /* owned, [n + 1]: where a group's counts begin */
    cf_group_count *counts; /* owned, [first[n]]: classes of a group that have images, rising */
} cf_groups;

/* by: PATIENT or SITE. A patient is known by the name alone: two sites that both speak of patient
 * "7" have that name's images in one group, which can cost balance but never tears a patient apart.
 * An image without a patient is a group of its own with CF_MISSING_OWN; else CF_E_DATA counts such
 * images by site. Release with cf_groups_fini in any case. */
CF_CHECKED cf_err cf_groups_init(cf_groups *g, const cf_cells *cells, cf_group_by by,
                                 cf_missing_patient missing, uint64_t seed);
void cf_groups_fini(cf_groups *g);
/* CF_E_DATA naming every class that has images of fewer than `needed` groups, with counts;
 * `purpose` says what needs them ("5 folds"). */
CF_CHECKED cf_err cf_groups_check(const cf_groups *g, const cf_cells *cells, int needed,
                                  const char *purpose);

#endif
