/* A set of strings with numbers in order of arrival: image ids, sites, patients. Kept as one block
 * of bytes and their lengths, the form in which a cells file stores them. Internal to proto/.
 * Threads: one set, one thread. Read first: cf_names_add. */
#ifndef CF_PROTO_NAMES_H
#define CF_PROTO_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

typedef struct cf_names {
    char *bytes; /* owned: all strings in a row, without NULs */
    size_t n_bytes, bytes_capacity;
    uint32_t *lengths; /* owned, [n] */
    size_t *starts;    /* owned, [n] */
    size_t n, capacity;
    uint32_t *table; /* owned, [table_size], a power of two: number + 1, 0 for empty */
    size_t table_size;
} cf_names;

/* *number of the string; *added tells whether it is new. An empty set is {0}. */
CF_CHECKED cf_err cf_names_add(cf_names *set, const char *text, size_t n, uint32_t *number,
                               bool *added);
void cf_names_fini(cf_names *set);

#endif
