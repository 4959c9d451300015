/* What a rank needs on its card, for each number of folds and size of micro-batch: for plan.
 * Threads: main only. Read first: cf_card_table. */
#ifndef CF_LAUNCH_PLAN_CARD_H
#define CF_LAUNCH_PLAN_CARD_H

#include "launch/setup.h"
#include "worker/memory.h"

enum { CF_CARD_MAX_FOLDS = 10, CF_CARD_MAX_MICROS = 16 };

typedef struct cf_card_table {
    int n_folds;                        /* columns: 1..n_folds folds on a rank */
    int n_micros;                       /* rows */
    int64_t micros[CF_CARD_MAX_MICROS]; /* images: divisors of train.batch, rising */
    cf_card_memory memory[CF_CARD_MAX_MICROS][CF_CARD_MAX_FOLDS];
    int64_t pixel_bytes; /* of the cells file; 0: not there */
} cf_card_table;

/* Whether `device` ("auto", "cpu", "cuda") means a card: auto does where one is there. CF_E_USAGE
 * for another word. */
CF_CHECKED cf_err cf_card_is_meant(const char *device, bool *card);
/* Rows are 8, 16, 32 and so on as far as they divide train.batch, and train.micro_batch. */
CF_CHECKED cf_err cf_card_table_make(const cf_setup *setup, int n_folds, cf_card_table *table);
CF_CHECKED cf_err cf_card_table_write(const cf_card_table *table, const cf_config *config,
                                      cf_buf *out);
/* As the array `card`, in bytes. */
void cf_card_table_write_json(const cf_card_table *table, cf_json *j);

#endif
