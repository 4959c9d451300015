/* Phantom cells: drawn pictures that look enough like stained blood cells to try the program with.
 *
 * They are synthetic and made of circles and noise; nothing learned on them says anything about
 * real cells. Looks are data (phantom_looks.c), the painter is phantom.c. Threads: any. Read first:
 * cf_look. */
#ifndef CF_WORKER_DATA_PHANTOM_H
#define CF_WORKER_DATA_PHANTOM_H

#include <stdint.h>

#include "kernels/math/philox.h"

enum cf_nucleus {
    CF_NUCLEUS_ROUND,
    CF_NUCLEUS_KIDNEY, /* indented at one side */
    CF_NUCLEUS_BAND,   /* a bent sausage */
    CF_NUCLEUS_LOBES,  /* segments on an arc */
    CF_NUCLEUS_SMUDGE  /* torn open, without cytoplasm */
};

/* How a class looks on average. Lengths are shares of the image's side, colours RGB 0..255. */
typedef struct cf_look {
    char code[8];
    enum cf_nucleus nucleus;
    float radius;        /* of the cell */
    float nucleus_share; /* of the cell's radius */
    float lobes;         /* CF_NUCLEUS_LOBES: segments */
    float chromatin;     /* contrast of the nucleus's texture, 0..1 */
    float nucleoli;      /* pale spots in the nucleus */
    float darkness;      /* of the nucleus, 0..1 */
    float cytoplasm[3];
    float granules; /* number */
    float granule_radius;
    float granule[3];
    float vacuoles; /* number */
    float ragged;   /* irregularity of the outline, 0..1 */
    float blur;     /* out of focus, px at a side of 64 */
} cf_look;

/* The look of a class code; a code that is not in the table gets a look made from its letters. */
cf_look cf_phantom_look(const char *code);
/* Paints one picture of side `size`. other: a look that the picture partly resembles, so that
 * classes overlap; neighbor: of a second cell that may reach into the field. pixels: uint8
 * [size][size][3]; scratch: [2 * size * size * 3] floats. Takes its numbers from rng. */
void cf_phantom_paint(const cf_look *look, const cf_look *other, const cf_look *neighbor,
                      cf_rng *rng, int size, float *scratch, uint8_t *pixels);

#endif
