/* Testing a fold: its test images in fixed chunks of one micro-batch, shared out over the group, so
 * that an image's logits do not depend on the number of ranks. Threads: one caller. */
#ifndef CF_WORKER_EVALUATE_H
#define CF_WORKER_EVALUATE_H

#include "worker/data/loader.h"
#include "worker/reporter.h"

typedef enum cf_test_kind { CF_TEST_CURVE, CF_TEST_FINAL } cf_test_kind;

/* Collective over the group (rank of size). Sends the logits of this rank's chunks to the
 * coordinator. `loader` must be idle. CF_E_REQUEUE, between two chunks, when the coordinator says
 * stop; the loader is then no longer idle. */
CF_CHECKED cf_err cf_evaluate(cf_trainer *t, cf_loader *loader, int rank, int size,
                              cf_test_kind kind, cf_reporter *reporter);

#endif
