/* A contact sheet of augmentation: what training would show the network of a few images. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "launch/inspect.h"
#include "launch/setup.h"
#include "worker/data/fetch.h"
#include "worker/data/loader.h"
#include "worker/data/sheet.h"
#include "worker/data/stain.h"

enum { DRAWS = 8, TILE_PX = 128 };

typedef struct scene {
    const cf_config *config; /* borrowed */
    const cf_cells *cells;   /* borrowed */
    cf_image room;           /* for encoded images */
    float *drawn;            /* owned, [size][size][3] in 0..1 */
    uint8_t *bytes;          /* owned, the same in 0..255 */
    cf_sheet *sheet;         /* owned */
} scene;

static void scene_fini(scene *s)
{
    cf_image_fini(&s->room);
    cf_sheet_destroy(s->sheet);
    free(s->drawn);
    free(s->bytes);
}

/* One draw as the network sees it, but for the normalisation, which is left out. */
static cf_err add_draw(scene *s, int64_t image, const uint8_t *pixels, int64_t draw)
{
    static const cf_normalize none = {{0.0f, 0.0f, 0.0f}, {1.0f, 1.0f, 1.0f}};
    const cf_cells *c = s->cells;
    int size = (int)s->config->model_image_size;
    cf_augment t;
    cf_augment_draw(s->config, c->height, c->width, 0, 0, draw, &t);
    if (c->stains) cf_stain_draw(s->config, &c->stains[image], 0, 0, draw, &t.stain);
    cf_augment_apply(pixels, c->height, c->width, &t, &none, size, s->drawn);
    for (int64_t i = 0; i < (int64_t)size * size * 3; i++)
        s->bytes[i] = (uint8_t)(s->drawn[i] * 255.0f + 0.5f);
    return cf_sheet_tile(s->sheet, s->bytes, size, size, NULL, NULL);
}

static cf_err add_row(scene *s, int64_t image, int64_t row)
{
    const cf_cells *c = s->cells;
    const cf_class *class = &c->scheme.classes[c->labels[image]];
    const uint8_t *pixels;
    CF_TRY(cf_cells_fetch(c, image, &s->room, &pixels));
    CF_TRY(cf_cells_verify(c, image, pixels));
    CF_TRY(cf_sheet_row(s->sheet, class->code));
    CF_TRY(cf_sheet_tile(s->sheet, pixels, c->height, c->width, c->ids[image], NULL));
    for (int64_t d = 0; d < DRAWS; d++) CF_TRY(add_draw(s, image, pixels, row * DRAWS + d));
    return CF_OK;
}

/* The k-th image of a class, from 0. */
static int64_t find_image(const cf_cells *cells, int label, int64_t k)
{
    for (int64_t i = 0; i < cells->n; i++)
        if (cells->labels[i] == label && k-- == 0) return i;
    return cells->n - 1; /* never: k is below the class's count */
}

/* Rows are shared out among the classes that have images, and a class's rows lie evenly in it. */
static cf_err add_rows(scene *s, int64_t n_rows, const int64_t *counts)
{
    int present[CF_MAX_CLASSES], n_present = 0;
    for (int c = 0; c < s->cells->scheme.n_classes; c++)
        if (counts[c] > 0) present[n_present++] = c;
    for (int64_t row = 0; row < n_rows; row++) {
        int64_t place = row * n_present / n_rows, before = row, after = row;
        while (before > 0 && (before - 1) * n_present / n_rows == place) before--;
        while (after + 1 < n_rows && (after + 1) * n_present / n_rows == place) after++;
        int label = present[place];
        int64_t k = (2 * (row - before) + 1) * counts[label] / (2 * (after - before + 1));
        CF_TRY(add_row(s, find_image(s->cells, label, k), row));
    }
    return CF_OK;
}

static cf_err draw_sheet(const cf_inspection *i, scene *s, cf_buf *out)
{
    char title[2 * CF_PATH_MAX];
    int64_t *counts = NULL;
    int64_t size = s->config->model_image_size, n = i->images;
    size_t values = (size_t)(size * size * 3);
    cf_err err = CF_OK;
    if (n > s->cells->n) n = s->cells->n;
    snprintf(title, sizeof title, "%s: an image of %s, then %d draws of it", i->path, i->augment,
             (int)DRAWS);
    CF_TRY_GOTO(cf_new(&s->drawn, values, sizeof *s->drawn), out);
    CF_TRY_GOTO(cf_new(&s->bytes, values, 1), out);
    CF_TRY_GOTO(cf_new(&counts, (size_t)s->cells->scheme.n_classes, sizeof *counts), out);
    cf_cells_count(s->cells, counts);
    CF_TRY_GOTO(cf_sheet_create(1 + DRAWS, TILE_PX, title, &s->sheet), out);
    CF_TRY_GOTO(add_rows(s, n, counts), out);
    CF_TRY_GOTO(cf_sheet_write(s->sheet, i->output), out);
    cf_buf_printf(out, "%s: %" PRId64 " images, %d draws of each\n", i->output, n, (int)DRAWS);
out:
    free(counts);
    return err;
}

cf_err cf_inspect_augment(const cf_inspection *i, cf_buf *out)
{
    cf_setup setup;
    cf_cells cells;
    cf_err err = CF_OK;
    bool opened = false;
    scene s = {.config = &setup.config, .cells = &cells};
    CF_TRY_GOTO(cf_setup_init(&setup, i->path, i->overrides, i->scheme), out);
    CF_TRY_GOTO(cf_cells_open(i->augment, &cells), out);
    opened = true;
    CF_TRY_GOTO(cf_setup_check_stains(&setup.config, &cells, i->augment), out);
    CF_TRY_GOTO(draw_sheet(i, &s, out), out);
out:
    scene_fini(&s);
    if (opened) cf_cells_close(&cells);
    cf_setup_fini(&setup);
    return err;
}
