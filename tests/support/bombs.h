/* Files of a few kilobytes that promise, and often hold, gigabytes. Made here, of zeros.
 *
 * Read first: bomb_zeros. */
#ifndef CF_TESTS_SUPPORT_BOMBS_H
#define CF_TESTS_SUPPORT_BOMBS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "tests/support/pictures.h" /* picture */

/* The room that n bytes have: a power of two, so that thousands of pieces are not copied thousands
 * of times. */
static inline size_t bomb_room(size_t n)
{
    size_t room = 64;
    while (room < n) room *= 2;
    return room;
}

/* p: {0} at first, and filled by this function alone. */
static inline void bomb_add(picture *p, const void *bytes, size_t n)
{
    if (!p->bytes || bomb_room(p->n) != bomb_room(p->n + n))
        p->bytes = realloc(p->bytes, bomb_room(p->n + n));
    memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

static inline void bomb_add_number(picture *p, uint64_t v, int n_bytes, int big)
{
    uint8_t bytes[8];
    for (int i = 0; i < n_bytes; i++) bytes[i] = (uint8_t)(v >> 8 * (big ? n_bytes - 1 - i : i));
    bomb_add(p, bytes, (size_t)n_bytes);
}

/* Raw deflate of n zeros with a flush that makes the piece stand for itself. */
static inline picture bomb_piece(size_t n, int flush)
{
    z_stream z = {0};
    picture p = {.bytes = malloc(n / 500 + 64)};
    uint8_t *zeros = calloc(n + 1, 1);
    deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY);
    z.next_in = zeros;
    z.avail_in = (uInt)n;
    z.next_out = p.bytes;
    z.avail_out = (uInt)(n / 500 + 64);
    deflate(&z, flush);
    p.n = z.total_out;
    deflateEnd(&z);
    free(zeros);
    return p;
}

/* A zlib stream of n zeros (RFC 1950), one megabyte's worth repeated: 1,030 times smaller than n.
 */
static inline picture bomb_zeros(uint64_t n)
{
    enum { PIECE = 1 << 20 };
    picture p = {0}, piece = bomb_piece(PIECE, Z_FULL_FLUSH);
    picture tail = bomb_piece((size_t)(n % PIECE), Z_FINISH);
    bomb_add(&p, "\x78\xDA", 2);
    for (uint64_t i = 0; i < n / PIECE; i++) bomb_add(&p, piece.bytes, piece.n);
    bomb_add(&p, tail.bytes, tail.n);
    bomb_add_number(&p, n % 65521 << 16 | 1, 4, 1); /* Adler-32 of n zeros */
    free(piece.bytes);
    free(tail.bytes);
    return p;
}

static inline void bomb_add_chunk(picture *p, const char *kind, const void *bytes, size_t n)
{
    bomb_add_number(p, n, 4, 1);
    size_t begin = p->n;
    bomb_add(p, kind, 4);
    if (n > 0) bomb_add(p, bytes, n);
    bomb_add_number(p, crc32(0, p->bytes + begin, (uInt)(p->n - begin)), 4, 1);
}

typedef struct png_bomb {
    uint32_t width, height;
    uint8_t depth, color_type;
    uint64_t n_data;        /* zeros in the image data; 0: as many as the image has */
    const char *chunk;      /* one more chunk, NULL for none ... */
    const char *chunk_head; /* ... that begins so ... */
    size_t n_chunk_head;
    uint64_t n_chunk; /* ... and goes on with this many compressed zeros */
} png_bomb;

static inline picture bomb_png(const png_bomb *b)
{
    static const int samples[] = {
        [PNG_COLOR_TYPE_GRAY] = 1, [PNG_COLOR_TYPE_RGB] = 3, [PNG_COLOR_TYPE_RGBA] = 4};
    picture p = {0}, head = {0};
    uint64_t row = 1 + ((uint64_t)b->width * (uint64_t)samples[b->color_type] * b->depth + 7) / 8;
    bomb_add(&p, "\x89PNG\r\n\x1A\n", 8);
    bomb_add_number(&head, b->width, 4, 1);
    bomb_add_number(&head, b->height, 4, 1);
    bomb_add(&head, (uint8_t[]){b->depth, b->color_type, 0, 0, 0}, 5);
    bomb_add_chunk(&p, "IHDR", head.bytes, head.n);
    if (b->chunk) {
        picture chunk = {0}, zeros = bomb_zeros(b->n_chunk);
        bomb_add(&chunk, b->chunk_head, b->n_chunk_head);
        bomb_add(&chunk, zeros.bytes, zeros.n);
        bomb_add_chunk(&p, b->chunk, chunk.bytes, chunk.n);
        free(chunk.bytes);
        free(zeros.bytes);
    }
    picture data = bomb_zeros(b->n_data ? b->n_data : row * b->height);
    bomb_add_chunk(&p, "IDAT", data.bytes, data.n);
    bomb_add_chunk(&p, "IEND", NULL, 0);
    free(data.bytes);
    free(head.bytes);
    return p;
}

typedef struct tiff_entry {
    uint16_t tag;
    uint32_t value;
    uint32_t count; /* 0: one */
} tiff_entry;

/* A little-endian TIFF: header, n_data zeros compressed (all codecs but deflate get them as they
 * are), then n_ifds directories with the same entries of type LONG, the last one leading back to
 * the first where `loop` says so. Offset and length of one strip or tile at 8 are filled in. */
static inline picture bomb_tiff(const tiff_entry *entries, uint64_t n_data, int n_ifds, int loop)
{
    picture p = {0}, data = bomb_zeros(n_data);
    uint16_t n = 0;
    while (entries[n].tag) n++;
    size_t ifd_bytes = 2 + (size_t)n * 12 + 4, first = (8 + data.n + 1) & ~(size_t)1;
    bomb_add(&p, "II*", 4);
    bomb_add_number(&p, first, 4, 0);
    bomb_add(&p, data.bytes, data.n);
    while (p.n < first) bomb_add(&p, "", 1);
    for (int i = 0; i < n_ifds; i++) {
        size_t next = i + 1 < n_ifds ? p.n + ifd_bytes : loop ? first : 0;
        bomb_add_number(&p, n, 2, 0);
        for (int k = 0; k < n; k++) {
            int is_length = entries[k].tag == 279 || entries[k].tag == 325;
            bomb_add_number(&p, entries[k].tag, 2, 0);
            bomb_add_number(&p, 4, 2, 0);
            bomb_add_number(&p, entries[k].count ? entries[k].count : 1, 4, 0);
            bomb_add_number(&p, is_length && !entries[k].value ? data.n : entries[k].value, 4, 0);
        }
        bomb_add_number(&p, next, 4, 0);
    }
    free(data.bytes);
    return p;
}

#endif
