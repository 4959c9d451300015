/* A run's networks for other programs. Threads: one caller. Read first: cf_export_onnx. */
#ifndef CF_WORKER_EXPORT_H
#define CF_WORKER_EXPORT_H

#include "worker/saved.h"
#include "worker/weight_names.h"

/* The weights that the run tests run->folds[0] with, under the names of `naming`, with what
 * model_facts.h lists as metadata. run: with one fold (cf_saved_choose), else CF_E_USAGE.
 * CF_E_CHECKPOINT, CF_E_DISK. */
CF_CHECKED cf_err cf_export_safetensors(const cf_saved *run, cf_naming naming, const char *path);

/* The networks of run->folds as one ONNX model, in fp32. Input "images", uint8 [N, run->height,
 * run->width, 3], RGB as packed. Outputs "probabilities" [N, n_classes], the mean over the folds,
 * and "logits" [N, n_folds, n_nodes]. Inside: sampling to model.image_size with augment.zoom, as
 * two products with constant matrices that are the loader's formulas, normalisation, the networks,
 * softmax, merging of nodes. CF_E_CHECKPOINT, CF_E_DISK, CF_E_USAGE (2 GiB or more). */
CF_CHECKED cf_err cf_export_onnx(const cf_saved *run, const char *path);

#endif
