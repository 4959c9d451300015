#include "worker/look.h"

#include <math.h>
#include <string.h>

/* Keeps ratios finite where an image is of one colour. */
#define NOTHING 1e-6

typedef struct sums {
    double one[3], two[6]; /* of x; of xx, yy, zz, xy, xz, yz */
    double grey, grey2;
} sums;

static void add_pixel(sums *s, const double x[3])
{
    for (int c = 0; c < 3; c++) {
        s->one[c] += x[c];
        s->two[c] += x[c] * x[c];
    }
    s->two[3] += x[0] * x[1];
    s->two[4] += x[0] * x[2];
    s->two[5] += x[1] * x[2];
    double grey = (x[0] + x[1] + x[2]) / 3;
    s->grey += grey;
    s->grey2 += grey * grey;
}

static double grey_at(const uint8_t *p, const double density[256])
{
    return (density[p[0]] + density[p[1]] + density[p[2]]) / 3;
}

static double step2(const uint8_t *a, const uint8_t *b, const double density[256])
{
    double d = grey_at(a, density) - grey_at(b, density);
    return d * d;
}

void cf_look(const uint8_t *pixels, int height, int width, double figures[CF_LOOK_FIGURES])
{
    double density[256], n = (double)height * width, var[3];
    sums s = {0};
    double across = 0, down = 0;
    int64_t row = (int64_t)width * 3;
    for (int i = 0; i < 256; i++) density[i] = -log((i + 1) / 240.0);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const uint8_t *p = pixels + y * row + (int64_t)x * 3;
            const double d[3] = {density[p[0]], density[p[1]], density[p[2]]};
            add_pixel(&s, d);
            if (x + 1 < width) across += step2(p, p + 3, density);
            if (y + 1 < height) down += step2(p, p + row, density);
        }
    for (int c = 0; c < 3; c++) {
        figures[c] = s.one[c] / n;
        var[c] = fmax(0, s.two[c] / n - figures[c] * figures[c]);
        figures[3 + c] = sqrt(var[c]);
    }
    static const int pairs[3][2] = {{0, 1}, {0, 2}, {1, 2}};
    for (int k = 0; k < 3; k++) {
        int a = pairs[k][0], b = pairs[k][1];
        double covariance = s.two[3 + k] / n - figures[a] * figures[b];
        figures[6 + k] = covariance / sqrt(var[a] * var[b] + NOTHING * NOTHING);
    }
    double grey = s.grey / n, spread = fmax(0, s.grey2 / n - grey * grey);
    double steps = across / fmax(1, (double)height * (width - 1)) +
                   down / fmax(1, (double)(height - 1) * width);
    figures[9] = log(steps / (spread + NOTHING) + NOTHING);
}

void cf_look_swap(const double figures[CF_LOOK_FIGURES], double swapped[CF_LOOK_FIGURES])
{
    /* RG becomes BG, RB stays, GB becomes GR */
    static const int from[CF_LOOK_FIGURES] = {2, 1, 0, 5, 4, 3, 8, 7, 6, 9};
    double old[CF_LOOK_FIGURES];
    memcpy(old, figures, sizeof old);
    for (int k = 0; k < CF_LOOK_FIGURES; k++) swapped[k] = old[from[k]];
}
