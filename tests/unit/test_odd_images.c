/* RELIABILITY 12: valid but odd images, and what is none. Each has one outcome, stated here: packed
 * (with its colour), named among the damaged, or passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/cells.h"
#include "tests/support/bombs.h"
#include "tests/support/scratch.h"
#include "tests/support/tiffs.h"
#include "worker/data/pack.h"

enum { W = 12, H = 8, SIDE = 4, LONGEST_NAME = 255 };

/* ---- pictures of one colour -------------------------------------------------------------------
 */

static const uint8_t color[4] = {160, 80, 40, 0}; /* alpha 0: dropped, not multiplied */
enum { GREY = 100 };

/* samples: of one pixel, [n] bytes. */
static picture png(int depth, int type, int interlaced, const uint8_t *samples, size_t n)
{
    static const png_color palette[2] = {{0, 0, 0}, {160, 80, 40}};
    png_form f = {W, H, depth, type, interlaced, NULL, 0, 0};
    uint8_t row[W * 8], *rows[H];
    if (type == PNG_COLOR_TYPE_PALETTE) f.palette = palette, f.n_palette = 2;
    for (size_t i = 0; i < sizeof row; i++) row[i] = samples[i % n];
    for (int y = 0; y < H; y++) rows[y] = row;
    return picture_png(&f, rows);
}

static picture rgb_png(void)
{
    return png(8, PNG_COLOR_TYPE_RGB, 0, color, 3);
}

/* A chunk before one of another kind; takes p. */
static picture with_chunk(picture p, const char *before, const char *kind, const void *bytes,
                          size_t n)
{
    const uint8_t *found = memmem(p.bytes, p.n, before, 4);
    size_t at = (size_t)(found - p.bytes) - 4;
    picture q = {0};
    bomb_add(&q, p.bytes, at);
    bomb_add_chunk(&q, kind, bytes, n);
    bomb_add(&q, p.bytes + at, p.n - at);
    free(p.bytes);
    return q;
}

static picture with_head(picture p, const char *kind, const void *bytes, size_t n)
{
    return with_chunk(p, "IDAT", kind, bytes, n);
}

/* Of two frames, the second one black. */
static picture animated_png(void)
{
    uint8_t control[26] = {0, 0, 0, 0, 0, 0, 0, W, 0, 0, 0, H};
    picture p = with_head(rgb_png(), "acTL", (uint8_t[]){0, 0, 0, 2, 0, 0, 0, 0}, 8);
    p = with_head(p, "fcTL", control, sizeof control);
    control[3] = 1;
    p = with_chunk(p, "IEND", "fcTL", control, sizeof control);
    picture data = {0}, zeros = bomb_zeros((1 + W * 3) * H);
    bomb_add_number(&data, 2, 4, 1); /* its place in the sequence */
    bomb_add(&data, zeros.bytes, zeros.n);
    p = with_chunk(p, "IEND", "fdAT", data.bytes, data.n);
    free(zeros.bytes);
    free(data.bytes);
    return p;
}

static picture jpeg_with(jpeg_form f, const uint8_t *samples)
{
    uint8_t pixels[W * H * 4];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = samples[i % (size_t)f.channels];
    f.width = W;
    f.height = H;
    return picture_jpeg(&f, pixels);
}

static picture rgb_jpeg(int progressive)
{
    jpeg_form f = {.channels = 3, .space = JCS_RGB, .progressive = progressive};
    return jpeg_with(f, color);
}

static picture exif_jpeg(uint8_t orientation)
{
    uint8_t exif[] = "Exif\0\0MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\0\0\0\0\0\0\0";
    exif[25] = orientation;
    jpeg_form f = {.channels = 3, .space = JCS_RGB, .app1 = exif, .n_app1 = sizeof exif - 1};
    return jpeg_with(f, color);
}

static picture cmyk_jpeg(void)
{
    static const uint8_t inks[4] = {200, 100, 50, 204}; /* inverted, as the Adobe marker says */
    return jpeg_with((jpeg_form){.channels = 4, .space = JCS_CMYK}, inks);
}

static picture grey_jpeg(void)
{
    return jpeg_with((jpeg_form){.channels = 1, .space = JCS_GRAYSCALE}, (uint8_t[]){GREY});
}

static picture tiff(int samples, int bits, int pages, const char *mode)
{
    tiff_form f = {.samples = samples, .bits = bits, .n_pages = pages, .mode = mode};
    f.photometric = PHOTOMETRIC_RGB;
    f.flat = color;
    return tiff_make(&f);
}

static picture float_tiff(void)
{
    static const tiff_entry entries[] = {{TIFFTAG_IMAGEWIDTH, 4, 0},
                                         {TIFFTAG_IMAGELENGTH, 4, 0},
                                         {TIFFTAG_BITSPERSAMPLE, 32, 0},
                                         {TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK, 0},
                                         {TIFFTAG_STRIPOFFSETS, 8, 0},
                                         {TIFFTAG_STRIPBYTECOUNTS, 64, 0},
                                         {TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_IEEEFP, 0},
                                         {0}};
    return bomb_tiff(entries, (uint64_t)1 << 20, 1, 0);
}

static picture cmyk_tiff(void)
{
    static const uint8_t inks[4] = {95, 175, 215, 0};
    tiff_form f = {.samples = 4, .bits = 8, .photometric = PHOTOMETRIC_SEPARATED, .flat = inks};
    return tiff_make(&f);
}

static picture text(const char *words)
{
    picture p = {0};
    bomb_add(&p, words, strlen(words));
    return p;
}

/* All but the last n bytes; takes p. */
static picture cut(picture p, size_t n)
{
    p.n -= n;
    return p;
}

static picture with_tail(picture p)
{
    picture q = {0};
    bomb_add(&q, p.bytes, p.n);
    bomb_add(&q, "<html>trailing garbage</html>", 29);
    free(p.bytes);
    return q;
}

/* ---- one folder of them all -------------------------------------------------------------------
 */

typedef enum outcome { PACKED, PACKED_GREY, NAMED, PASSED_OVER } outcome;

typedef struct odd {
    char name[LONGEST_NAME + 1];
    outcome outcome;
    const char *words; /* NAMED: what the message says */
} odd;

typedef struct fixture {
    char dir[CF_PATH_MAX], source[CF_PATH_MAX], class_dir[CF_PATH_MAX], output[CF_PATH_MAX];
    odd list[100];
    int n;
    cf_pack_result result;
    cf_cells cells;
} fixture;

static const char *expect(fixture *f, const char *name, outcome o, const char *words)
{
    static char path[CF_PATH_MAX];
    odd *item = &f->list[f->n++];
    snprintf(item->name, sizeof item->name, "%s", name);
    item->outcome = o;
    item->words = words;
    assert_int_equal(cf_path_join(path, sizeof path, f->class_dir, name), CF_OK);
    return path;
}

/* Takes p. */
static void add(fixture *f, const char *name, picture p, outcome o, const char *words)
{
    FILE *file = fopen(expect(f, name, o, words), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(p.bytes, 1, p.n, file), p.n);
    assert_int_equal(fclose(file), 0);
    free(p.bytes);
}

static void add_pngs(fixture *f)
{
    static const uint8_t wide[8] = {160, 0, 80, 255, 40, 77, 0, 0};
    static const uint8_t transparent[6] = {0, 160, 0, 80, 0, 40};
    static const char profile[] = "a profile\0\0x\x9c this is no deflate stream";
    static const uint8_t exif[] = "MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0";
    add(f, "rgb16.png", png(16, PNG_COLOR_TYPE_RGB, 0, wide, 6), PACKED, NULL);
    add(f, "rgba8.png", png(8, PNG_COLOR_TYPE_RGBA, 0, color, 4), PACKED, NULL);
    add(f, "rgba16.png", png(16, PNG_COLOR_TYPE_RGBA, 1, wide, 8), PACKED, NULL);
    add(f, "interlaced.png", png(8, PNG_COLOR_TYPE_RGB, 1, color, 3), PACKED, NULL);
    add(f, "palette.png", png(1, PNG_COLOR_TYPE_PALETTE, 0, (uint8_t[]){0xFF}, 1), PACKED, NULL);
    add(f, "palette-alpha.png",
        with_head(png(8, PNG_COLOR_TYPE_PALETTE, 0, (uint8_t[]){1}, 1), "tRNS", "\0\0", 2), PACKED,
        NULL);
    add(f, "one-transparent.png", with_head(rgb_png(), "tRNS", transparent, 6), PACKED, NULL);
    add(f, "grey.png", png(8, PNG_COLOR_TYPE_GRAY, 0, (uint8_t[]){GREY}, 1), PACKED_GREY, NULL);
    add(f, "grey-alpha.png", png(8, PNG_COLOR_TYPE_GA, 0, (uint8_t[]){GREY, 0}, 2), PACKED_GREY,
        NULL);
    add(f, "grey16.png", png(16, PNG_COLOR_TYPE_GRAY, 0, (uint8_t[]){GREY, 255}, 2), PACKED_GREY,
        NULL);
    add(f, "broken-profile.png", with_head(rgb_png(), "iCCP", profile, sizeof profile - 1), PACKED,
        NULL);
    add(f, "animated.png", animated_png(), PACKED, NULL);
    add(f, "exif-in.png", with_head(rgb_png(), "eXIf", exif, sizeof exif - 1), PACKED, NULL);
    add(f, "tail.png", with_tail(rgb_png()), PACKED, NULL);
    add(f, "cut.png", cut(rgb_png(), 20), NAMED, "damaged PNG");
    add(f, "no-end.png", cut(rgb_png(), 12), NAMED, "damaged PNG: the file ends too early");
}

static void add_jpegs(fixture *f)
{
    for (uint8_t o = 0; o <= 9; o++) { /* 0 and 9 are no orientations: shown as stored */
        char name[32];
        snprintf(name, sizeof name, "orientation-%d.jpg", o);
        add(f, name, exif_jpeg(o), PACKED, NULL);
    }
    add(f, "progressive.jpg", rgb_jpeg(1), PACKED, NULL);
    add(f, "cmyk.jpeg", cmyk_jpeg(), PACKED, NULL);
    add(f, "grey.jpg", grey_jpeg(), PACKED_GREY, NULL);
    add(f, "tail.jpg", with_tail(rgb_jpeg(0)), PACKED, NULL);
    add(f, "cut.jpg", cut(rgb_jpeg(0), 30), NAMED, "damaged JPEG");
    add(f, "no-end.jpg", cut(rgb_jpeg(1), 2), NAMED, "damaged JPEG");
}

static void add_tiffs(fixture *f)
{
    add(f, "rgb.tif", tiff(3, 8, 1, "w"), PACKED, NULL);
    add(f, "rgba16.tiff", tiff(4, 16, 1, "wb"), PACKED, NULL);
    add(f, "big.tif", tiff(3, 8, 1, "w8"), PACKED, NULL);
    add(f, "pages.tif", tiff(3, 8, 3, "w"), PACKED, NULL);
    add(f, "cmyk.tif", cmyk_tiff(), PACKED, NULL);
    add(f, "tail.tif", with_tail(tiff(3, 8, 1, "w")), PACKED, NULL);
    add(f, "float.tif", float_tiff(), NAMED, "signed or floating-point");
    add(f, "cut.tif", cut(tiff(3, 8, 1, "w"), 100), NAMED, "damaged TIFF");
}

static void add_names(fixture *f)
{
    char longest[LONGEST_NAME + 1];
    memset(longest, 'n', LONGEST_NAME);
    memcpy(longest + LONGEST_NAME - 4, ".png", 5);
    add(f, longest, rgb_png(), PACKED, NULL);
    add(f, "UPPER.PNG", rgb_png(), PACKED, NULL);
    add(f, "a png in truth.jpg", rgb_png(), PACKED, NULL);
    add(f, "a jpeg in truth.TIF", rgb_jpeg(0), PACKED, NULL);
    add(f, "\xc3\xa4 \"quoted\", 'so' <b>.png", rgb_png(), PACKED, NULL);
    add(f, "=cmd().png", rgb_png(), PACKED, NULL);
    add(f, "-rf.png", rgb_png(), PACKED, NULL);
    add(f, "two\nlines.png", rgb_png(), NAMED, "control characters");
    add(f, "escape\x1b[2J.png", rgb_png(), NAMED, "control characters");
    add(f, "not\xFFutf8.png", rgb_png(), NAMED, "not UTF-8");
    add(f, "no ending", rgb_png(), PASSED_OVER, NULL);
    add(f, "notes.txt", text("not an image"), PASSED_OVER, NULL);
    add(f, ".hidden.png", rgb_png(), PASSED_OVER, NULL);
}

static void add_other_formats(fixture *f)
{
    add(f, "empty.png", text(""), NAMED, "empty file");
    add(f, "text.png", text("hello"), NAMED, "not an image");
    add(f, "old.bmp", text("BM and so on"), NAMED, "BMP images are not read");
    add(f, "old.gif", text("GIF89a and so on"), NAMED, "GIF images are not read");
    add(f, "new.webp", text("RIFF....WEBP"), NAMED, "not an image");
}

static void add_no_files(fixture *f)
{
    add(f, "target.png", rgb_png(), PACKED, NULL);
    assert_int_equal(symlink("target.png", expect(f, "link.png", PACKED, NULL)), 0);
    assert_int_equal(symlink("nowhere", expect(f, "dangling.png", NAMED, "No such file")), 0);
    assert_int_equal(symlink("ring-b.png", expect(f, "ring-a.png", NAMED, "symbolic links")), 0);
    assert_int_equal(symlink("ring-a.png", expect(f, "ring-b.png", NAMED, "symbolic links")), 0);
    assert_int_equal(symlink("/dev/zero", expect(f, "zero.png", NAMED, "not a regular file")), 0);
    assert_int_equal(symlink("..", expect(f, "up.png", NAMED, "not a regular file")), 0);
    assert_int_equal(mkfifo(expect(f, "pipe.png", NAMED, "not a regular file"), 0600), 0);
    assert_int_equal(mkdir(expect(f, "folder.jpg", PASSED_OVER, NULL), 0700), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = expect(f, "socket.png", NAMED, "not a regular file");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    size_t n = strlen(path);
    memcpy(address.sun_path, path, n < sizeof address.sun_path ? n : 0);
    if (fd < 0 || n >= sizeof address.sun_path ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        f->n--; /* where no socket could be made there is none to be named */
    if (fd >= 0) close(fd);
    if (geteuid() != 0) { /* root may read all */
        add(f, "locked.png", rgb_png(), NAMED, "Permission denied");
        char locked[CF_PATH_MAX];
        assert_int_equal(cf_path_join(locked, sizeof locked, f->class_dir, "locked.png"), CF_OK);
        assert_int_equal(chmod(locked, 0), 0);
    }
}

static int make(void **state)
{
    static fixture f;
    *state = &f;
    if (!scratch_make(f.dir)) return -1;
    assert_int_equal(cf_path_join(f.source, sizeof f.source, f.dir, "images"), CF_OK);
    assert_int_equal(cf_path_join(f.class_dir, sizeof f.class_dir, f.source, "A"), CF_OK);
    assert_int_equal(cf_path_join(f.output, sizeof f.output, f.dir, "x.cells"), CF_OK);
    assert_int_equal(cf_dir_make(f.class_dir), CF_OK);
    add_pngs(&f);
    add_jpegs(&f);
    add_tiffs(&f);
    add_names(&f);
    add_other_formats(&f);
    add_no_files(&f);
    const cf_source source = {.path = f.source, .site = "", .name = ""};
    cf_pack_options options = {.sources = &source,
                               .n_sources = 1,
                               .scheme = "auto",
                               .output = f.output,
                               .cut = {.size = SIDE},
                               .threads = 2,
                               .max_pixels = 1 << 20,
                               .stains = CF_PACK_NO_STAINS,
                               .damaged = CF_PACK_SKIP};
    if (cf_pack(&options, &f.result) != CF_OK || cf_cells_open(f.output, &f.cells) != CF_OK) {
        fprintf(stderr, "%s\n", cf_err_text());
        return -1;
    }
    return 0;
}

static int clear(void **state)
{
    fixture *f = *state;
    cf_cells_close(&f->cells);
    cf_pack_result_fini(&f->result);
    scratch_remove(f->dir);
    return 0;
}

/* ---- the outcomes -----------------------------------------------------------------------------
 */

static int64_t find_packed(const fixture *f, const char *name)
{
    for (int64_t i = 0; i < f->cells.n; i++)
        if (strcmp(f->cells.ids[i] + 2, name) == 0) return i; /* behind "A/" */
    return -1;
}

/* The message about a file, in which what cannot be printed is a question mark. */
static const char *find_named(const fixture *f, const char *name)
{
    char shown[LONGEST_NAME + 3] = "/";
    for (size_t i = 0; name[i]; i++) {
        unsigned char c = (unsigned char)name[i];
        shown[i + 1] = c < 0x20 || c == 0x7F || c == 0xFF ? '?' : name[i];
    }
    strcat(shown, ":");
    for (size_t i = 0; i < f->result.damaged.n; i++)
        if (strstr(f->result.damaged.items[i], shown)) return f->result.damaged.items[i];
    return NULL;
}

static void assert_color(const fixture *f, int64_t image, const odd *item)
{
    const uint8_t *p = cf_cells_image(&f->cells, image);
    for (int i = 0; i < SIDE * SIDE * 3; i++) {
        int wanted = item->outcome == PACKED_GREY ? GREY : color[i % 3];
        if (abs(p[i] - wanted) > 2) /* JPEG at quality 95 */
            fail_msg("%s: a pixel is %d, expected %d", item->name, p[i], wanted);
    }
}

static void every_odd_file_has_its_outcome(void **state)
{
    const fixture *f = *state;
    int n_packed = 0, n_named = 0, n_over = 0;
    for (int i = 0; i < f->n; i++) {
        const odd *item = &f->list[i];
        int64_t image = find_packed(f, item->name);
        const char *named = find_named(f, item->name);
        bool packed = item->outcome == PACKED || item->outcome == PACKED_GREY;
        if (packed != (image >= 0) || (item->outcome == NAMED) != (named != NULL))
            fail_msg("%s: %s, %s", item->name, image >= 0 ? "packed" : "not packed",
                     named ? named : "not named");
        if (packed) assert_color(f, image, item);
        if (named && !strstr(named, item->words)) fail_msg("no \"%s\" in: %s", item->words, named);
        n_packed += packed;
        n_named += named != NULL;
        n_over += item->outcome == PASSED_OVER;
    }
    print_message("%d files: %d packed, %d named, %d passed over\n", f->n, n_packed, n_named,
                  n_over);
    assert_int_equal(f->cells.n, n_packed);
    assert_int_equal(f->result.damaged.n, n_named);
}

static void messages_stay_on_one_line_each(void **state)
{
    const fixture *f = *state;
    for (size_t i = 0; i < f->result.damaged.n; i++)
        for (const char *p = f->result.damaged.items[i]; *p; p++)
            assert_true((unsigned char)*p >= 0x20 && *p != 0x7F);
}

/* Orientation 6: the lower left corner of what is stored comes to the upper left; the chunk may
 * stand before the pixels or behind them. */
static void png_orientation_is_applied(void **state)
{
    static const uint8_t exif[] = "MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0";
    static const char *const places[] = {"IDAT", "IEND"};
    (void)state;
    for (int k = 0; k < 2; k++) {
        uint8_t upper[] = "aaabbbccc", lower[] = "dddeeefff", *rows[] = {upper, lower};
        png_form f = {3, 2, 8, PNG_COLOR_TYPE_RGB, 0, NULL, 0, 0};
        picture p = with_chunk(picture_png(&f, rows), places[k], "eXIf", exif, sizeof exif - 1);
        cf_image image = {0};
        assert_int_equal(cf_image_decode("turned", p.bytes, p.n, 100, &image), CF_OK);
        assert_int_equal(image.height, 3);
        assert_int_equal(image.width, 2);
        for (int i = 0; i < 6; i++) assert_int_equal(image.pixels[3 * i], "daebfc"[i]);
        cf_image_fini(&image);
        free(p.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_odd_file_has_its_outcome),
        cmocka_unit_test(messages_stay_on_one_line_each),
        cmocka_unit_test(png_orientation_is_applied),
    };
    return cmocka_run_group_tests(tests, make, clear);
}
