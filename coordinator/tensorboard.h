/* TensorBoard: an event file a fold, of what log.jsonl and predictions.csv say.
 *
 * log.jsonl is the source; the files follow from it and can be deleted at any time. While a run
 * trains, an epoch is one more record at the end, so that a TensorBoard that is open sees it. When
 * a run is taken up again, files that are not what log.jsonl says (torn, behind, of lost epochs)
 * are written anew. So no point stands twice or backwards, however often the run was killed. Steps
 * are optimizer steps; times are seconds of training since the run began, not a clock of the world.
 *
 * | tag                          | figure                                                  |
 * | ---------------------------- | ------------------------------------------------------- |
 * | train/loss, train/accuracy   | every epoch: means over it                              |
 * | train/learning_rate          | every epoch: at its end                                 |
 * | train/images_per_second      | every epoch: of all folds, since the job's start        |
 * | test/accuracy                | of the test fold: every train.evaluate_every epochs, at |
 * |                              | the end                                                 |
 * | figures/...                  | at the end: as in fold-K/metrics.json                   |
 * | figures/confusion            | at the end: a picture, rows labels, columns predictions |
 * | errors/NN LABEL as PREDICTED | at the end: the surest errors, pictures of 128 px        |
 * | f1/, precision/, recall/CODE | at the end: of each class, strict                       |
 *
 * Threads: one caller. Read first: cf_tensorboard_open. */
#ifndef CF_COORDINATOR_TENSORBOARD_H
#define CF_COORDINATOR_TENSORBOARD_H

#include "coordinator/report_source.h"
#include "kernels/base/err.h"
#include "proto/run_log.h"
#include "proto/scheme.h"

/* Where TensorBoard looks for "tfevents"; the number is a time where others write it, and sorts
 * files. */
#define CF_TENSORBOARD_FILE "events.out.tfevents.0000000000.cytofold"

typedef struct cf_tensorboard cf_tensorboard;

/* No result depends on these files: what goes wrong with them is said in a warning, once, and the
 * run goes on without them until the next one makes them good. */

/* Brings the event files of a run's folds (only_fold -1: of all, else of this one) in line with its
 * log.jsonl. run_dir: borrowed. NULL, after a warning, where that cannot be. */
cf_tensorboard *cf_tensorboard_open(const char *run_dir, int only_fold);
/* Appends what log.jsonl was just told; `e` with the seconds of its own job and, for a test,
 * without a step. What the fold's file holds already is passed over. t: NULL does nothing. */
void cf_tensorboard_take(cf_tensorboard *t, const cf_log_entry *e);
void cf_tensorboard_close(cf_tensorboard *t); /* accepts NULL */

/* The final figures of every fold that has predictions.csv (only_fold as above) behind its epochs,
 * and its most confident errors where `source` (NULL: none) has the images; where it has not, those
 * that stand there stay. A file that holds all that already is left alone. */
void cf_tensorboard_finish(const char *run_dir, int only_fold, const cf_scheme *s,
                           const cf_report_source *source);

#endif
