/* Hygiene of a data set: damaged and odd images, duplicates and near duplicates, leaks over folds,
 * labels that contradict each other, colours of sites. Reads a cells file, changes nothing.
 *
 * Memory is about 2.2 KB an image (a thumbnail, a descriptor, a search tree), never its pixels. The
 * result is the same for any number of threads. Threads: one caller, several of its own. Read
 * first: cf_check, cf_duplicate. */
#ifndef CF_WORKER_DATA_CHECK_H
#define CF_WORKER_DATA_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/cells.h"
#include "worker/data/check_align.h"
#include "worker/data/check_measure.h"
#include "worker/data/check_near.h"
#include "worker/data/check_sites.h"

typedef struct cf_check_options {
    const cf_cells *cells;  /* borrowed; images without a label are fine */
    const uint8_t *fold_of; /* borrowed, [n]: fold of each image, any number of its own for "only
                               trained on"; NULL: no folds */
    float similarity;       /* of near duplicates; 0: CF_NEAR_SIMILARITY */
    int threads;            /* 0: one a core */
    /* Called now and then from the caller's thread with what is being counted ("looked at");
     * false stops. NULL: none. */
    bool (*progress)(void *context, const char *what, int64_t done, int64_t total);
    void *context;
} cf_check_options;

/* What contradicts or leaks between two images that show the same. */
enum cf_conflict {
    CF_CONFLICT_FOLD = 8,  /* they stand in different folds: trained on one, tested on the other */
    CF_CONFLICT_LABEL = 4, /* labels differ */
    CF_CONFLICT_PATIENT = 2, /* of different patients, so a split by patient would part them */
    CF_CONFLICT_SITE = 1     /* of different sites */
};

typedef struct cf_duplicate {
    int32_t a, b;     /* images, a < b. Of a group of equal images a is the first, which stands for
                         the group in near pairs too; where only others of the groups contradict
                         each other in label or patient, two of them are a pair as well */
    bool exact;       /* equal pixels, byte by byte */
    float similarity; /* correlation of details after alignment; 1 for exact ones */
    unsigned conflicts; /* cf_conflict */
    cf_align_map map;   /* from a to b */
} cf_duplicate;

/* Images of one class at one site. */
typedef struct cf_check_count {
    int64_t images, patients, without_patient;
} cf_check_count;

typedef struct cf_check_result {
    cf_check_count *counts; /* owned, [n_classes][n_sites]; the last class: without a label */
    int n_classes, n_sites; /* n_classes: the scheme's and one */
    cf_measure *measures;   /* owned, [n] */
    uint8_t *damaged; /* owned, [n]: 1 where the stored pixels are not those that were packed */
    uint8_t *odd;     /* owned, [n]: cf_odd; 0 for damaged images */
    cf_duplicate *duplicates; /* owned, [n_duplicates], by conflicts, then exact ones, then a, b */
    int64_t n_duplicates;
    int64_t n_exact, n_near;  /* pairs */
    int64_t n_of_conflict[4]; /* pairs with site, patient, label, fold conflicts, in this order */
    int64_t n_damaged, n_odd; /* images */
    int64_t n_involved;       /* images that are in some pair */
    int64_t n_surplus;        /* images that could go: all but one of each group of pairs */
    int64_t n_candidates, n_compared, n_sift; /* of the search for near duplicates */
    cf_sites sites;
} cf_check_result;

/* Checks everything. The result is released by the caller, also after an error. Errors:
 * CF_E_UNEXPECTED (memory, "interrupted"). Findings are no errors. */
CF_CHECKED cf_err cf_check(const cf_check_options *options, cf_check_result *result);
void cf_check_result_fini(cf_check_result *result);

/* Fills counts, n_classes and n_sites; part of cf_check. */
CF_CHECKED cf_err cf_check_count_images(const cf_cells *cells, cf_check_result *result);

/* Files of a check in a folder, which is made: counts.csv, duplicates.csv, odd.csv, sites.csv,
 * site_pairs.csv, and contact sheets pairs-01.png.. and odd-01.png.. of at most
 * CF_CHECK_MAX_SHEETS each, the most serious first; sheets of an earlier check are removed. Errors:
 * CF_E_DISK. */
enum { CF_CHECK_MAX_SHEETS = 10, CF_CHECK_PAIRS_A_SHEET = 24, CF_CHECK_ODD_A_SHEET = 48 };
CF_CHECKED cf_err cf_check_write(const cf_check_options *options, const cf_check_result *result,
                                 const char *folder);

#endif
