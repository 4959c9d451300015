/* What every fuzz target has: one entry for libFuzzer, and seeds made by this project's own
 * writers.
 *
 * A target holds what it reads to more than "no crash": what was taken is written, read again and
 * compared. Without libFuzzer, replay.c calls the same entry with the seeds, with mutations of them
 * and with the files of corpus/. Threads: one. Read first: LLVMFuzzerTestOneInput. */
#ifndef CF_TESTS_FUZZ_FUZZ_H
#define CF_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Reads one input; 0 always. Whatever is wrong with the program ends it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef void fuzz_take(void *context, const void *bytes, size_t n);
/* Calls take with each seed of the target, the same ones every time. */
void fuzz_seeds(fuzz_take *take, void *context);

/* The path of a regular file that holds these bytes until the next call. Nothing is written to a
 * disk. `ending` is the path's: "" or ".csv". */
const char *fuzz_file(const void *bytes, size_t n, const char *ending);
/* The bytes of a file that one of this project's writers made; owned by the caller. */
uint8_t *fuzz_load(const char *path, size_t *n);
/* A path for writers, in a folder of this process's own, removed at its end. */
const char *fuzz_scratch(void);

#define FUZZ_REQUIRE(condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
