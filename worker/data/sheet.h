/* Contact sheets: rows of small pictures with captions, drawn with cairo into one PNG file.
 *
 * Black on white, so that a sheet prints. Pictures are scaled when they come, so a sheet takes
 * 4 * tile_px^2 bytes a picture, and the whole PNG's pixels once while it is written. The layout is
 * fixed; the text looks as the system's sans font does, so a sheet is for eyes, not for comparing
 * bytes. Threads: one sheet, one thread. Read first: cf_sheet_tile. */
#ifndef CF_WORKER_DATA_SHEET_H
#define CF_WORKER_DATA_SHEET_H

#include <stdint.h>

#include "kernels/base/err.h"

#define CF_SHEET_MAX_SIDE 16384 /* px, of the PNG */
enum { CF_SHEET_MIN_TILE = 16, CF_SHEET_MAX_TILE = 2048 };

typedef struct cf_sheet cf_sheet;

/* An empty sheet of `columns` pictures a row, each in a square of tile_px (CF_SHEET_MIN_TILE to
 * CF_SHEET_MAX_TILE). title: one line of UTF-8 above all, NULL for none. Release with
 * cf_sheet_destroy. Errors: CF_E_USAGE for a sheet wider than CF_SHEET_MAX_SIDE or a tile size out
 * of range. */
CF_CHECKED cf_err cf_sheet_create(int columns, int tile_px, const char *title, cf_sheet **out);

/* Begins a new row. label: UTF-8 at its left end, NULL for none. */
CF_CHECKED cf_err cf_sheet_row(cf_sheet *s, const char *label);

/* Adds a picture to the row, or to a next one without a label where the row is full. pixels: uint8
 * [h][w][3], scaled to fit the square with its aspect kept; NULL leaves the place empty. caption:
 * up to two lines of UTF-8 parted by '\n', cut in the middle with an ellipsis to fit (names differ
 * at their ends), NULL for none. color: frame, "#rrggbb"; NULL for none. Nothing is borrowed after
 * the call; bytes that are not UTF-8, and noncharacters, are drawn as U+FFFD. Errors: CF_E_USAGE
 * for a sheet higher than CF_SHEET_MAX_SIDE, for a colour of another form. */
CF_CHECKED cf_err cf_sheet_tile(cf_sheet *s, const uint8_t *pixels, int h, int w,
                                const char *caption, const char *color);

/* Draws what there is and writes the PNG, whole or not at all. Errors: CF_E_DISK, CF_E_UNEXPECTED
 * when cairo has no memory. */
CF_CHECKED cf_err cf_sheet_write(const cf_sheet *s, const char *path);

void cf_sheet_destroy(cf_sheet *s);

#endif
