/* TIFF files of any form, made in memory by libtiff. The samples are some pattern: how pictures
 * look is the concern of tests/unit/test_tiff.c. */
#ifndef CF_TESTS_SUPPORT_TIFFS_H
#define CF_TESTS_SUPPORT_TIFFS_H

#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tiffio.h>

#include "tests/support/pictures.h"

/* Zeros are the common: 21 x 13 pixels, one strip for every 5 rows, no compression. */
typedef struct tiff_form {
    const char *mode; /* of TIFFOpen; NULL: "w" */
    uint32_t width, height;
    int bits, samples, photometric, compression, orientation;
    int n_pages; /* 0: one */
    bool tiled, separate;
    const uint8_t *flat; /* [samples], of 8 or 16 bits: every pixel's; NULL: the pattern */
} tiff_form;

static inline void tiff_set(TIFF *t, const tiff_form *f)
{
    TIFFSetField(t, TIFFTAG_IMAGEWIDTH, f->width ? f->width : 21);
    TIFFSetField(t, TIFFTAG_IMAGELENGTH, f->height ? f->height : 13);
    TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, f->bits);
    TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, f->samples);
    TIFFSetField(t, TIFFTAG_PHOTOMETRIC, f->photometric);
    TIFFSetField(t, TIFFTAG_COMPRESSION, f->compression ? f->compression : COMPRESSION_NONE);
    TIFFSetField(t, TIFFTAG_PLANARCONFIG,
                 f->separate ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
    if (f->orientation) TIFFSetField(t, TIFFTAG_ORIENTATION, f->orientation);
    if (f->samples == 2 || (f->samples == 4 && f->photometric == PHOTOMETRIC_RGB))
        TIFFSetField(t, TIFFTAG_EXTRASAMPLES, 1, (uint16_t[]){EXTRASAMPLE_UNASSALPHA});
    if (f->photometric == PHOTOMETRIC_PALETTE) {
        uint16_t map[3][256];
        for (int i = 0; i < 3 * 256; i++) map[i / 256][i % 256] = (uint16_t)(i * 257);
        TIFFSetField(t, TIFFTAG_COLORMAP, map[0], map[1], map[2]);
    }
    if (f->tiled) {
        TIFFSetField(t, TIFFTAG_TILEWIDTH, 16);
        TIFFSetField(t, TIFFTAG_TILELENGTH, 16);
    } else {
        TIFFSetField(t, TIFFTAG_ROWSPERSTRIP, f->compression == COMPRESSION_JPEG ? 8 : 5);
    }
}

static inline void tiff_write_page(TIFF *t, const tiff_form *f)
{
    tiff_set(t, f);
    tmsize_t n = f->tiled ? TIFFTileSize(t) : TIFFStripSize(t);
    uint8_t *block = malloc((size_t)n);
    for (tmsize_t i = 0; i < n; i++) {
        block[i] = (uint8_t)(i * 37 + i / 50);
        if (f->flat) block[i] = f->flat[i / (f->bits / 8) % f->samples];
    }
    uint32_t n_blocks = f->tiled ? TIFFNumberOfTiles(t) : TIFFNumberOfStrips(t);
    for (uint32_t i = 0; i < n_blocks; i++) {
        if (f->tiled)
            TIFFWriteEncodedTile(t, i, block, n);
        else
            TIFFWriteEncodedStrip(t, i, block, n);
    }
    TIFFWriteDirectory(t);
    free(block);
}

static inline picture tiff_make(const tiff_form *f)
{
    picture p = {0};
    int fd = memfd_create("tiff", MFD_CLOEXEC);
    TIFF *t = TIFFFdOpen(dup(fd), "picture", f->mode ? f->mode : "w");
    for (int i = 0; t && i < (f->n_pages ? f->n_pages : 1); i++) tiff_write_page(t, f);
    if (t) TIFFClose(t);
    p.n = (size_t)lseek(fd, 0, SEEK_END);
    p.bytes = malloc(p.n + 1);
    if (pread(fd, p.bytes, p.n, 0) != (ssize_t)p.n) p.n = 0;
    close(fd);
    return p;
}

#endif
