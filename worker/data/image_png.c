/* PNG through libpng: every colour type becomes 8-bit RGB. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "kernels/base/buf.h"
#include "worker/data/decoders.h"

typedef struct png_job {
    const char *name;     /* borrowed */
    const uint8_t *bytes; /* borrowed, [n] */
    size_t n, at;
    uint64_t n_data, most_data; /* bytes of IDAT read, and what the image can need of them */
    int64_t max_pixels;
    cf_image *image; /* borrowed */
    char message[128];
} png_job;

static void on_error(png_structp png, png_const_charp text)
{
    png_job *job = png_get_error_ptr(png);
    snprintf(job->message, sizeof job->message, "%s", text);
    png_longjmp(png, 1);
}

/* Warnings are about ancillary chunks, which no pixel here depends on. */
static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

enum { IDAT = 0x49444154, CHUNK_BYTES = 1 << 16 };

/* Data behind the last row is unpacked by the library up to its end, however many gigabytes: a
 * thousandth of them is in the file, and that much ends the image. */
static void on_read(png_structp png, png_bytep out, size_t n)
{
    png_job *job = png_get_io_ptr(png);
    if (n > job->n - job->at) png_error(png, "the file ends too early");
    if (png_get_io_chunk_type(png) == IDAT && (job->n_data += n) > job->most_data)
        png_error(png, "much more image data than the image has");
    memcpy(out, job->bytes + job->at, n);
    job->at += n;
}

/* Texts, colour profiles and the like are passed over unread: they are where compressed bombs hide.
 */
static void skip_ancillary(png_structp png)
{
    static const png_byte names[] = "zTXt\0iTXt\0tEXt\0iCCP\0sPLT\0hIST\0tIME";
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, names, 7);
    png_set_chunk_malloc_max(png, 1 << 20);
}

static void convert_to_rgb8(png_structp png)
{
    png_set_strip_16(png);
    png_set_palette_to_rgb(png);
    png_set_expand_gray_1_2_4_to_8(png);
    png_set_gray_to_rgb(png);
    png_set_strip_alpha(png);
}

static int orientation(png_structp png, png_infop info)
{
    png_bytep exif = NULL;
    png_uint_32 n = 0;
    if (png_get_eXIf_1(png, info, &n, &exif) == 0 || exif == NULL) return 1;
    return cf_exif_tiff_orientation(exif, n);
}

/* Runs under the jump of cf_png_decode: it holds nothing that the job does not know. */
static cf_err decode(png_structp png, png_infop info, png_job *job)
{
    png_set_read_fn(png, job, on_read);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours is on their product */
    skip_ancillary(png);
    png_read_info(png, info);
    int64_t height = png_get_image_height(png, info), width = png_get_image_width(png, info);
    if (height > job->max_pixels / width)
        return cf_image_alloc(job->name, height, width, job->max_pixels, job->image);
    /* deflate shrinks by 1,032 at most: a header that promises more is refused before allocating */
    if ((uint64_t)height * png_get_rowbytes(png, info) / 1032 > job->n)
        return cf_fail(CF_E_DATA, "%s: damaged PNG: %zu bytes cannot hold %lld x %lld pixels",
                       job->name, job->n, (long long)width, (long long)height);
    /* the library keeps this row and the one before */
    CF_TRY(cf_image_check_room(job->name, "rows of PNG", 2 * (uint64_t)png_get_rowbytes(png, info),
                               job->max_pixels));
    job->most_data = 2 * (uint64_t)height * png_get_rowbytes(png, info) + CHUNK_BYTES;
    convert_to_rgb8(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    CF_TRY(cf_image_alloc(job->name, height, width, job->max_pixels, job->image));
    size_t row_bytes = (size_t)width * 3;
    if (png_get_rowbytes(png, info) != row_bytes)
        return cf_fail(CF_E_UNEXPECTED, "%s: libpng gives rows of %zu bytes, expected %zu",
                       job->name, png_get_rowbytes(png, info), row_bytes);
    /* an interlaced image is built up over its passes: what a pass leaves out has to be defined */
    if (passes > 1) memset(job->image->pixels, 0, row_bytes * (size_t)height);
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < height; y++)
            png_read_row(png, job->image->pixels + (size_t)y * row_bytes, NULL);
    png_read_end(png, info); /* eXIf may stand behind the pixels */
    return cf_image_orient(job->image, orientation(png, info));
}

cf_err cf_png_decode(const char *name, const uint8_t *bytes, size_t n, int64_t max_pixels,
                     cf_image *image)
{
    png_job job = {.name = name,
                   .bytes = bytes,
                   .n = n,
                   .most_data = UINT64_MAX,
                   .max_pixels = max_pixels,
                   .image = image};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return cf_fail(CF_E_UNEXPECTED, "%s: no memory for libpng", name);
    }
    cf_err err;
    if (setjmp(png_jmpbuf(png)) == 0)
        err = decode(png, info, &job);
    else
        err = cf_fail(CF_E_DATA, "%s: damaged PNG: %s", name, job.message);
    png_destroy_read_struct(&png, &info, NULL);
    if (err != CF_OK) cf_image_fini(image);
    return err;
}

typedef struct png_out {
    cf_buf buf;
    char message[128];
} png_out;

static void on_write_error(png_structp png, png_const_charp text)
{
    png_out *out = png_get_error_ptr(png);
    snprintf(out->message, sizeof out->message, "%s", text);
    png_longjmp(png, 1);
}

static void on_write(png_structp png, png_bytep bytes, size_t n)
{
    png_out *out = png_get_io_ptr(png);
    cf_buf_add(&out->buf, bytes, n);
}

static void on_flush(png_structp png)
{
    (void)png;
}

static cf_err encode(const char *path, const uint8_t *pixels, int height, int width, png_out *out)
{
    png_structp png =
        png_create_write_struct(PNG_LIBPNG_VER_STRING, out, on_write_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return cf_fail(CF_E_UNEXPECTED, "%s: no memory for libpng", path);
    }
    cf_err err = CF_OK;
    if (setjmp(png_jmpbuf(png)) == 0) {
        png_set_write_fn(png, out, on_write, on_flush);
        png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB,
                     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_set_compression_level(png, 3); /* noise does not shrink: higher levels only take time */
        png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
        png_write_info(png, info);
        for (int y = 0; y < height; y++) png_write_row(png, pixels + (size_t)y * (size_t)width * 3);
        png_write_end(png, info);
    } else {
        err = cf_fail(CF_E_UNEXPECTED, "%s: libpng: %s", path, out->message);
    }
    png_destroy_write_struct(&png, &info);
    return err;
}

cf_err cf_image_write_png(const char *path, const uint8_t *pixels, int height, int width)
{
    /* Without the fsync of cf_file_save: a thousand small images would wait a thousand times for
     * the disk, and a PNG cut by a crash is found by its reader. */
    png_out out = {0};
    cf_err err = encode(path, pixels, height, width, &out);
    if (err == CF_OK) err = cf_buf_check(&out.buf);
    if (err == CF_OK) err = cf_image_save(path, out.buf.data, out.buf.len);
    cf_buf_fini(&out.buf);
    return err;
}
