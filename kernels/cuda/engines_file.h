/* The file of engine choices: "cytofold engines 1", then one line a choice, in byte order:
 *
 *   device and versions \t pass and what is wanted \t dtype \t shape \t engine
 *
 * where the first four are the key, the shape is "n h w c k p q kernel stride top left groups" and
 * the engine "kernel gemm" or "cudnn engine 17 knobs 2=1,3=0". Inside of engines.c. Threads: one a
 * list; of several processes that save at once the last wins, whose lines are whole either way.
 * Read first: cf_engine_line. */
#ifndef CF_KERNELS_CUDA_ENGINES_FILE_H
#define CF_KERNELS_CUDA_ENGINES_FILE_H

#include "kernels/cuda/engines.h"

typedef struct cf_engine_line {
    char *key, *choice; /* owned */
    int number;         /* in the file it was read from; 0: made here */
} cf_engine_line;

typedef struct cf_engine_lines {
    cf_engine_line *items; /* owned */
    int n, reserved;
} cf_engine_lines;

enum { CF_ENGINE_KEY_MAX = 512, CF_ENGINE_TEXT_MAX = 512 };

/* "63x63x128 -> 63x63x256, kernel 1, stride 1, groups 1, batch 64, bf16", for messages. */
void cf_geometry_text(const cf_geometry *g, char *text, size_t n);
const char *cf_conv_pass_name(cf_conv_pass pass);
/* context: what is wanted decides between engines, so it is part of the key; its bytes follow from
 * the shape. */
void cf_engine_key(const char *device, const cf_geometry *g, cf_conv_pass pass,
                   const cf_engine_context *context, bool deterministic, char *key, size_t n);

/* Appends the lines of a file; a file that is not there has none. CF_E_DATA "path:line: ...". */
CF_CHECKED cf_err cf_engine_lines_read(const char *path, cf_engine_lines *lines);
/* NULL: not there. Borrowed. */
const cf_engine_line *cf_engine_lines_find(const cf_engine_lines *lines, const char *key);
CF_CHECKED cf_err cf_engine_lines_add(cf_engine_lines *lines, const char *key, const char *choice,
                                      int number);
/* Writes what is in the file by now, and over it the lines made here, in byte order. */
CF_CHECKED cf_err cf_engine_lines_save(const char *path, const cf_engine_lines *lines);
void cf_engine_lines_fini(cf_engine_lines *lines);

#endif
