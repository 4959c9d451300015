#include "worker/insight/heat.h"

#include <math.h>
#include <stdbool.h>

/* ---- colours (CIE 15; IEC 61966-2-1) ----------------------------------------------------------
 */

typedef struct lch {
    double lightness, chroma, hue; /* 0 to 100; a*, b* as length and angle in degrees */
} lch;

/* The inverse of CIELAB's function of X / Xn. */
static double from_lab(double t)
{
    const double edge = 6.0 / 29.0;
    return t > edge ? t * t * t : 3 * edge * edge * (t - 4.0 / 29.0);
}

static double encode(double linear)
{
    return linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055;
}

/* rgb: linear, may lie outside of 0 to 1. */
static void to_linear(const lch *color, double rgb[3])
{
    static const double white[3] = {0.95047, 1.0, 1.08883}; /* D65 */
    static const double matrix[3][3] = {{3.2404542, -1.5371385, -0.4985314},
                                        {-0.9692660, 1.8760108, 0.0415560},
                                        {0.0556434, -0.2040259, 1.0572252}};
    double angle = color->hue * 3.14159265358979323846 / 180, f = (color->lightness + 16) / 116;
    double xyz[3] = {white[0] * from_lab(f + color->chroma * cos(angle) / 500),
                     white[1] * from_lab(f),
                     white[2] * from_lab(f - color->chroma * sin(angle) / 200)};
    for (int i = 0; i < 3; i++)
        rgb[i] = matrix[i][0] * xyz[0] + matrix[i][1] * xyz[1] + matrix[i][2] * xyz[2];
}

static bool is_in_gamut(const double rgb[3])
{
    for (int i = 0; i < 3; i++)
        if (rgb[i] < 0 || rgb[i] > 1) return false;
    return true;
}

/* As much chroma as sRGB has for this lightness and hue. */
static void fit(lch color, double rgb[3])
{
    double low = 0, high = color.chroma;
    to_linear(&color, rgb);
    if (is_in_gamut(rgb)) return;
    for (int i = 0; i < 40; i++) {
        color.chroma = (low + high) / 2;
        to_linear(&color, rgb);
        if (is_in_gamut(rgb))
            low = color.chroma;
        else
            high = color.chroma;
    }
    color.chroma = low;
    to_linear(&color, rgb);
}

void cf_heat_colors(cf_heat *heat)
{
    for (int i = 0; i < CF_HEAT_STEPS; i++) {
        double t = (double)i / (CF_HEAT_STEPS - 1), rgb[3];
        lch color = {.lightness = 3 + 93 * t,
                     .chroma = 88 * pow(sin(3.14159265358979323846 * pow(t, 0.9)), 0.7) + 14 * t,
                     .hue = 290 + 170 * pow(t, 0.9)};
        fit(color, rgb);
        for (int c = 0; c < 3; c++) {
            double v = encode(rgb[c] < 0 ? 0 : rgb[c] > 1 ? 1 : rgb[c]);
            heat->rgb[i][c] = (uint8_t)lround(255 * v);
        }
    }
}

/* ---- pictures ---------------------------------------------------------------------------------
 */

static double bound(float v)
{
    return v > 0 ? v < 1 ? (double)v : 1.0 : 0.0;
}

static const uint8_t *color_of(const cf_heat *heat, double v)
{
    return heat->rgb[(int)(v * (CF_HEAT_STEPS - 1) + 0.5)];
}

void cf_heat_picture(const cf_heat *heat, const float *map, int64_t n, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *color = color_of(heat, bound(map[i]));
        for (int c = 0; c < 3; c++) out[3 * i + c] = color[c];
    }
}

void cf_heat_overlay(const cf_heat *heat, const uint8_t *image, const float *map, int64_t n,
                     uint8_t *out)
{
    const double most = 0.75; /* so that the cell is seen where it is hottest, too */
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *p = image + 3 * i;
        double v = bound(map[i]), share = most * sqrt(v);
        double grey = 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]; /* BT.709's luma */
        const uint8_t *color = color_of(heat, v);
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = (uint8_t)lround((1 - share) * grey + share * (double)color[c]);
    }
}
