/* The checkpoint file: one fold's weights, moments and place in the run.
 *
 * Layout (little endian): 8-byte magic "CYTOCKPT", u32 version, u32 header bytes, u32 CRC32C of the
 * header, u32 zero; flat protobuf header (checkpoint.proto, at most 1 MiB); tensors as raw 64-byte
 * aligned blocks; footer: u64 file length, u64 XXH3 of all before it, 8-byte magic "CYTOEND1". It
 * holds no rank count. A file whose any bit is wrong is refused, with the offset or tensor named.
 * Threads: any. Read first: cf_checkpoint. */
#ifndef CF_PROTO_CHECKPOINT_H
#define CF_PROTO_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/file.h"

#define CF_CHECKPOINT_VERSION 1u
enum { CF_CHECKPOINT_MAX_TENSORS = 8 };

/* One flat buffer: "weights", "state", "moment1", "moment2", "ema"; in fp16 "scaler" [2], the loss
 * scale and the good steps since it last changed. */
typedef struct cf_flat {
    char name[32];
    int64_t count; /* fp32 elements */
    float *data;   /* writing: borrowed; reading: into `storage` */
} cf_flat;

/* Where one named tensor lies in "weights" or "state"; for inspect and for readers of other
 * programs. */
typedef struct cf_tensor_entry {
    char name[64];
    char flat[32];
    int rank;
    int64_t dim[4];
    int64_t offset;
} cf_tensor_entry;

typedef struct cf_checkpoint {
    char program_version[32];
    int fold;
    int64_t step;  /* optimizer steps done */
    int64_t epoch; /* whole epochs done */
    int64_t steps_per_epoch;
    int64_t total_steps;
    double loss_sum;      /* of the epoch under way: sum over its steps, for its means */
    double correct_sum;   /* the same of the accuracy */
    int64_t summed_steps; /* steps in both sums; 0 in files written before they were there */
    uint64_t config_hash; /* cf_config_hash of the run */
    uint64_t data_hash;   /* cells content and folds */
    char config[65536];   /* effective YAML */
    cf_flat flats[CF_CHECKPOINT_MAX_TENSORS];
    int n_flats;
    cf_tensor_entry *entries; /* reading: owned; writing: borrowed */
    int n_entries;
    void *storage; /* reading: owned block of all tensors; NULL when writing */
} cf_checkpoint;

/* Writes atomically. CF_E_DISK with bytes needed and free when the disk is full. */
CF_CHECKED cf_err cf_checkpoint_write(const char *path, const cf_checkpoint *c);
/* Reads and verifies everything. CF_E_CHECKPOINT: damaged or of another version (both named). */
CF_CHECKED cf_err cf_checkpoint_read(const char *path, cf_checkpoint *c);
void cf_checkpoint_fini(cf_checkpoint *c);

/* What tells the newest checkpoint of a fold's folder from all others: the hash in its footer. Only
 * the end of the file is read, and nothing is verified; files that are cut off, or that a training
 * removes meanwhile, are passed over. *found = false, and *mark is left alone, where there is none.
 * CF_E_DATA for one that cannot be read. */
CF_CHECKED cf_err cf_checkpoint_newest_mark(const char *fold_dir, uint64_t *mark, bool *found);

#endif
