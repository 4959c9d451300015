/* Colours for heat maps, and the pictures made with them. From black over violet, red and orange to
 * pale yellow in equal steps of CIE lightness, so that they read the same in grey and for people
 * who confuse red and green. Threads: any. Read first: cf_heat_colors. */
#ifndef CF_WORKER_INSIGHT_HEAT_H
#define CF_WORKER_INSIGHT_HEAT_H

#include <stdint.h>

enum { CF_HEAT_STEPS = 256 };

typedef struct cf_heat {
    uint8_t rgb[CF_HEAT_STEPS][3]; /* from cold to hot */
} cf_heat;

/* CIE 1976 L* from 3 to 96 in equal steps, for the white of D65; hue and chroma turn with it, and
 * chroma gives way where sRGB has no such colour. */
void cf_heat_colors(cf_heat *heat);

/* A map [n] of values from 0 to 1 (others are taken as the nearer of them) by itself; out: [n][3].
 */
void cf_heat_picture(const cf_heat *heat, const float *map, int64_t n, uint8_t *out);
/* The same over an image [n][3], which is shown in grey: the hotter, the less of it is seen. */
void cf_heat_overlay(const cf_heat *heat, const uint8_t *image, const float *map, int64_t n,
                     uint8_t *out);

#endif
