/* TIFF through libtiff: strips and tiles, the first page, every sample cut to 8 bits.
 *
 * Not through the library's RGBA interface where colour is plain: that multiplies colours by an
 * unassociated alpha, and the published sets are trained with the alpha dropped. Read first:
 * decode. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tiffio.h>

#include "worker/data/decoders.h"

enum { MAX_SAMPLES = 16 };

typedef struct tiff_job {
    const char *name;     /* borrowed */
    const uint8_t *bytes; /* borrowed, [n] */
    size_t n, at;
    int64_t max_pixels;
    cf_image *image;   /* borrowed */
    bool in_pixels;    /* headers are read: from here on a warning is the end of the image */
    bool failed;       /* message holds the first failure */
    char message[256]; /* of the library */
    uint32_t x, y;     /* the block being read */

    uint32_t width, height;
    uint16_t bits, samples, photometric, planar, compression;
    bool tiled;
    uint32_t block_width, block_height; /* of a tile or a strip */
    uint8_t palette[256][3];            /* where photometric is palette */
} tiff_job;

CF_PRINTF(3, 0) static void keep(tiff_job *job, const char *module, const char *fmt, va_list args)
{
    if (job->failed) return; /* what follows the first failure are its consequences */
    job->failed = true;
    int n = module ? snprintf(job->message, sizeof job->message, "%.64s: ", module) : 0;
    vsnprintf(job->message + n, sizeof job->message - (size_t)n, fmt, args);
}

CF_PRINTF(4, 0)
static int on_error(TIFF *tiff, void *job, const char *module, const char *fmt, va_list args)
{
    (void)tiff;
    keep(job, module, fmt, args);
    return 1; /* nothing goes to the library's own handler, which prints */
}

/* In the header they are about tags that no pixel depends on; in the pixels they say that the codec
 * made something up. */
CF_PRINTF(4, 0)
static int on_warning(TIFF *tiff, void *job, const char *module, const char *fmt, va_list args)
{
    (void)tiff;
    if (((tiff_job *)job)->in_pixels) keep(job, module, fmt, args);
    return 1;
}

static tmsize_t on_read(thandle_t handle, void *out, tmsize_t n)
{
    tiff_job *job = handle;
    size_t left = job->n - job->at;
    size_t k = (size_t)n < left ? (size_t)n : left;
    memcpy(out, job->bytes + job->at, k);
    job->at += k;
    return (tmsize_t)k;
}

static tmsize_t on_write(thandle_t handle, void *bytes, tmsize_t n)
{
    (void)handle, (void)bytes, (void)n;
    return -1;
}

static toff_t on_seek(thandle_t handle, toff_t offset, int whence)
{
    tiff_job *job = handle;
    uint64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? job->at : job->n;
    uint64_t to = base + offset;
    job->at = to > job->n ? job->n : (size_t)to;
    return to;
}

static int on_close(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t on_size(thandle_t handle)
{
    return ((tiff_job *)handle)->n;
}

static cf_err damaged(const tiff_job *job)
{
    const char *message = job->failed ? job->message : "no reason given by libtiff";
    if (!job->in_pixels) return cf_fail(CF_E_DATA, "%s: damaged TIFF: %s", job->name, message);
    return cf_fail(CF_E_DATA, "%s: damaged TIFF: %s at pixel %u, %u: %s", job->name,
                   job->tiled ? "tile" : "strip", job->x, job->y, message);
}

static cf_err unread(const tiff_job *job, const char *what, unsigned found)
{
    return cf_fail(CF_E_DATA, "%s: TIFF with %s %u is not read", job->name, what, found);
}

static bool is_plain(uint16_t photometric)
{
    return photometric == PHOTOMETRIC_MINISWHITE || photometric == PHOTOMETRIC_MINISBLACK ||
           photometric == PHOTOMETRIC_RGB || photometric == PHOTOMETRIC_PALETTE;
}

/* What no codec can exceed, output bytes for an input byte; 0: not known. */
static uint64_t most_expansion(uint16_t compression)
{
    switch (compression) {
    case COMPRESSION_NONE:
        return 1;
    case COMPRESSION_PACKBITS:
        return 64; /* 2 bytes hold a run of 128 */
    case COMPRESSION_DEFLATE:
    case COMPRESSION_ADOBE_DEFLATE:
        return 1032;
    case COMPRESSION_LZW:
        return 4096; /* a code of at least 9 bits is a string under 2^12 bytes */
    default:
        return 0;
    }
}

/* What n samples' pixels take in the file's own form. */
static uint64_t stored_bytes(const tiff_job *job, uint64_t n_pixels)
{
    return (n_pixels * job->samples * job->bits + 7) / 8;
}

/* Blocks are decoded whole, also where they reach over the image's border, and one at a time. */
static cf_err check_blocks(const tiff_job *job)
{
    uint64_t w = job->block_width, h = job->block_height, n_pixels = w * h;
    CF_TRY(cf_image_check_room(job->name, "blocks of TIFF", stored_bytes(job, n_pixels),
                               job->max_pixels));
    if (job->tiled)
        n_pixels *= ((job->width + w - 1) / w) * ((job->height + h - 1) / h);
    else
        n_pixels = (uint64_t)job->width * job->height;
    /* tiles over the border are at most as much again; all samples are decoded, at most four of 16
     * bits of them at the limit */
    if (n_pixels > 2 * (uint64_t)job->max_pixels + w * h)
        return cf_fail(CF_E_DATA, "%s: TIFF tiles of %u x %u pixels are too many for %u x %u",
                       job->name, job->block_width, job->block_height, job->width, job->height);
    uint64_t bytes = stored_bytes(job, n_pixels), most = 8 * (uint64_t)job->max_pixels + (1 << 20);
    if (bytes <= most) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "%s: TIFF of %llu bytes of samples is over the limit of %llu (8 a pixel of "
                   "--max-pixels)",
                   job->name, (unsigned long long)bytes, (unsigned long long)most);
}

/* A header that promises more than the file can hold, or blocks far larger than any image, are
 * refused before anything of that size is allocated. */
static cf_err check_sizes(const tiff_job *job)
{
    if (job->width == 0 || job->height == 0 ||
        (int64_t)job->height > job->max_pixels / (int64_t)job->width)
        return cf_image_alloc(job->name, job->height, job->width, job->max_pixels, job->image);
    if (job->block_width == 0 || job->block_height == 0 ||
        (int64_t)job->block_height > job->max_pixels / (int64_t)job->block_width)
        return cf_fail(CF_E_DATA, "%s: TIFF blocks of %u x %u pixels are over the limit of %lld",
                       job->name, job->block_width, job->block_height, (long long)job->max_pixels);
    if (job->samples == 0 || job->samples > MAX_SAMPLES)
        return unread(job, "samples a pixel of", job->samples);
    CF_TRY(check_blocks(job));
    uint64_t most = most_expansion(job->compression);
    if (most > 0 && stored_bytes(job, (uint64_t)job->width * job->height) / most > job->n)
        return cf_fail(CF_E_DATA, "%s: damaged TIFF: %zu bytes cannot hold %u x %u pixels",
                       job->name, job->n, job->width, job->height);
    return CF_OK;
}

static cf_err read_header(TIFF *tiff, tiff_job *job)
{
    uint16_t format = SAMPLEFORMAT_UINT;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &job->width);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &job->height);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &job->bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &job->samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &job->planar);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &job->compression);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    if (!TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &job->photometric))
        job->photometric = job->samples >= 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK;
    job->tiled = TIFFIsTiled(tiff) != 0;
    job->block_width = job->width;
    if (job->tiled) {
        TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &job->block_width);
        TIFFGetField(tiff, TIFFTAG_TILELENGTH, &job->block_height);
    } else {
        TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &job->block_height);
        if (job->block_height > job->height) job->block_height = job->height;
    }
    if (format != SAMPLEFORMAT_UINT && format != SAMPLEFORMAT_VOID)
        return cf_fail(CF_E_DATA,
                       "%s: TIFF samples are signed or floating-point numbers "
                       "(expected unsigned integers)",
                       job->name);
    return check_sizes(job);
}

/* Maps are of 16 bits; some writers leave 8-bit values in them, as the library's own readers know.
 */
static cf_err read_palette(TIFF *tiff, tiff_job *job)
{
    uint16_t *map[3];
    if (!TIFFGetField(tiff, TIFFTAG_COLORMAP, &map[0], &map[1], &map[2]))
        return cf_fail(CF_E_DATA, "%s: damaged TIFF: a palette image without palette", job->name);
    int n = 1 << job->bits;
    bool wide = false;
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < n; i++) wide |= map[c][i] >= 256;
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < n; i++)
            job->palette[i][c] = (uint8_t)(wide ? map[c][i] >> 8 : map[c][i]);
    return CF_OK;
}

/* Sample i of a row, not scaled; of 16 bits the upper 8, as libpng's strip_16. */
static unsigned sample(const uint8_t *row, size_t i, unsigned bits)
{
    if (bits == 8) return row[i];
    if (bits == 16) { /* in the machine's own byte order: the library has swapped it */
        uint16_t v;
        memcpy(&v, row + 2 * i, sizeof v);
        return v >> 8;
    }
    size_t bit = i * bits;
    return (unsigned)row[bit / 8] >> (8 - bits - bit % 8) & ((1u << bits) - 1);
}

/* One row of a block. plane: which colour a row of separate planes is; -1: all, pixel by pixel.
 * out: [n][3]. */
static void put_row(const tiff_job *job, const uint8_t *row, uint32_t n, int plane, uint8_t *out)
{
    size_t stride = plane >= 0 ? 1 : job->samples;
    unsigned top = job->bits < 8 ? (1u << job->bits) - 1 : 255;
    for (uint32_t x = 0; x < n; x++, out += 3) {
        unsigned v = sample(row, x * stride, job->bits);
        if (job->photometric == PHOTOMETRIC_PALETTE) {
            memcpy(out, job->palette[v], 3);
        } else if (job->photometric == PHOTOMETRIC_RGB) {
            if (plane >= 0) {
                out[plane] = (uint8_t)(v * 255 / top);
                continue;
            }
            for (size_t c = 0; c < 3; c++)
                out[c] = (uint8_t)(sample(row, x * stride + c, job->bits) * 255 / top);
        } else {
            if (job->photometric == PHOTOMETRIC_MINISWHITE) v = top - v;
            memset(out, (int)(v * 255 / top), 3);
        }
    }
}

/* The block that begins at x, y of a plane. buf: [n_buf], for the block. */
static bool read_block(TIFF *tiff, tiff_job *job, uint32_t x, uint32_t y, int plane, uint8_t *buf,
                       tmsize_t n_buf)
{
    uint16_t s = (uint16_t)(plane < 0 ? 0 : plane);
    job->x = x;
    job->y = y;
    uint32_t rows = job->height - y < job->block_height ? job->height - y : job->block_height;
    uint32_t columns = job->width - x < job->block_width ? job->width - x : job->block_width;
    tmsize_t row_bytes = job->tiled ? TIFFTileRowSize(tiff) : TIFFScanlineSize(tiff);
    tmsize_t need = (tmsize_t)rows * row_bytes;
    if (row_bytes <= 0 || need > n_buf) return false;
    tmsize_t got = job->tiled
                       ? TIFFReadEncodedTile(tiff, TIFFComputeTile(tiff, x, y, 0, s), buf, n_buf)
                       : TIFFReadEncodedStrip(tiff, TIFFComputeStrip(tiff, y, s), buf, need);
    if (got < need || job->failed) return false;
    uint8_t *out = job->image->pixels + 3 * ((size_t)y * job->width + x);
    for (uint32_t r = 0; r < rows; r++)
        put_row(job, buf + (size_t)r * (size_t)row_bytes, columns, plane,
                out + (size_t)r * job->width * 3);
    return true;
}

/* Grey, palette and RGB: block by block; samples beyond the colours are never looked at. */
static cf_err read_plain(TIFF *tiff, tiff_job *job)
{
    int colors = job->photometric == PHOTOMETRIC_RGB ? 3 : 1;
    bool separate = job->planar == PLANARCONFIG_SEPARATE && job->samples > 1;
    if (job->bits != 1 && job->bits != 2 && job->bits != 4 && job->bits != 8 && job->bits != 16)
        return unread(job, "bits a sample of", job->bits);
    if (job->photometric == PHOTOMETRIC_PALETTE && job->bits > 8)
        return unread(job, "a palette of bits", job->bits);
    if (job->samples < colors)
        return unread(job, "RGB colours and samples a pixel of", job->samples);
    if (job->photometric == PHOTOMETRIC_PALETTE) CF_TRY(read_palette(tiff, job));
    tmsize_t n_buf = job->tiled ? TIFFTileSize(tiff) : TIFFStripSize(tiff);
    uint8_t *buf = n_buf > 0 ? malloc((size_t)n_buf) : NULL;
    if (!buf)
        return n_buf > 0 ? cf_fail(CF_E_UNEXPECTED, "%s: no memory for a block", job->name)
                         : damaged(job);
    bool good = true;
    for (int plane = separate ? 0 : -1; good && plane < (separate ? colors : 0); plane++)
        for (uint32_t y = 0; good && y < job->height; y += job->block_height)
            for (uint32_t x = 0; good && x < job->width; x += job->block_width)
                good = read_block(tiff, job, x, y, plane, buf, n_buf);
    free(buf);
    return good ? CF_OK : damaged(job);
}

/* Colours that need arithmetic (YCbCr, CMYK, Lab): the library's RGBA interface does it. Its raster
 * becomes the image in place, so that there are never two of them. */
static cf_err read_converted(TIFF *tiff, tiff_job *job)
{
    char reason[1024] = "";
    if (!TIFFRGBAImageOK(tiff, reason))
        return cf_fail(CF_E_DATA, "%s: TIFF is not read: %s", job->name, reason);
    size_t n = (size_t)job->width * job->height;
    uint32_t *raster = calloc(n, sizeof *raster);
    free(job->image->pixels);
    job->image->pixels = (uint8_t *)raster;
    if (!raster) return cf_fail(CF_E_UNEXPECTED, "%s: no memory for %zu pixels", job->name, n);
    uint16_t orientation = ORIENTATION_TOPLEFT;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &orientation);
    /* as stored: turning is done in one place, for all formats */
    bool good = TIFFReadRGBAImageOriented(tiff, job->width, job->height, raster, orientation, 1) &&
                !job->failed;
    uint8_t *out = job->image->pixels;
    for (size_t i = 0; good && i < n; i++, out += 3) { /* out is never ahead of raster[i] */
        uint32_t abgr = raster[i];
        out[0] = (uint8_t)TIFFGetR(abgr);
        out[1] = (uint8_t)TIFFGetG(abgr);
        out[2] = (uint8_t)TIFFGetB(abgr);
    }
    return good ? CF_OK : damaged(job);
}

static cf_err decode(TIFF *tiff, tiff_job *job)
{
    CF_TRY(read_header(tiff, job));
    if (job->photometric == PHOTOMETRIC_YCBCR && job->compression == COMPRESSION_JPEG) {
        TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
        job->photometric = PHOTOMETRIC_RGB;
    }
    uint16_t orientation = ORIENTATION_TOPLEFT;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &orientation);
    CF_TRY(cf_image_alloc(job->name, job->height, job->width, job->max_pixels, job->image));
    job->in_pixels = true;
    job->failed = false; /* what the header recovered from */
    CF_TRY(is_plain(job->photometric) ? read_plain(tiff, job) : read_converted(tiff, job));
    return cf_image_orient(job->image, orientation);
}

cf_err cf_tiff_decode(const char *name, const uint8_t *bytes, size_t n, int64_t max_pixels,
                      cf_image *image)
{
    tiff_job job = {.name = name, .bytes = bytes, .n = n, .max_pixels = max_pixels, .image = image};
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options) return cf_fail(CF_E_UNEXPECTED, "%s: no memory for libtiff", name);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, &job);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, &job);
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)max_pixels * 3 + (1 << 20));
    /* "m": no memory map, so that every read passes the bounds of on_read */
    TIFF *tiff = TIFFClientOpenExt(name, "rm", &job, on_read, on_write, on_seek, on_close, on_size,
                                   NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    cf_err err = tiff ? decode(tiff, &job) : damaged(&job);
    if (tiff) TIFFClose(tiff);
    if (err != CF_OK) cf_image_fini(image);
    return err;
}
