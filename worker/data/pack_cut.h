/* From a decoded file to the image that is packed: the cell cut out, the physical field, the size.
 * Private to packing. Threads: any. Read first: cf_cut. */
#ifndef CF_WORKER_DATA_PACK_CUT_H
#define CF_WORKER_DATA_PACK_CUT_H

#include "worker/data/image.h"
#include "worker/data/listing.h"

typedef struct cf_cut {
    double crop_um; /* side of the field to keep, round the centre, um; 0: all of it */
    /* Borrowed; NULL: crop_um is a demand. Else it is a wish, for where the scale of every image is
     * known: cf_cut_check says here whether it is, and images are whole otherwise. A field larger
     * than its image by no more than a pixel is then the whole image. */
    bool *cropped;
    int patch; /* side of what is cut out of a whole field without crop_um, px */
    int size;  /* side to resize to, px; 0: as it is */
} cf_cut;

/* Comes before all else here. CF_E_USAGE where crop_um is demanded and an image's scale is not
 * known; it is named. */
CF_CHECKED cf_err cf_cut_check(const cf_cut *c, const cf_listing *list);
/* CF_E_USAGE where anything would be cut or resized: files that are kept as they are decode to the
 * whole image. */
CF_CHECKED cf_err cf_cut_check_none(const cf_cut *c, const cf_listing *list);
/* Pixel size, um, of what an image of this listing becomes; height, width: of its decoded file. 0:
 * not known, or not the same along both axes. */
double cf_cut_um_per_px(const cf_cut *c, const cf_listed *item, int height, int width);
/* out: a new image, owned by the caller. `in` is left alone, but for an image that needs nothing
 * done: that is moved. name: of the file. Errors: CF_E_DATA: the field or the patch is larger than
 * the image, the centre lies outside of it. */
CF_CHECKED cf_err cf_cut_apply(const cf_cut *c, const char *name, const cf_listed *item,
                               cf_image *in, cf_image *out);

#endif
