#include "coordinator/paint.h"

#include <math.h>

/* Paper, ink, muted, grid, bar, then the series. On light paper the series' lightness (CIE L*) runs
 * from 13 to 60, on dark paper from 95 to 56: each has a contrast of 3 or more on its paper (WCAG
 * 2.1, 1.4.11). */
static const uint32_t FIXED[2][CF_PAINT_HEAT] = {
    [CF_PAPER_LIGHT] = {0x000000, 0xffffff, 0x1b1f2a, 0x5b6270, 0xdfe2e8, 0xc5cbd8, 0x2a0f5c,
                        0x7a2a0e, 0x0b4fa3, 0xb01c62, 0x17804c, 0xc4650c, 0x8c9299},
    [CF_PAPER_DARK] = {0x000000, 0x14171e, 0xe8eaf0, 0xa9b0bf, 0x333947, 0x4a5163, 0xf6eeff,
                       0xffe08a, 0xa6d2ff, 0xff9ecb, 0x5cc48c, 0xdd7d2f, 0x7f8690},
};
/* Ends of the heat: the paper's own end a shade off it, so that an empty cell still has an edge. */
static const uint32_t COLD[2] = {0xf7f4fb, 0x1d2029}, HOT[2] = {0x4a206e, 0xd9b8ff};
static const uint32_t BLACK = 0x000000, WHITE = 0xffffff;

cf_paint cf_paint_series(int64_t i)
{
    return (cf_paint)(CF_PAINT_SERIES + i % CF_N_SERIES_COLORS);
}

int cf_paint_heat_step(double share)
{
    if (!(share > 0)) return 0;
    if (share > 1) share = 1;
    int step = (int)(pow(share, 0.7) * (CF_HEAT_STEPS - 1) + 0.5);
    return step > 0 ? step : 1; /* a single image is seen */
}

static uint32_t mix(uint32_t a, uint32_t b, int step)
{
    uint32_t rgb = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        int from = (int)(a >> shift & 255), to = (int)(b >> shift & 255);
        int value = from + ((to - from) * step + (to > from ? 10 : -10)) / (CF_HEAT_STEPS - 1);
        rgb |= (uint32_t)value << shift;
    }
    return rgb;
}

/* WCAG 2.1's relative luminance of sRGB. */
static double luminance(uint32_t rgb)
{
    static const double weight[3] = {0.2126, 0.7152, 0.0722};
    double sum = 0;
    for (int c = 0; c < 3; c++) {
        double v = (double)(rgb >> (16 - 8 * c) & 255) / 255.0;
        sum += weight[c] * (v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4));
    }
    return sum;
}

/* Black or white, whichever has the higher contrast: one of them always has 4.58 or more. */
static uint32_t ink_on(uint32_t rgb)
{
    double l = luminance(rgb);
    return (l + 0.05) / 0.05 > 1.05 / (l + 0.05) ? BLACK : WHITE;
}

uint32_t cf_paint_rgb(cf_paint paint, cf_paper paper)
{
    if ((int)paint < 0 || paint >= CF_N_PAINTS) return 0;
    if (paint < CF_PAINT_HEAT) return FIXED[paper][paint];
    int step = (int)(paint < CF_PAINT_HEAT_INK ? paint - CF_PAINT_HEAT : paint - CF_PAINT_HEAT_INK);
    uint32_t heat = mix(COLD[paper], HOT[paper], step);
    return paint < CF_PAINT_HEAT_INK ? heat : ink_on(heat);
}

void cf_paint_css(cf_paper paper, cf_buf *out)
{
    for (int p = CF_PAINT_PAPER; p < CF_N_PAINTS; p++)
        cf_buf_printf(out, "--p%d:#%06x;", p, (unsigned)cf_paint_rgb((cf_paint)p, paper));
}
