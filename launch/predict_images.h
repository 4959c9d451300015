/* The images that predict is asked about, as an open cells file: one that is there, or image files
 * packed into one that no folder shows. Threads: main only. Read first: cf_predict_images. */
#ifndef CF_LAUNCH_PREDICT_IMAGES_H
#define CF_LAUNCH_PREDICT_IMAGES_H

#include "launch/sources.h"
#include "proto/cells.h"
#include "proto/class_map.h"
#include "worker/saved.h"

typedef struct cf_predict_wishes {
    cf_source_wishes sources; /* owned; its operands begin with the run folder until taken off */
    double crop_um;           /* negative: the run's own field, where all scales are known */
    int64_t size;             /* px; 0: as the run's images */
    int64_t patch, max_pixels;
    bool skip_damaged;
    bool stains; /* are needed */
} cf_predict_wishes;

/* Opens a single *.cells file, or packs all else by the run's scheme, size and field into a file in
 * $TMPDIR (or /tmp) that is unlinked as soon as it is open. Damaged images are named on stderr and
 * added to `damaged`. cells: closed by the caller in any case. Errors: CF_E_USAGE for options that
 * a cells file leaves no room for; what cf_cells_open_any and cf_pack say. */
CF_CHECKED cf_err cf_predict_images(cf_predict_wishes *w, const cf_saved *run, cf_cells *cells,
                                    cf_strings *damaged);

/* What the source called image i: its own label, or the class's code; "" for none. Borrowed. */
const char *cf_predict_given(const cf_cells *cells, int64_t i);
/* labels: [n], classes of the scheme s by the map (NULL: none) and by s itself, first of what the
 * source called an image, then of its class in the cells file; CF_LABEL_UNKNOWN where neither is
 * known. CF_E_USAGE where the file has classes of another scheme and none of them is known. */
CF_CHECKED cf_err cf_predict_labels(const cf_cells *cells, const cf_scheme *s,
                                    const cf_class_map *map, int32_t *labels);

#endif
