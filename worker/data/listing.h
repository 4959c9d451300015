/* Which images a data set has: a sorted list of files with their labels, and the files left out.
 *
 * Sources are folders with a folder per class, and manifests (CSV files that name image files);
 * both fill the same list. Where labels are not needed (CF_UNMAPPED_KEEP), folders of images and
 * single image files are sources too. Nothing is decoded here. Threads: any. Read first:
 * cf_listing. */
#ifndef CF_WORKER_DATA_LISTING_H
#define CF_WORKER_DATA_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/file.h"
#include "proto/csv.h"
#include "proto/scheme.h"

/* Where images come from. All texts are borrowed. */
typedef struct cf_source {
    const char *path; /* a folder of class folders, or a manifest: a file whose name ends in .csv */
    const char *site; /* of images that name none themselves; "" for none */
    const char *name; /* ids and packed patients begin with "<name>/"; "" for as they are */
    double um_per_px; /* of images that name none themselves; 0: not known */
} cf_source;

typedef struct cf_listed {
    char *id;         /* owned: "BLA/0001-1000/BLA_00001.jpg", "field1.tif@1020_733" */
    const char *file; /* borrowed from id or manifest: the path, below the source's base */
    const char *site, *patient; /* borrowed from source or manifest; "" for none */
    const char *given; /* the source's own label, borrowed from labels or manifest; "" for none */
    int source;        /* index in sources */
    int label;         /* class index; CF_LABEL_UNKNOWN with CF_UNMAPPED_KEEP only */
    int fold;          /* from 0 on, or CF_FOLD_TRAIN; -1: none given */
    int64_t line;      /* of the manifest; 0: found in a folder */
    double um_per_px;  /* 0: not known */
    double x, y;       /* centre of the cell to be cut out, px; negative: the whole image */
} cf_listed;

/* What becomes of images whose label the scheme does not know. KEEP: they stay in without a class,
 * and so do those that it drops, for prediction; manifests then need no label. */
enum cf_unmapped { CF_UNMAPPED_REFUSE, CF_UNMAPPED_DROP, CF_UNMAPPED_KEEP };

typedef struct cf_listing {
    const cf_source *sources; /* borrowed, [n_sources] */
    int n_sources;
    enum cf_unmapped unmapped;
    char **bases;      /* owned strings, [n_sources]: the folder that relative paths start from */
    cf_csv *manifests; /* owned, [n_sources]; empty for folders */
    cf_listed *items;  /* owned, [n], in byte order of id */
    int64_t n, room;
    int64_t n_dropped;   /* images whose class the scheme drops on purpose */
    int64_t n_unmapped;  /* images whose label the scheme does not know, left out on request */
    int64_t n_ignored;   /* files and folders that are no images by their name, or out of place */
    char *first_ignored; /* owned; NULL when n_ignored is 0 */
    bool has_folds;      /* every item has a fold */
    cf_strings labels;   /* names of class folders */
    cf_strings problems; /* images by name that cannot be one: FIFOs, odd names ("path: reason") */
    cf_strings notes;    /* what a person should hear: columns not used and the like */
} cf_listing;

/* Lists all sources. scheme_name: a name, a file, or "auto" for one class a folder name or label;
 * `scheme` receives it, owned by the caller. Folders: symbolic links to files are followed, to
 * folders only where they are class folders (no loops); hidden entries are passed over. Manifests:
 * see manifest.c. With CF_UNMAPPED_KEEP scheme_name must not be "auto". Errors: CF_E_DATA for a
 * source without class folders, labels the scheme does not know (all are named with their counts),
 * two images of the same id, no images at all, and with path:line:column whatever is wrong in a
 * manifest. */
CF_CHECKED cf_err cf_listing_read(const cf_source *sources, int n_sources, const char *scheme_name,
                                  enum cf_unmapped unmapped, cf_scheme *scheme, cf_listing *list);
void cf_listing_fini(cf_listing *list);
/* buf = the path of item i. */
CF_CHECKED cf_err cf_listing_path(const cf_listing *list, int64_t i, char *buf, size_t n);

#endif
