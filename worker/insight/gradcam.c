#include "worker/insight/gradcam.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

cf_err cf_gradcam(const float *output, const float *gradient, int64_t pixels, int64_t c, float *map)
{
    double *alpha = NULL;
    CF_TRY(cf_new(&alpha, (size_t)c, sizeof *alpha));
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t k = 0; k < c; k++) alpha[k] += (double)gradient[p * c + k];
    for (int64_t k = 0; k < c; k++) alpha[k] /= (double)pixels;
    for (int64_t p = 0; p < pixels; p++) {
        double sum = 0;
        for (int64_t k = 0; k < c; k++) sum += alpha[k] * (double)output[p * c + k];
        map[p] = sum > 0 ? (float)sum : 0.0f;
    }
    free(alpha);
    return CF_OK;
}

/* Four pixels of a line and what each counts for at one place between the middle two. */
typedef struct taps {
    int at[4];
    double weight[4];
} taps;

static taps taps_at(int pixel, cf_map_place place, int n)
{
    double x = ((double)pixel - place.start) / place.step;
    x = x < 0 ? 0 : x > n - 1 ? n - 1 : x;
    int first = (int)x;
    double t = x - first, u = 1 - t;
    taps k = {.weight = {-0.5 * t * u * u, 1 + t * t * (1.5 * t - 2.5), 1 + u * u * (1.5 * u - 2.5),
                         -0.5 * u * t * t}};
    for (int i = 0; i < 4; i++) {
        int at = first + i - 1;
        k.at[i] = at < 0 ? 0 : at > n - 1 ? n - 1 : at;
    }
    return k;
}

static double read_taps(const float *line, int64_t stride, const taps *k)
{
    double sum = 0;
    for (int i = 0; i < 4; i++) sum += k->weight[i] * (double)line[k->at[i] * stride];
    return sum;
}

void cf_map_enlarge(const float *map, int h, int w, cf_map_place place, int height, int width,
                    float *scratch, float *large)
{
    for (int x = 0; x < width; x++) {
        taps k = taps_at(x, place, w);
        for (int y = 0; y < h; y++)
            scratch[(int64_t)y * width + x] = (float)read_taps(map + (int64_t)y * w, 1, &k);
    }
    for (int y = 0; y < height; y++) {
        taps k = taps_at(y, place, h);
        for (int x = 0; x < width; x++) {
            double v = read_taps(scratch + x, width, &k);
            large[(int64_t)y * width + x] = v > 0 ? (float)v : 0.0f;
        }
    }
}

float cf_map_scale(float *map, int64_t n)
{
    float highest = 0;
    for (int64_t i = 0; i < n; i++) highest = map[i] > highest ? map[i] : highest;
    for (int64_t i = 0; i < n && highest > 0; i++) map[i] /= highest;
    return highest;
}
