/* Centres of phantom data: whose patient a picture shows, and how that centre's slides and camera
 * change it. Private to this room. Threads: any. */
#ifndef CF_WORKER_DATA_SYNTH_SITE_H
#define CF_WORKER_DATA_SYNTH_SITE_H

#include <stdint.h>

#include "worker/data/synth.h"

typedef struct cf_synth_origin {
    int site;
    int64_t patient; /* -1: not known */
} cf_synth_origin;

cf_synth_origin cf_synth_origin_of(const cf_synth_options *o, int class_index, int64_t k);
const char *cf_synth_site_name(int site);
double cf_synth_site_um_per_px(int site);
/* Side to paint at so that the middle `size` pixels are this site's picture. */
int cf_synth_site_side(int site, int size);
/* The middle of painted ([side][side][3], side of cf_synth_site_side) in the site's colours;
 * pixels: [size][size][3], which may be `painted` itself. */
void cf_synth_site_develop(int site, const uint8_t *painted, int size, uint8_t *pixels);

#endif
