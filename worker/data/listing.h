/* Which images a data set has: a sorted list of files with their labels, and the files left out.
 *
 * A folder per class; below a class folder, any depth. Another source of images (a manifest) is
 * another function that fills the same list. Nothing is decoded here. Threads: any. Read first:
 * cf_listing. */
#ifndef CF_WORKER_DATA_LISTING_H
#define CF_WORKER_DATA_LISTING_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/file.h"
#include "proto/scheme.h"

typedef struct cf_listed {
    char *id;   /* owned: the path below its source, "BLA/0001-1000/BLA_00001.jpg" */
    int source; /* index in sources */
    int label;  /* class index */
} cf_listed;

typedef struct cf_listing {
    const char *const *sources; /* borrowed */
    cf_listed *items;           /* owned, [n], in byte order of id */
    int64_t n, room;
    int64_t n_dropped;   /* images whose class the scheme drops on purpose */
    int64_t n_ignored;   /* files and folders that are no images by their name, or out of place */
    char *first_ignored; /* owned; NULL when n_ignored is 0 */
    cf_strings problems; /* images by name that cannot be one: FIFOs, odd names ("path: reason") */
} cf_listing;

/* Lists folders of classes. scheme_name: a name, a file, or "auto" for one class a folder; `scheme`
 * receives it, owned by the caller. Symbolic links to files are followed, to folders only where
 * they are class folders (no loops). Hidden entries are passed over. Errors: CF_E_DATA for a source
 * without class folders, folders the scheme does not know (all are named, with the scheme's codes),
 * two files of the same id, no images at all. */
CF_CHECKED cf_err cf_listing_folders(const char *const *sources, int n_sources,
                                     const char *scheme_name, cf_scheme *scheme, cf_listing *list);
void cf_listing_fini(cf_listing *list);
/* buf = the path of item i. */
CF_CHECKED cf_err cf_listing_path(const cf_listing *list, int64_t i, char *buf, size_t n);

#endif
