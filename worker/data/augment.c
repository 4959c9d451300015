/* The random map of a draw, and its fast application on the host.
 *
 * Formulas are those of kernels/math/augment.h in the same order of operations, taken apart into
 * loops over a row that a compiler turns into vector code; a test holds the two to the same bits.
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "worker/data/loader.h"

/* Uniform in [lo, hi]. Every draw takes the same numbers from its stream whatever is switched on,
 * so that changing one setting leaves the others' values alone. */
static double between(cf_rng *rng, double lo, double hi)
{
    return lo + (hi - lo) * (double)cf_rng_uniform(rng);
}

/* m = the 2x2 product a * b. */
static void multiply(const double a[4], const double b[4], double m[4])
{
    double r[4] = {a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2],
                   a[2] * b[1] + a[3] * b[3]};
    memcpy(m, r, sizeof r);
}

/* Sets the map so that output pixel p reads the source at center_in + fit * m * (p - center_out -
 * shift), where fit scales the output's sides to the source's, less the fixed zoom. m: output
 * pixels. */
static void set_map(const cf_config *config, int height, int width, const double m[4],
                    const double shift[2], cf_augment *t)
{
    double size = (double)config->model_image_size;
    double fit_x = width / size / config->augment_zoom,
           fit_y = height / size / config->augment_zoom;
    double from_x = (size - 1.0) / 2.0 + shift[0], from_y = (size - 1.0) / 2.0 + shift[1];
    double a[6] = {fit_x * m[0], fit_x * m[1], 0.0, fit_y * m[2], fit_y * m[3], 0.0};
    a[2] = (width - 1) / 2.0 - a[0] * from_x - a[1] * from_y;
    a[5] = (height - 1) / 2.0 - a[3] * from_x - a[4] * from_y;
    for (int i = 0; i < 6; i++) t->a[i] = (float)a[i];
}

void cf_augment_plain(const cf_config *config, int source_height, int source_width, cf_augment *t)
{
    static const double identity[4] = {1.0, 0.0, 0.0, 1.0}, none[2] = {0.0, 0.0};
    *t = (cf_augment){.gain = {1.0f, 1.0f, 1.0f}};
    set_map(config, source_height, source_width, identity, none, t);
}

void cf_augment_turn(int turn, int size, cf_augment *t)
{
    if (turn == 0) return;
    double x = turn & 1 ? -1.0 : 1.0, y = turn & 2 ? -1.0 : 1.0, centre = (size - 1) / 2.0;
    bool swap = (turn & 4) != 0;
    double m[4] = {swap ? 0.0 : x, swap ? x : 0.0, swap ? y : 0.0, swap ? 0.0 : y};
    for (int row = 0; row < 2; row++) {
        float *a = t->a + 3 * row;
        double ax = (double)a[0], ay = (double)a[1], a0 = (double)a[2];
        double bx = ax * m[0] + ay * m[2], by = ax * m[1] + ay * m[3];
        a[0] = (float)bx;
        a[1] = (float)by;
        a[2] = (float)(a0 + centre * (ax + ay - bx - by));
    }
}

/* value -> brightness * color_c * (contrast * (value - 1/2) + 1/2) */
static void draw_colors(const cf_config *config, cf_rng *rng, cf_augment *t)
{
    double b = config->augment_brightness, k = config->augment_contrast, s = config->augment_color;
    double brightness = between(rng, 1.0 - b, 1.0 + b), contrast = between(rng, 1.0 - k, 1.0 + k);
    for (int c = 0; c < 3; c++) {
        double factor = brightness * between(rng, 1.0 - s, 1.0 + s);
        t->gain[c] = (float)(factor * contrast);
        t->offset[c] = (float)(factor * 0.5 * (1.0 - contrast));
    }
}

/* A rectangle of 2 to 20 % of the output's area, sides as 1:2 to 2:1, wholly inside. */
static void draw_erase(const cf_config *config, cf_rng *rng, cf_augment *t)
{
    double size = (double)config->model_image_size;
    int on = (double)cf_rng_uniform(rng) < config->augment_erase;
    double area = between(rng, 0.02, 0.20) * size * size, ratio = exp2(between(rng, -1.0, 1.0));
    int w = (int)(sqrt(area * ratio) + 0.5), h = (int)(sqrt(area / ratio) + 0.5);
    int x0 = (int)between(rng, 0.0, size - w + 1.0), y0 = (int)between(rng, 0.0, size - h + 1.0);
    if (!on) return;
    int box[4] = {x0, y0, x0 + w, y0 + h};
    memcpy(t->erase, box, sizeof box);
}

void cf_augment_draw(const cf_config *config, int source_height, int source_width, int fold,
                     int64_t epoch, int64_t draw, cf_augment *t)
{
    cf_rng rng = cf_rng_at((uint64_t)config->train_seed, (uint32_t)fold, (uint32_t)epoch,
                           (uint32_t)draw, CF_PURPOSE_AUGMENT);
    *t = (cf_augment){0};
    double r = config->augment_rotation, k = config->augment_shear, s = config->augment_shift;
    double angle = between(&rng, -r, r) * (3.14159265358979323846 / 180.0);
    int flip_x = cf_rng_uniform(&rng) < 0.5f && config->augment_flip_horizontal;
    int flip_y = cf_rng_uniform(&rng) < 0.5f && config->augment_flip_vertical;
    double shear = between(&rng, -k, k);
    double zoom = between(&rng, config->augment_scale_min, config->augment_scale_max);
    double size = (double)config->model_image_size;
    double shift[2] = {between(&rng, -s, s) * size, between(&rng, -s, s) * size};
    draw_colors(config, &rng, t);
    draw_erase(config, &rng, t);

    /* From output to source, so the content is scaled by zoom where the map is divided by it. */
    double rotation[4] = {cos(angle), -sin(angle), sin(angle), cos(angle)};
    double sheared[4] = {1.0, shear, 0.0, 1.0};
    double scaled[4] = {(flip_x ? -1.0 : 1.0) / zoom, 0.0, 0.0, (flip_y ? -1.0 : 1.0) / zoom};
    double m[4];
    multiply(sheared, rotation, m);
    multiply(scaled, m, m);
    set_map(config, source_height, source_width, m, shift, t);
}

void cf_normalize_from(const cf_config *config, cf_normalize *norm)
{
    for (int c = 0; c < 3; c++) {
        norm->mean[c] = (float)config->augment_mean.items[c];
        norm->inv_std[c] = (float)(1.0 / config->augment_std.items[c]);
    }
}

/* Where one row of samples lies in the source. */
typedef struct row {
    int32_t at[CF_AUGMENT_MAX_SIZE];    /* byte offset of the upper left neighbour */
    int32_t right[CF_AUGMENT_MAX_SIZE]; /* bytes from a neighbour to the one at its right; 0 at the
                                           edge */
    int32_t below[CF_AUGMENT_MAX_SIZE]; /* the same downwards */
    float fx[CF_AUGMENT_MAX_SIZE], fy[CF_AUGMENT_MAX_SIZE];
    /* The four neighbours, a pixel in a word: red in the low byte, blue in the third. */
    uint32_t p00[CF_AUGMENT_MAX_SIZE], p01[CF_AUGMENT_MAX_SIZE];
    uint32_t p10[CF_AUGMENT_MAX_SIZE], p11[CF_AUGMENT_MAX_SIZE];
} row;

typedef struct source {
    const uint8_t *pixels; /* borrowed, [height][width][3] */
    int height, width;
} source;

/* Samples at output positions (x + dx, y). Only arithmetic, so that the compiler can vectorise it.
 */
static void locate(const source *s, const cf_augment *t, float dx, float y, int size, row *r)
{
    float max_x = (float)(s->width - 1), max_y = (float)(s->height - 1);
    int stride = 3 * s->width, last_x = s->width - 1, last_y = s->height - 1;
    /* copies, because the stores below are floats too and might change t */
    float ax = t->a[0], bx = t->a[1] * y, cx = t->a[2];
    float ay = t->a[3], by = t->a[4] * y, cy = t->a[5];
    for (int i = 0; i < size; i++) {
        float x = (float)i + dx;
        float sx = ax * x + bx + cx;
        float sy = ay * x + by + cy;
        sx = sx < 0.0f ? 0.0f : sx;
        sy = sy < 0.0f ? 0.0f : sy;
        sx = sx > max_x ? max_x : sx;
        sy = sy > max_y ? max_y : sy;
        int x0 = (int)sx, y0 = (int)sy;
        r->fx[i] = sx - (float)x0;
        r->fy[i] = sy - (float)y0;
        r->at[i] = y0 * stride + 3 * x0;
        r->right[i] = 3 * (x0 < last_x);
        r->below[i] = stride * (y0 < last_y);
    }
}

/* Little endian, as cells files are. */
static inline uint32_t load_word(const uint8_t *p)
{
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static inline uint32_t load_three(const uint8_t *p)
{
    return (uint32_t)(p[0] | p[1] << 8 | p[2] << 16);
}

/* Loads a word where only three bytes are wanted, except where the fourth may lie past the last
 * page of the mapping: the fourth neighbour has the highest address of the four. */
static void fetch(const source *s, int size, row *r)
{
    int64_t last_word = (int64_t)s->height * s->width * 3 - 4;
    for (int i = 0; i < size; i++) {
        const uint8_t *p = s->pixels + r->at[i], *q = p + r->below[i];
        int right = r->right[i];
        if (r->at[i] + r->below[i] + right <= last_word) {
            r->p00[i] = load_word(p);
            r->p01[i] = load_word(p + right);
            r->p10[i] = load_word(q);
            r->p11[i] = load_word(q + right);
        } else {
            r->p00[i] = load_three(p);
            r->p01[i] = load_three(p + right);
            r->p10[i] = load_three(q);
            r->p11[i] = load_three(q + right);
        }
    }
}

/* Channels apart, so that a loop over pixels is one over vector lanes. */
typedef struct planes {
    float c[3][CF_AUGMENT_MAX_SIZE];
} planes;

/* sum += the bilinear samples of row r, in 0..255. */
static void add_samples(const row *r, int size, planes *sum)
{
    for (int c = 0; c < 3; c++) {
        float *plane = sum->c[c];
        for (int i = 0; i < size; i++) {
            float p00 = (float)(int)(r->p00[i] >> 8 * c & 255),
                  p01 = (float)(int)(r->p01[i] >> 8 * c & 255);
            float p10 = (float)(int)(r->p10[i] >> 8 * c & 255),
                  p11 = (float)(int)(r->p11[i] >> 8 * c & 255);
            float top = p00 + r->fx[i] * (p01 - p00);
            float low = p10 + r->fx[i] * (p11 - p10);
            plane[i] += top + r->fy[i] * (low - top);
        }
    }
}

/* Whether output pixels are the image's own, as where a network is only asked. */
static bool is_itself(const source *s, const cf_augment *t, int size)
{
    static const float itself[6] = {1, 0, 0, 0, 1, 0};
    bool same = s->height == size && s->width == size;
    for (int k = 0; k < 6; k++) same = same && t->a[k] == itself[k];
    return same;
}

/* What the samples above are where the map is none: all fractions are 0. */
static void copy_row(const source *s, int y, planes *sum)
{
    const uint8_t *p = s->pixels + (ptrdiff_t)y * s->width * 3;
    for (int i = 0; i < s->width; i++)
        for (int c = 0; c < 3; c++) sum->c[c][i] = (float)p[3 * i + c];
}

/* The row's sums: nx * ny samples of each pixel. */
static void sample_row(const source *s, const cf_augment *t, int y, int size, planes *sum)
{
    int nx = cf_augment_samples(t->a[0], t->a[3]), ny = cf_augment_samples(t->a[1], t->a[4]);
    row r;
    for (int c = 0; c < 3; c++) memset(sum->c[c], 0, (size_t)size * sizeof(float));
    for (int j = 0; j < ny; j++) {
        float dy = ((float)j + 0.5f) / (float)ny - 0.5f; /* exactly 0 where ny is 1 */
        for (int i = 0; i < nx; i++) {
            locate(s, t, ((float)i + 0.5f) / (float)nx - 0.5f, (float)y + dy, size, &r);
            fetch(s, size, &r);
            add_samples(&r, size, sum);
        }
    }
}

/* Sums become means, and those change their stains, in loops that a compiler makes vectors of: were
 * the last two one, it would see that a level clamped to 0 needs no power, and branch. share: 1 /
 * samples of a pixel */
static void stain_row(const cf_stain_map *map, float share, int size, planes *sum)
{
    float level[3][CF_AUGMENT_MAX_SIZE];
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < size; i++) level[c][i] = cf_stain_log2(sum->c[c][i] * share + 1.0f);
    for (int c = 0; c < 3; c++) {
        const cf_stain_map m = *map; /* a copy, because the stores are floats too */
        float *plane = sum->c[c];
        for (int i = 0; i < size; i++)
            plane[i] = cf_stain_mix(&m, c, level[0][i], level[1][i], level[2][i]);
        for (int i = 0; i < size; i++) plane[i] = cf_stain_exp2(plane[i]) - 1.0f;
    }
}

/* Colour, clamp and normalisation of one row. share: what sums are still to be multiplied by to
 * become means. out: [size][3] */
static void finish_row(const cf_augment *t, const cf_normalize *norm, float share, int size,
                       planes *sum, float *out)
{
    for (int c = 0; c < 3; c++) {
        float gain = t->gain[c], offset = t->offset[c], mean = norm->mean[c],
              inv_std = norm->inv_std[c];
        float *plane = sum->c[c];
        for (int i = 0; i < size; i++) {
            float v = plane[i] * share * (1.0f / 255.0f);
            v = v * gain + offset;
            v = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
            plane[i] = (v - mean) * inv_std;
        }
    }
    for (int i = 0; i < size; i++)
        for (int c = 0; c < 3; c++) out[3 * i + c] = sum->c[c][i];
}

static void erase_row(const cf_augment *t, const cf_normalize *norm, int y, float *out)
{
    if (y < t->erase[1] || y >= t->erase[3]) return;
    for (int x = t->erase[0]; x < t->erase[2]; x++)
        for (int c = 0; c < 3; c++) out[3 * x + c] = (0.5f - norm->mean[c]) * norm->inv_std[c];
}

void cf_augment_apply(const uint8_t *src, int height, int width, const cf_augment *t,
                      const cf_normalize *norm, int size, float *out)
{
    source s = {src, height, width};
    int nx = cf_augment_samples(t->a[0], t->a[3]), ny = cf_augment_samples(t->a[1], t->a[4]);
    bool itself = is_itself(&s, t, size);
    float share = 1.0f / (float)(nx * ny);
    planes sum;
    for (int y = 0; y < size; y++, out += (size_t)size * 3) {
        if (itself)
            copy_row(&s, y, &sum);
        else
            sample_row(&s, t, y, size, &sum);
        if (t->stain.on) stain_row(&t->stain, share, size, &sum);
        finish_row(t, norm, t->stain.on ? 1.0f : share, size, &sum, out);
        erase_row(t, norm, y, out);
    }
}
