/* The sources that a command line names, for verbs that read image files. Threads: main only. Read
 * first: cf_sources_make. */
#ifndef CF_LAUNCH_SOURCES_H
#define CF_LAUNCH_SOURCES_H

#include "worker/data/listing.h"

/* What the command line says of the sources. */
typedef struct cf_source_wishes {
    cf_strings operands;   /* owned: SRC or NAME=SRC */
    cf_strings scales;     /* owned: F or NAME=F, um a pixel */
    const char *site;      /* borrowed: of sources without a NAME; "" for none */
    cf_source *sources;    /* owned, [operands.n] */
    cf_strings site_names; /* owned texts of sources */
} cf_source_wishes;

/* Fills `sources` from the rest. CF_E_USAGE for a site that is no plain name, a scale that is no
 * number above 0 or is for no source. */
CF_CHECKED cf_err cf_sources_make(cf_source_wishes *w);
/* Names images that cannot be read, the first of them, on stderr; hint: where the others are, "".
 */
void cf_sources_list_damaged(const cf_strings *damaged, const char *hint);
void cf_source_wishes_fini(cf_source_wishes *w);

#endif
