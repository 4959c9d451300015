#include "worker/data/synth_site.h"

#include <math.h>
#include <stddef.h>

#include "kernels/math/philox.h"

/* What tells centres apart: the lamp's colour, how dense the stain is (an exponent of the
 * transmitted light: Beer and Lambert), and the camera's pixels. The first is as painted. */
static const struct site {
    const char *name;
    float lamp[3];
    float stain;
    float magnify; /* pixels a micrometre, of the first site's */
} sites[CF_SYNTH_MAX_SITES] = {
    {"north", {1.00f, 1.00f, 1.00f}, 1.00f, 1.00f},
    {"east", {1.03f, 0.98f, 0.91f}, 0.80f, 1.08f},
    {"south", {0.94f, 0.98f, 1.04f}, 1.30f, 1.16f},
    {"west", {0.97f, 1.02f, 0.97f}, 1.12f, 1.04f},
};
static const double first_um_per_px = 21.6 / 250.0; /* the marrow set's field and side */

cf_synth_origin cf_synth_origin_of(const cf_synth_options *o, int class_index, int64_t k)
{
    uint32_t n_sites = o->n_sites > 1 ? (uint32_t)o->n_sites : 1;
    cf_rng rng = cf_rng_at(o->seed, 1, (uint32_t)class_index, (uint32_t)k, CF_PURPOSE_SYNTH);
    if (o->n_patients == 0) return (cf_synth_origin){(int)cf_rng_below(&rng, n_sites), -1};
    uint32_t patient = cf_rng_below(&rng, (uint32_t)o->n_patients);
    return (cf_synth_origin){(int)(patient % n_sites), patient};
}

const char *cf_synth_site_name(int site)
{
    return sites[site].name;
}

double cf_synth_site_um_per_px(int site)
{
    return first_um_per_px / (double)sites[site].magnify;
}

int cf_synth_site_side(int site, int size)
{
    return (int)lroundf((float)size * sites[site].magnify);
}

void cf_synth_site_develop(int site, const uint8_t *painted, int size, uint8_t *pixels)
{
    const struct site *s = &sites[site];
    int side = cf_synth_site_side(site, size), margin = (side - size) / 2;
    uint8_t levels[3][256];
    if (site == 0 && pixels == painted) return;
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) {
            float light = 255.0f * s->lamp[c] * powf((float)v / 255.0f, s->stain);
            levels[c][v] = (uint8_t)(light < 255.0f ? light + 0.5f : 255.0f);
        }
    for (int y = 0; y < size; y++) {
        const uint8_t *from = painted + 3 * ((ptrdiff_t)(y + margin) * side + margin);
        for (int x = 0; x < 3 * size; x++) *pixels++ = levels[x % 3][from[x]];
    }
}
