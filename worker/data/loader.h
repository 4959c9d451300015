/* The loader: threads that prepare micro-batches ahead of the step.
 *
 * The caller queues requests in the order it will need them; batches come back in that order. What
 * a batch holds depends on its request alone, never on threads or timing. Images come warped and
 * normalised, or raw with their map for a backend that does so itself. Threads: one caller. Read
 * first: cf_loader_request, cf_loader_next. */
#ifndef CF_WORKER_DATA_LOADER_H
#define CF_WORKER_DATA_LOADER_H

#include <stdint.h>

#include "kernels/backend.h"
#include "proto/cells.h"
#include "proto/config.h"

typedef struct cf_loader cf_loader;

/* One micro-batch to prepare. Slots past n_images are filled with zeros and label 0. */
typedef struct cf_request {
    const int64_t
        *images;  /* [n_images] indices in the cells file; borrowed until the batch is returned */
    int n_images; /* 1..batch size */
    int augment;  /* 0: the fixed zoom only (test); 1: random draws */
    int fold;
    int64_t epoch;
    int64_t first_draw; /* number of images[0] among the epoch's draws: names the random stream */
    int turn;           /* test: one of the CF_N_TURNS turns of a square; 0: as it is */
    const cf_stain_map *stains; /* test: a change of the stains of each image, [cells->n]; NULL:
                                   none; borrowed as images are */
} cf_request;

/* Owned by the loader, valid until the next call. */
typedef struct cf_prepared {
    const float *images; /* [batch][size][size][3]; NULL: raw */
    const int *labels;   /* [batch] */
    int n_images;
    const cf_raw_image *raw; /* [n_images]; NULL: images */
    cf_normalize normalize;
} cf_prepared;

/* As a backend takes it; inference leaves the labels out. */
static inline cf_batch cf_prepared_batch(const cf_prepared *p, cf_mode mode)
{
    return (cf_batch){.images = p->images,
                      .labels = mode == CF_MODE_TRAIN ? p->labels : NULL,
                      .raw = p->raw,
                      .n_raw = p->raw != NULL ? p->n_images : 0,
                      .normalize = p->normalize};
}

/* For a backend that augments: where raw pixels stand. */
typedef struct cf_raw_room {
    bool held; /* the device holds the cells file's pixels: batches name them by their offset */
    /* Else they are copied into memory made by these, which the device reads directly. Called by
     * the loader's caller only. */
    void *ctx; /* borrowed */
    cf_err (*alloc_host)(void *ctx, size_t bytes, void **out);
    void (*free_host)(void *ctx, void *p);
} cf_raw_room;

/* batch: images of a micro-batch. At most config->run_prefetch batches are held. */
CF_CHECKED cf_err cf_loader_create(const cf_cells *cells, const cf_config *config, int batch,
                                   cf_loader **out);
/* The same for raw batches; `room` is copied. */
CF_CHECKED cf_err cf_loader_create_raw(const cf_cells *cells, const cf_config *config, int batch,
                                       const cf_raw_room *room, cf_loader **out);
void cf_loader_destroy(cf_loader *l); /* accepts NULL; stops and joins its threads */
/* Never blocks for long: requests wait in a queue that grows. CF_E_DATA for random draws where
 * config asks for changes of stains and the cells file has none. */
CF_CHECKED cf_err cf_loader_request(cf_loader *l, const cf_request *r);
/* The next batch in order; *wait_ns is the time the caller stood waiting for it. CF_E_DATA naming
 * the image when stored pixels do not match their hash (checked when an image is first read). */
CF_CHECKED cf_err cf_loader_next(cf_loader *l, cf_prepared *batch, int64_t *wait_ns);

enum { CF_AUGMENT_MAX_SIZE = 1024 }; /* largest output side, px: the range of model.image_size */

/* The random map of one draw; config decides the ranges. source: side lengths of the stored image.
 * Stains, which are the image's, are left as they are: cf_stain_draw sets t->stain. */
void cf_augment_draw(const cf_config *config, int source_height, int source_width, int fold,
                     int64_t epoch, int64_t draw, cf_augment *t);
/* The map of a test image: resampling to image_size with the fixed zoom. */
void cf_augment_plain(const cf_config *config, int source_height, int source_width, cf_augment *t);
enum { CF_N_TURNS = 8 };
/* Turns what a map shows: the eight symmetries of a square, about the output's centre. Bits of
 * `turn`: 4 reads rows for columns, then 1 reads from right to left, 2 from bottom to top. 0 leaves
 * the map alone. size: of the output, px. */
void cf_augment_turn(int turn, int size, cf_augment *t);
/* One image: uint8 [height][width][3] to float [size][size][3]. A reduction by more than 1.5
 * samples the area (the mean of a regular grid of bilinear samples), so that small inputs do not
 * alias. size: at most CF_AUGMENT_MAX_SIZE. */
void cf_augment_apply(const uint8_t *src, int height, int width, const cf_augment *t,
                      const cf_normalize *norm, int size, float *out);
void cf_normalize_from(const cf_config *config, cf_normalize *norm);

#endif
