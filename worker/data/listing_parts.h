/* What the two kinds of sources share while a listing is filled; private to this room. Read first:
 * cf_unknown. */
#ifndef CF_WORKER_DATA_LISTING_PARTS_H
#define CF_WORKER_DATA_LISTING_PARTS_H

#include <stdbool.h>

#include "worker/data/listing.h"

/* A label that the scheme does not know, with how many images bear it. */
typedef struct cf_unknown {
    const char *label; /* borrowed from folder list or manifest */
    int64_t n;
} cf_unknown;

typedef struct cf_unknowns {
    cf_unknown *items; /* owned, [n]: a label may stand in several */
    size_t n, room;
} cf_unknowns;
CF_CHECKED cf_err cf_unknowns_add(cf_unknowns *u, const char *label, int64_t n);

/* A class folder of a source. */
typedef struct cf_class_dir {
    char *name; /* owned; "": the source itself, for images beside its folders */
    int source;
} cf_class_dir;

typedef struct cf_class_dirs {
    cf_class_dir *items; /* owned, [n] */
    size_t n;
} cf_class_dirs;
void cf_class_dirs_fini(cf_class_dirs *d);
/* Adds the class folders of source s; where labels are not needed, the source itself too, if it
 * holds images. */
CF_CHECKED cf_err cf_folders_find(cf_listing *list, int s, cf_class_dirs *dirs);
/* Adds the images below a class folder (or beside them); those of one that the scheme does not know
 * are counted, where they are not kept. */
CF_CHECKED cf_err cf_folders_walk(cf_listing *list, const cf_class_dir *dir,
                                  const cf_scheme *scheme, cf_unknowns *unknown);

/* Adds source s, which is a single image file: its path is its id. */
CF_CHECKED cf_err cf_file_take(cf_listing *list, int s);

bool cf_manifest_is(const char *path);
/* Reads the CSV file of source s and checks its columns: the label's too, where labels are needed.
 */
CF_CHECKED cf_err cf_manifest_read(cf_listing *list, int s);
/* The column of labels of a manifest that was read. */
int cf_manifest_label_column(const cf_csv *csv);
/* Adds the rows of source s. */
CF_CHECKED cf_err cf_manifest_take(cf_listing *list, int s, const cf_scheme *scheme,
                                   cf_unknowns *unknown);

/* Appends an item; its id is moved into the list (and released on an error). */
CF_CHECKED cf_err cf_listing_add(cf_listing *list, const cf_listed *item);
/* UTF-8 without control characters, which would break lines of logs and tables, or JSON. */
bool cf_listing_is_plain(const char *text);

#endif
