#include "worker/data/check_align.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { T = CF_THUMB_SIDE, C = T / 2, MAX_COARSE = 3 };

/* The eight orientations of a square as maps of place, (x, y) to rows of a matrix. */
static const int orientations[8][2][2] = {
    {{1, 0}, {0, 1}},  {{0, 1}, {-1, 0}}, {{-1, 0}, {0, -1}}, {{0, -1}, {1, 0}},
    {{-1, 0}, {0, 1}}, {{0, 1}, {1, 0}},  {{1, 0}, {0, -1}},  {{0, -1}, {-1, 0}},
};

/* A square picture with what its correlations need: the values with zeros round them, so that
 * products with what lies outside vanish, and sums over every rectangle from the upper left corner
 * (Crow 1984). */
enum { PAD = 8, ROW = T + 2 * PAD };
typedef struct grid {
    int n; /* side: T or C */
    int16_t value[ROW][ROW];
    int32_t sum[T + 1][T + 1], square[T + 1][T + 1]; /* 1,024 * 255^2 fits */
} grid;

static void fill_grid(grid *q, const uint8_t *in, int n)
{
    q->n = n;
    memset(q->value, 0, sizeof q->value);
    memset(q->sum, 0, sizeof q->sum);
    memset(q->square, 0, sizeof q->square);
    for (int y = 0; y < n; y++) {
        int32_t sum = 0, square = 0; /* of the row */
        for (int x = 0; x < n; x++) {
            int v = in[y * n + x];
            q->value[PAD + y][PAD + x] = (int16_t)v;
            sum += v;
            square += v * v;
            q->sum[y + 1][x + 1] = q->sum[y][x + 1] + sum;
            q->square[y + 1][x + 1] = q->square[y][x + 1] + square;
        }
    }
}

static int32_t over(int32_t s[T + 1][T + 1], int x0, int y0, int x1, int y1)
{
    return s[y1][x1] - s[y0][x1] - s[y1][x0] + s[y0][x0];
}

/* Sum of a(x, y) b(x + dx, y + dy); side is a.n as a constant, for the compiler. */
static inline int32_t dot(const grid *a, const grid *b, int dx, int dy, int side)
{
    int32_t sum = 0;
    for (int y = 0; y < side; y++) {
        const int16_t *p = &a->value[PAD + y][PAD], *q = &b->value[PAD + y + dy][PAD + dx];
        for (int x = 0; x < side; x++) sum += p[x] * q[x];
    }
    return sum;
}

/* Normalised correlation of a(x, y) with b(x + dx, y + dy) where both are; |dx|, |dy| <= PAD. */
static float correlate(grid *a, grid *b, int dx, int dy)
{
    int n = a->n;
    int x0 = dx < 0 ? -dx : 0, x1 = dx > 0 ? n - dx : n;
    int y0 = dy < 0 ? -dy : 0, y1 = dy > 0 ? n - dy : n;
    double sa = over(a->sum, x0, y0, x1, y1), saa = over(a->square, x0, y0, x1, y1);
    double sb = over(b->sum, x0 + dx, y0 + dy, x1 + dx, y1 + dy);
    double sbb = over(b->square, x0 + dx, y0 + dy, x1 + dx, y1 + dy);
    double count = (double)(x1 - x0) * (y1 - y0);
    double va = saa - sa * sa / count, vb = sbb - sb * sb / count;
    if (va < count || vb < count) return 0; /* an SD under one level: nothing to compare */
    double sab = n == C ? dot(a, b, dx, dy, C) : dot(a, b, dx, dy, T);
    return (float)((sab - sa * sb / count) / sqrt(va * vb));
}

/* Best shift of at most `reach` round (*dx, *dy). */
static float search(grid *a, grid *b, int reach, int *dx, int *dy)
{
    float best = -2;
    int cx = *dx, cy = *dy;
    for (int y = cy - reach; y <= cy + reach; y++)
        for (int x = cx - reach; x <= cx + reach; x++) {
            float r = correlate(a, b, x, y);
            if (r <= best) continue;
            best = r;
            *dx = x;
            *dy = y;
        }
    return best;
}

/* out(x, y) = in(g (x, y)) on the thumbnail's grid, middle to middle. */
static void orient(const uint8_t *in, const int g[2][2], uint8_t *out)
{
    for (int y = 0; y < T; y++)
        for (int x = 0; x < T; x++) {
            int dx = 2 * x - (T - 1), dy = 2 * y - (T - 1);
            int u = (g[0][0] * dx + g[0][1] * dy + T - 1) / 2;
            int v = (g[1][0] * dx + g[1][1] * dy + T - 1) / 2;
            out[y * T + x] = in[v * T + u];
        }
}

/* Half the side, rounded means. */
static void halve(const uint8_t *in, uint8_t *out)
{
    for (int y = 0; y < C; y++)
        for (int x = 0; x < C; x++) {
            const uint8_t *p = in + 2 * y * T + 2 * x;
            out[y * C + x] = (uint8_t)((p[0] + p[1] + p[T] + p[T + 1] + 2) / 4);
        }
}

/* The thumbnail and its half. */
typedef struct levels {
    grid fine, coarse;
} levels;

static void fill_levels(levels *l, const uint8_t *thumb)
{
    uint8_t half[C * C];
    halve(thumb, half);
    fill_grid(&l->fine, thumb, T);
    fill_grid(&l->coarse, half, C);
}

float cf_align_thumbs(const uint8_t *a, const uint8_t *b, cf_align_map *map)
{
    uint8_t turned[CF_THUMB_PIXELS];
    levels la, lb;
    float best = -2;
    fill_levels(&la, a);
    for (int k = 0; k < 8; k++) {
        const int(*g)[2] = orientations[k];
        int dx = 0, dy = 0;
        orient(b, g, turned);
        fill_levels(&lb, turned);
        search(&la.coarse, &lb.coarse, MAX_COARSE, &dx, &dy);
        dx *= 2;
        dy *= 2;
        float r = search(&la.fine, &lb.fine, 1, &dx, &dy);
        if (r <= best) continue;
        best = r;
        /* place p of a is place p + d of the turned picture, which is g (p + d) of b */
        double unit = (double)CF_ALIGN_SIDE / T;
        for (int i = 0; i < 2; i++) {
            for (int j = 0; j < 2; j++) map->m[i][j] = g[i][j];
            map->t[i] = unit * (g[i][0] * dx + g[i][1] * dy);
        }
    }
    return best;
}

const char *cf_align_words(const cf_align_map *map, int height, int width, char text[96])
{
    double det = map->m[0][0] * map->m[1][1] - map->m[0][1] * map->m[1][0];
    double scale = sqrt(fabs(det));
    /* mirrored first, at the vertical axis, then turned */
    double flip = det < 0 ? -1 : 1;
    double angle = atan2(map->m[1][0] * flip, map->m[0][0] * flip) * 180 / 3.14159265358979323846;
    int degrees = (int)lround(angle);
    if (degrees < 0) degrees += 360;
    long dx = lround(map->t[0] * width / CF_ALIGN_SIDE);
    long dy = lround(map->t[1] * height / CF_ALIGN_SIDE);
    char part[4][32] = {"", "", "", ""};
    if (det < 0) snprintf(part[0], sizeof part[0], "mirrored");
    if (degrees % 360 != 0) snprintf(part[1], sizeof part[1], "turned %d", degrees);
    if (fabs(scale - 1) > 0.01) snprintf(part[2], sizeof part[2], "scaled %.2f", scale);
    if (dx != 0 || dy != 0) snprintf(part[3], sizeof part[3], "shifted %ld %ld px", dx, dy);
    text[0] = '\0';
    for (int k = 0; k < 4; k++) {
        if (!part[k][0]) continue;
        if (text[0]) strcat(text, ", ");
        strcat(text, part[k]);
    }
    if (!text[0]) strcpy(text, "same place");
    return text;
}
