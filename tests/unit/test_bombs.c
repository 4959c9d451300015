/* RELIABILITY 11: image bombs. Every one is decoded in a process of its own with the limit that
 * users have, which tells what it cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <tiff.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/bombs.h"
#include "tests/support/peak.h"
#include "worker/data/image.h"

enum { CPU_LIMIT = 60 /* s: a bomb that hangs is killed, on slow machines and under sanitizers */ };

/* Beside the file itself: what a refusal may cost, and what the largest image may. */
static const size_t small_bytes = (size_t)32 << 20, large_bytes = (size_t)512 << 20;

typedef struct verdict {
    cf_err err;
    char text[512];
    int height, width;
    size_t took_bytes;
    double took_seconds;
} verdict;

static void decode(picture p, int64_t max_pixels, verdict *v)
{
    cf_image image;
    struct timespec t;
    struct rlimit limit = {CPU_LIMIT, CPU_LIMIT};
    size_t before = peak_bytes();
    setrlimit(RLIMIT_CPU, &limit);
    v->err = cf_image_decode("bomb", p.bytes, p.n, max_pixels, &image);
    snprintf(v->text, sizeof v->text, "%s", v->err == CF_OK ? "read" : cf_err_text());
    v->height = image.height;
    v->width = image.width;
    v->took_bytes = peak_bytes() - before;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    v->took_seconds = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Takes p. */
static verdict set_off(const char *what, picture p, int64_t max_pixels)
{
    int ends[2], status = 0;
    verdict v = {0};
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        decode(p, max_pixels, &v);
        _exit(write(ends[1], &v, sizeof v) == (ssize_t)sizeof v ? 0 : 1);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], &v, sizeof v);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (got != (ssize_t)sizeof v || status != 0)
        fail_msg("%s: the process ended by %d", what, status);
    print_message("%-28s %8zu bytes: %.2f s, %3zu MB: %s\n", what, p.n, v.took_seconds,
                  v.took_bytes >> 20, v.text);
    free(p.bytes);
    return v;
}

static void assert_refused(const char *what, picture p, const char *words)
{
    verdict v = set_off(what, p, CF_IMAGE_DEFAULT_LIMIT);
    assert_int_equal(v.err, CF_E_DATA);
    if (!strstr(v.text, words)) fail_msg("\"%s\" is not in: %s", words, v.text);
    if (peak_is_ours()) assert_true(v.took_bytes < small_bytes);
}

static void assert_read(const char *what, picture p, int height, int width, size_t most_bytes)
{
    verdict v = set_off(what, p, CF_IMAGE_DEFAULT_LIMIT);
    if (v.err != CF_OK) fail_msg("%s: %s", what, v.text);
    assert_int_equal(v.height, height);
    assert_int_equal(v.width, width);
    if (peak_is_ours()) assert_true(v.took_bytes < most_bytes);
}

static picture png(uint32_t width, uint32_t height, int depth, int type)
{
    png_bomb b = {
        .width = width, .height = height, .depth = (uint8_t)depth, .color_type = (uint8_t)type};
    return bomb_png(&b);
}

static void png_over_the_limit_is_refused(void **state)
{
    (void)state;
    picture p = png(30000, 30000, 8, PNG_COLOR_TYPE_RGB);
    assert_in_range(p.n, 2 << 20, 3 << 20); /* 2.7 GB in 2.6 MB */
    assert_refused("PNG 30,000 squared", p, "over the limit of 64000000 (--max-pixels)");
    assert_refused("PNG one-bit, 65,535 squared", png(65535, 65535, 1, PNG_COLOR_TYPE_GRAY),
                   "over the limit of 64000000 (--max-pixels)");
    assert_refused("PNG of one row of 512 MB", png(64000000, 1, 16, PNG_COLOR_TYPE_RGBA),
                   "rows of PNG take 1024000000 bytes");
}

static void limit_can_be_raised(void **state)
{
    (void)state;
    enum { SIDE = 8001 };
    assert_refused("PNG one-bit, 8,001 squared", png(SIDE, SIDE, 1, PNG_COLOR_TYPE_GRAY), "limit");
    picture p = png(SIDE, SIDE, 1, PNG_COLOR_TYPE_GRAY);
    assert_true(p.n < 10000);
    verdict v = set_off("the same, limit raised", p, SIDE * SIDE);
    assert_int_equal(v.err, CF_OK);
    assert_int_equal(v.height, SIDE);
    if (peak_is_ours()) assert_true(v.took_bytes < large_bytes);
}

/* 1 GB of text in 1 MB, before an image of 8 x 8. */
static void png_chunks_that_no_pixel_needs_stay_packed(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *head;
        size_t n_head;
    } chunks[] = {
        {"zTXt", "Comment\0\0", 9}, {"iTXt", "Comment\0\1\0\0\0", 12}, {"iCCP", "profile\0\0", 9}};
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        png_bomb b = {.width = 8, .height = 8, .depth = 8, .color_type = PNG_COLOR_TYPE_RGB};
        b.chunk = chunks[i].kind;
        b.chunk_head = chunks[i].head;
        b.n_chunk_head = chunks[i].n_head;
        b.n_chunk = (uint64_t)1 << 30;
        char what[32];
        snprintf(what, sizeof what, "PNG with 1 GB of %s", b.chunk);
        assert_read(what, bomb_png(&b), 8, 8, small_bytes);
    }
}

static void png_data_behind_the_image_stays_packed(void **state)
{
    (void)state;
    png_bomb b = {.width = 8, .height = 8, .depth = 8, .color_type = PNG_COLOR_TYPE_RGB};
    b.n_data = (uint64_t)1 << 30;
    assert_refused("PNG of 8 x 8 in 1 GB", bomb_png(&b), "much more image data than the image has");
    b.n_data = 20000; /* some encoder's slip, which libpng and all viewers pass over */
    assert_read("PNG of 8 x 8 in 20 KB", bomb_png(&b), 8, 8, small_bytes);
}

static picture jpeg(int side, int n_scans)
{
    jpeg_form f = {.width = side,
                   .height = side,
                   .channels = 3,
                   .space = JCS_RGB,
                   .stored = JCS_RGB, /* no subsampling */
                   .n_scans = n_scans};
    uint8_t *pixels = calloc((size_t)(side * side), 3);
    picture p = picture_jpeg(&f, pixels);
    free(pixels);
    return p;
}

/* Height and width in the frame header (ITU T.81, B.2.2), then n zeros behind the end. */
static picture jpeg_lie(picture p, unsigned side, size_t n)
{
    size_t sof = 2;
    while (p.bytes[sof + 1] != 0xC0 && p.bytes[sof + 1] != 0xC2)
        sof += 2 + (size_t)(p.bytes[sof + 2] << 8 | p.bytes[sof + 3]);
    for (int i = 5; i < 9; i++) p.bytes[sof + (size_t)i] = (uint8_t)(i % 2 ? side >> 8 : side);
    p.bytes = realloc(p.bytes, p.n + n);
    memset(p.bytes + p.n, 0, n);
    p.n += n;
    return p;
}

static void jpeg_bombs_are_refused(void **state)
{
    (void)state;
    assert_refused("JPEG 65,500 squared", jpeg_lie(jpeg(16, 0), 65500, 0), "over the limit of");
    assert_refused("JPEG 7,900 squared, 700 B", jpeg_lie(jpeg(16, 0), 7900, 0), "cannot hold");
    /* large enough to hold a bit for every block */
    assert_refused("JPEG 7,900 squared, scans", jpeg_lie(jpeg(16, 10), 7900, 400000),
                   "scans of JPEG take");
    assert_refused("JPEG of 190 scans", jpeg(64, 190), "101 scans of 4096 pixels are too many");
}

/* Few pixels may have many scans, many pixels only few. */
static void jpeg_scans_are_bounded_by_the_limit(void **state)
{
    (void)state;
    verdict v = set_off("JPEG at the limit, 17 scans", jpeg(64, 17), 64 * 64);
    assert_int_equal(v.err, CF_E_DATA);
    assert_non_null(strstr(v.text, "17 scans of 4096 pixels are too many"));
    v = set_off("JPEG at the limit, 16 scans", jpeg(64, 16), 64 * 64);
    if (v.err != CF_OK) fail_msg("%s", v.text);
}

#define FORM(width, height, bits, compression)                                                     \
    {TIFFTAG_IMAGEWIDTH, width, 0}, {TIFFTAG_IMAGELENGTH, height, 0},                              \
        {TIFFTAG_BITSPERSAMPLE, bits, 0}, {TIFFTAG_COMPRESSION, compression, 0},                   \
    {                                                                                              \
        TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK, 0                                             \
    }
#define STRIP(samples, rows)                                                                       \
    {TIFFTAG_STRIPOFFSETS, 8, 0}, {TIFFTAG_SAMPLESPERPIXEL, samples, 0},                           \
        {TIFFTAG_ROWSPERSTRIP, rows, 0},                                                           \
    {                                                                                              \
        TIFFTAG_STRIPBYTECOUNTS, 0, 0                                                              \
    }
#define TILE(samples, width, height)                                                               \
    {TIFFTAG_SAMPLESPERPIXEL, samples, 0}, {TIFFTAG_TILEWIDTH, width, 0},                          \
        {TIFFTAG_TILELENGTH, height, 0}, {TIFFTAG_TILEOFFSETS, 8, 0},                              \
    {                                                                                              \
        TIFFTAG_TILEBYTECOUNTS, 0, 0                                                               \
    }

static void tiff_bombs_are_refused(void **state)
{
    (void)state;
    enum { MB = 1 << 20 };
    static const struct {
        const char *what, *words;
        uint64_t n_data;
        tiff_entry entries[12];
    } bombs[] = {
        {"TIFF 30,000 squared",
         "over the limit of 64000000 (--max-pixels)",
         (uint64_t)2700 * 1000 * 1000,
         {FORM(30000, 30000, 8, COMPRESSION_ADOBE_DEFLATE), STRIP(3, 30000)}},
        {"TIFF one strip of 2 GB",
         "blocks of TIFF take 2048000000 bytes",
         (uint64_t)2048 * MB,
         {FORM(8000, 8000, 16, COMPRESSION_ADOBE_DEFLATE), STRIP(16, 8000)}},
        {"TIFF one tile of 2 GB",
         "blocks of TIFF take 2048000000 bytes",
         (uint64_t)2048 * MB,
         {FORM(16, 16, 16, COMPRESSION_ADOBE_DEFLATE), TILE(16, 8000, 8000)}},
        {"TIFF one tile of 2^64",
         "",
         MB,
         {FORM(16, 16, 16, COMPRESSION_LZW), TILE(1, 0xFFFFFFF0, 0xFFFFFFF0)}},
        {"TIFF 2 GB of samples",
         "of samples is over the limit",
         (uint64_t)2048 * MB,
         {FORM(8000, 8000, 16, COMPRESSION_ADOBE_DEFLATE), STRIP(16, 1)}},
        {"TIFF 1 million tiles",
         "too many",
         (uint64_t)4100 * MB, /* a thousandth is their list */
         {FORM(1, 16000000, 1, COMPRESSION_CCITTFAX4),
          {TIFFTAG_TILEWIDTH, 16, 0},
          {TIFFTAG_TILELENGTH, 16, 0},
          {TIFFTAG_TILEOFFSETS, 8, 1000000},
          {TIFFTAG_TILEBYTECOUNTS, 8, 1000000}}},
        {"TIFF 64 million strips",
         "",
         MB,
         {FORM(1, 64000000, 8, COMPRESSION_ADOBE_DEFLATE), STRIP(1, 1)}},
        {"TIFF of 8 x 8 in 8,000 squared",
         "cannot hold",
         64,
         {FORM(8000, 8000, 8, COMPRESSION_ADOBE_DEFLATE), STRIP(1, 8000)}},
        {"TIFF 2^32 strip offsets",
         "",
         MB,
         {FORM(8, 8, 8, COMPRESSION_ADOBE_DEFLATE),
          {TIFFTAG_STRIPOFFSETS, 8, 0xFFFFFFFF},
          {TIFFTAG_ROWSPERSTRIP, 8, 0},
          {TIFFTAG_STRIPBYTECOUNTS, 8, 0xFFFFFFFF}}},
    };
    for (size_t i = 0; i < sizeof bombs / sizeof bombs[0]; i++)
        assert_refused(bombs[i].what, bomb_tiff(bombs[i].entries, bombs[i].n_data, 1, 0),
                       bombs[i].words);
}

/* What is within every limit: as large as an image may be, from the smallest of files. */
static void largest_images_stay_below_512_megabytes(void **state)
{
    (void)state;
    static const tiff_entry rgb[] = {{TIFFTAG_IMAGEWIDTH, 8000, 0},
                                     {TIFFTAG_IMAGELENGTH, 8000, 0},
                                     {TIFFTAG_BITSPERSAMPLE, 8, 0},
                                     {TIFFTAG_COMPRESSION, COMPRESSION_ADOBE_DEFLATE, 0},
                                     {TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB, 0},
                                     STRIP(3, 8000),
                                     {0}};
    assert_read("PNG 8,000 squared, RGBA of 16", png(8000, 8000, 16, PNG_COLOR_TYPE_RGBA), 8000,
                8000, large_bytes);
    assert_read("TIFF 8,000 squared, one strip", bomb_tiff(rgb, (uint64_t)8000 * 8000 * 3, 1, 0),
                8000, 8000, large_bytes);
}

/* Only the first page is looked for. */
static void tiff_of_very_many_pages_is_its_first(void **state)
{
    (void)state;
    static const tiff_entry entries[] = {
        FORM(8, 8, 8, COMPRESSION_ADOBE_DEFLATE), STRIP(1, 8), {0}};
    assert_read("TIFF of 60,000 pages", bomb_tiff(entries, 64, 60000, 0), 8, 8, small_bytes);
    assert_read("TIFF of pages in a ring", bomb_tiff(entries, 64, 3, 1), 8, 8, small_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_over_the_limit_is_refused),
        cmocka_unit_test(limit_can_be_raised),
        cmocka_unit_test(png_chunks_that_no_pixel_needs_stay_packed),
        cmocka_unit_test(png_data_behind_the_image_stays_packed),
        cmocka_unit_test(jpeg_bombs_are_refused),
        cmocka_unit_test(jpeg_scans_are_bounded_by_the_limit),
        cmocka_unit_test(tiff_bombs_are_refused),
        cmocka_unit_test(largest_images_stay_below_512_megabytes),
        cmocka_unit_test(tiff_of_very_many_pages_is_its_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
