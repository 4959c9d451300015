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

/* Where output pixel i of `to` reads a line of `from`: between pixel *at and the next. */
static void place(int i, int from, int to, int *at, int *next, double *share)
{
    double x = ((double)i + 0.5) * (double)from / (double)to - 0.5;
    x = x < 0 ? 0 : x > from - 1 ? from - 1 : x;
    *at = (int)x;
    *next = *at + 1 < from ? *at + 1 : *at;
    *share = x - *at;
}

void cf_map_enlarge(const float *map, int h, int w, int height, int width, float *large)
{
    for (int y = 0; y < height; y++) {
        int y0, y1, x0, x1;
        double fy, fx;
        place(y, h, height, &y0, &y1, &fy);
        for (int x = 0; x < width; x++) {
            place(x, w, width, &x0, &x1, &fx);
            const float *a = map + (int64_t)y0 * w, *b = map + (int64_t)y1 * w;
            double top = (double)a[x0] + fx * ((double)a[x1] - (double)a[x0]);
            double low = (double)b[x0] + fx * ((double)b[x1] - (double)b[x0]);
            large[(int64_t)y * width + x] = (float)(top + fy * (low - top));
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
