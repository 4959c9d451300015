/* What `cytofold inspect` prints of each kind of file, as text or as one JSON object.
 * Threads: main only. Read first: cf_inspection. */
#ifndef CF_LAUNCH_INSPECT_H
#define CF_LAUNCH_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "kernels/base/file.h"

typedef struct cf_inspection {
    const char *path;
    const char *scheme;          /* configuration: --scheme; NULL: what the file names */
    const cf_strings *overrides; /* configuration: --set */
    bool json;
    bool layers;         /* configuration: the dump of the graph instead of the table of layers */
    const char *augment; /* configuration: cells file to draw a contact sheet from; NULL: none */
    const char *output;  /* of the sheet, a PNG */
    int64_t images;      /* rows of the sheet */
} cf_inspection;

/* All append to `out`. */
CF_CHECKED cf_err cf_inspect_cells(const cf_inspection *i, cf_buf *out);
CF_CHECKED cf_err cf_inspect_checkpoint(const cf_inspection *i, cf_buf *out);
/* A safetensors file. */
CF_CHECKED cf_err cf_inspect_weights(const cf_inspection *i, cf_buf *out);
CF_CHECKED cf_err cf_inspect_config(const cf_inspection *i, cf_buf *out);
/* Draws images of i->augment, spread over its classes, each beside eight of the draws that training
 * would make of it under configuration i->path, into i->output. The same picture every time.
 * Errors: those of the configuration and the cells file; CF_E_DATA where stains are to change that
 * the cells file does not have. */
CF_CHECKED cf_err cf_inspect_augment(const cf_inspection *i, cf_buf *out);

#endif
