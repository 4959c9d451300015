#include "kernels/cpu/tiles.h"

#include <string.h>

#include "kernels/cpu/simd.h"

#if defined(__AMX_BF16__) && defined(__AVX512BW__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#define HAVE_TILES 1
#else
#define HAVE_TILES 0
#endif

enum {
    SIDE = CF_TILES_SIDE,
    STEP = 32,  /* pixels of a tile */
    TILE = 512, /* elements of a tile */
    BLOCK = CF_TILES_BLOCK,
    STRIP = CF_TILES_STRIP,
    STEPS = BLOCK / STEP
};

#if HAVE_TILES

/* ---- the operating system and the tile registers ----------------------------------------------
 */

bool cf_tiles_available(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* arch_prctl, Linux 5.16 */
    return __builtin_cpu_supports("avx512f") &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

/* Palette 1, all eight tiles of 16 rows of 64 bytes. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_config;

static void configure(void)
{
    tile_config config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.bytes[i] = 64;
        config.rows[i] = SIDE;
    }
    _tile_loadconfig(&config);
}

/* ---- tile order -------------------------------------------------------------------------------
 */

/* 16 channels of two pixels: one 32-bit element a channel, the first pixel in the low half. */
CF_INLINE __m512i pair(const uint16_t *a, const uint16_t *b)
{
    __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)a));
    __m512i y = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)b));
    return _mm512_or_si512(x, _mm512_slli_epi32(y, 16));
}

/* Right operand: row = pair of pixels, column = channel. */
static void pack_right(const uint16_t *const *pixels, int64_t steps, int64_t c, uint16_t *tiles)
{
    for (int64_t r = 0; r < steps * SIDE; r++)
        _mm512_store_si512(tiles + r * STEP, pair(pixels[2 * r] + c, pixels[2 * r + 1] + c));
}

CF_INLINE void transpose(__m512i r[SIDE])
{
    __m512i t[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
        __m512i b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
    for (int i = 0; i < SIDE; i++) r[i] = t[i];
}

/* Left operand: row = channel, column = pixel. */
static void pack_left(const uint16_t *const *pixels, int64_t steps, int64_t c, uint16_t *tiles)
{
    for (int64_t s = 0; s < steps; s++) {
        __m512i r[SIDE];
        for (int i = 0; i < SIDE; i++)
            r[i] = pair(pixels[s * STEP + 2 * i] + c, pixels[s * STEP + 2 * i + 1] + c);
        transpose(r);
        for (int i = 0; i < SIDE; i++) _mm512_store_si512(tiles + s * TILE + i * STEP, r[i]);
    }
}

/* ---- products ---------------------------------------------------------------------------------
 */

/* Blocks of the output of 2 x 2 tiles, or of 1 x 4 where there is but one row of them: four sums at
 * a time hide the latency of a product (52 cycles) behind its rate (16). Tiles 0-3 are the sums. */
typedef struct product {
    const uint16_t *left, *right; /* tiles of the next 16 channels are PANEL elements on */
    int64_t steps, stride;        /* stride: bytes of an output row */
    int cols;                     /* tiles side by side: 1-2, or 1-4 */
    bool fresh;
} product;

enum { PANEL = STEPS * TILE };

static void zero_sums(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

static void multiply_square(const product *p, float *out)
{
    char *low = (char *)out + SIDE * p->stride;
    const uint16_t *left = p->left, *right = p->right;
    if (p->fresh) {
        zero_sums();
    } else {
        _tile_loadd(0, out, p->stride);
        _tile_loadd(2, low, p->stride);
        if (p->cols > 1) _tile_loadd(1, out + SIDE, p->stride);
        if (p->cols > 1) _tile_loadd(3, low + SIDE * sizeof(float), p->stride);
    }
    for (int64_t s = 0; s < p->steps; s++, left += TILE, right += TILE) {
        _tile_loadd(4, left, 64);
        _tile_loadd(6, right, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, left + PANEL, 64);
        _tile_dpbf16ps(2, 5, 6);
        if (p->cols == 1) continue;
        _tile_loadd(7, right + PANEL, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, p->stride);
    _tile_stored(2, low, p->stride);
    if (p->cols > 1) _tile_stored(1, out + SIDE, p->stride);
    if (p->cols > 1) _tile_stored(3, low + SIDE * sizeof(float), p->stride);
}

static void multiply_row(const product *p, float *out)
{
    const uint16_t *left = p->left, *right = p->right;
    if (p->fresh) {
        zero_sums();
    } else {
        _tile_loadd(0, out, p->stride);
        if (p->cols > 1) _tile_loadd(1, out + SIDE, p->stride);
        if (p->cols > 2) _tile_loadd(2, out + 2 * SIDE, p->stride);
        if (p->cols > 3) _tile_loadd(3, out + 3 * SIDE, p->stride);
    }
    for (int64_t s = 0; s < p->steps; s++, left += TILE, right += TILE) {
        _tile_loadd(4, left, 64);
        _tile_loadd(5, right, 64);
        _tile_dpbf16ps(0, 4, 5);
        if (p->cols > 1) _tile_loadd(6, right + PANEL, 64);
        if (p->cols > 1) _tile_dpbf16ps(1, 4, 6);
        if (p->cols > 2) _tile_loadd(7, right + 2 * PANEL, 64);
        if (p->cols > 2) _tile_dpbf16ps(2, 4, 7);
        if (p->cols > 3) _tile_loadd(5, right + 3 * PANEL, 64);
        if (p->cols > 3) _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, out, p->stride);
    if (p->cols > 1) _tile_stored(1, out + SIDE, p->stride);
    if (p->cols > 2) _tile_stored(2, out + 2 * SIDE, p->stride);
    if (p->cols > 3) _tile_stored(3, out + 3 * SIDE, p->stride);
}

/* One block of pixels in tile order. */
typedef struct block {
    uint16_t *left, *right; /* [channels / 16][STEPS][TILE] */
    int64_t steps;
    bool fresh;
} block;

/* Rows first .. end-1 against columns 0 .. cols-1; left tiles start at row `first`. `out` is at row
 * 0 and column 0, `stride` elements a row. The right tiles of one step stay in the first-level
 * cache while the strip's left tiles go by. */
static void multiply_block(const block *b, int64_t first, int64_t end, int64_t cols, float *out,
                           int64_t stride)
{
    product p = {.steps = b->steps, .stride = stride * (int64_t)sizeof(float), .fresh = b->fresh};
    int most = end - first > SIDE ? 2 : 4;
    for (int64_t c = 0; c < cols; c += most * SIDE) {
        int64_t left_over = (cols - c) / SIDE;
        p.right = b->right + c / SIDE * PANEL;
        p.cols = left_over < most ? (int)left_over : most;
        for (int64_t r = first; r < end; r += 2 * SIDE) {
            p.left = b->left + (r - first) / SIDE * PANEL;
            if (r + SIDE < end) {
                multiply_square(&p, out + r * stride + c);
            } else {
                multiply_row(&p, out + r * stride + c);
            }
        }
    }
}

/* ---- pixels -----------------------------------------------------------------------------------
 */

/* A run of output pixels, counted over images, and where its tables are. */
typedef struct run {
    const uint16_t *in, *gy, *zeros;
    int64_t first, count, steps;
    const uint16_t **of_in, **of_gy; /* [taps][BLOCK], [BLOCK] */
} run;

static void point_at_gradient(const cf_tiles *t, const run *r)
{
    for (int64_t i = 0; i < r->steps * STEP; i++)
        r->of_gy[i] = i < r->count ? r->gy + (r->first + i) * t->k : r->zeros;
}

static void point_at_input(const cf_tiles *t, const run *r, int64_t tap)
{
    const int32_t *offsets = t->offsets + tap * t->pixels;
    const uint16_t **table = r->of_in + tap * BLOCK;
    int64_t pixel = r->first % t->pixels;
    const uint16_t *image = r->in + r->first / t->pixels * t->in_image;
    for (int64_t i = 0; i < r->steps * STEP; i++) {
        int32_t at = i < r->count ? offsets[pixel] : -1;
        table[i] = at >= 0 ? image + at : r->zeros;
        if (++pixel == t->pixels) {
            pixel = 0;
            image += t->in_image;
        }
    }
}

/* The right tiles of a slab: its channels at every tap. */
static void pack_slab(const cf_tiles *t, const run *r, int64_t slab, uint16_t *tiles)
{
    if (t->swapped) {
        for (int64_t k = 0; k < t->k; k += SIDE, tiles += PANEL)
            pack_right(r->of_gy, r->steps, k, tiles);
        return;
    }
    for (int64_t tap = 0; tap < t->taps; tap++)
        for (int64_t c = 0; c < t->c_slab; c += SIDE, tiles += PANEL)
            pack_right(r->of_in + tap * BLOCK, r->steps, slab * t->c_slab + c, tiles);
}

/* Slab by slab, in strips of rows. */
static void add_run(const cf_tiles *t, const run *r, block *b, float *out)
{
    const uint16_t **left = t->swapped ? r->of_in : r->of_gy;
    int64_t rows = t->swapped ? t->c : t->k_slab, all = t->swapped ? t->c : t->k;
    int64_t cols = cf_tiles_columns(t);
    for (int64_t slab = 0; slab < all / rows; slab++) {
        pack_slab(t, r, slab, b->right);
        for (int64_t strip = slab * rows; strip < (slab + 1) * rows; strip += STRIP) {
            int64_t end = strip + STRIP < (slab + 1) * rows ? strip + STRIP : (slab + 1) * rows;
            for (int64_t k = strip; k < end; k += SIDE)
                pack_left(left, r->steps, k, b->left + (k - strip) / SIDE * PANEL);
            multiply_block(b, strip, end, cols, out, cols);
        }
    }
}

/* The chunk's images, each with its frame of zeros. */
static void copy_frames(const cf_tiles *t, const uint16_t *in, uint16_t *frames)
{
    const cf_node *n = t->node;
    const cf_shape *s = &n->in_shape;
    int64_t width = s->w < t->frame_w - n->pad_left ? s->w : t->frame_w - n->pad_left;
    memset(frames, 0, (size_t)cf_tiles_frames(t) * sizeof *frames);
    for (int64_t image = 0; image < t->chunk / t->pixels; image++) {
        for (int64_t y = 0; y < s->h && y + n->pad_top < t->frame_h; y++) {
            int64_t row = (y + n->pad_top) * t->frame_w + n->pad_left;
            memcpy(frames + image * t->in_image + row * t->c, in + (image * s->h + y) * s->w * s->c,
                   (size_t)(width * s->c) * sizeof *frames);
        }
    }
}

void cf_tiles_add(const cf_tiles *t, const uint16_t *in, const uint16_t *gy, bool fresh, float *out,
                  void *scratch)
{
    int64_t all = t->chunk;
    block b = {.left = scratch, .fresh = fresh};
    b.right = b.left + STRIP * BLOCK;
    uint16_t *zeros = b.right + cf_tiles_columns(t) * BLOCK;
    memset(zeros, 0, (size_t)cf_tiles_widest(t) * sizeof *zeros);
    uint16_t *frames = zeros + cf_tiles_widest(t);
    if (t->frame_w > 0) copy_frames(t, in, frames);
    char *tables = (char *)(frames + cf_tiles_frames(t));
    tables += -(uintptr_t)tables % sizeof(void *);
    run r = {.in = t->frame_w > 0 ? frames : in, .gy = gy, .zeros = zeros};
    r.of_gy = (const uint16_t **)(void *)tables;
    r.of_in = r.of_gy + BLOCK;
    configure();
    for (r.first = 0; r.first < all; r.first += BLOCK) {
        r.count = all - r.first < BLOCK ? all - r.first : BLOCK;
        r.steps = b.steps = (r.count + STEP - 1) / STEP;
        point_at_gradient(t, &r);
        for (int64_t tap = 0; tap < t->taps; tap++) point_at_input(t, &r, tap);
        add_run(t, &r, &b, out);
        b.fresh = false;
    }
    _tile_release();
}

#else

bool cf_tiles_available(void)
{
    return false;
}

void cf_tiles_add(const cf_tiles *t, const uint16_t *in, const uint16_t *gy, bool fresh, float *out,
                  void *scratch)
{
    (void)t, (void)in, (void)gy, (void)fresh, (void)out, (void)scratch;
}

#endif
