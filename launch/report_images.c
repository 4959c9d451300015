#include "launch/report_images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/trained_on.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/data/fetch.h"

enum { JPEG_QUALITY = 82 };

/* ---- the index ---- */

static int by_id(const void *a, const void *b, void *context)
{
    char **ids = context;
    return strcmp(ids[*(const int64_t *)a], ids[*(const int64_t *)b]);
}

static cf_err make_index(cf_report_images *images)
{
    const cf_cells *c = &images->cells;
    CF_TRY(cf_new(&images->by_id, (size_t)c->n, sizeof *images->by_id));
    for (int64_t i = 0; i < c->n; i++) images->by_id[i] = i;
    qsort_r(images->by_id, (size_t)c->n, sizeof *images->by_id, by_id, c->ids);
    return CF_OK;
}

/* The image's number, or -1. */
static int64_t find(const cf_report_images *images, const char *id)
{
    int64_t low = 0, high = images->cells.n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(images->cells.ids[images->by_id[middle]], id);
        if (order == 0) return images->by_id[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* ---- a run folder ---- */

static void close_cells(cf_report_images *images)
{
    if (images->cells.ids) cf_cells_close(&images->cells);
    free(images->by_id);
    images->cells = (cf_cells){0};
    images->by_id = NULL;
}

/* Only the file's name: the folders before it are this machine's, and the page is not. */
static void say_absent(cf_report_images *images, cf_cells_found found, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    images->absent[0] = '\0';
    if (found == CF_CELLS_UNNAMED)
        snprintf(images->absent, sizeof images->absent, "run.yaml names no cells file");
    else if (found != CF_CELLS_OPEN)
        snprintf(images->absent, sizeof images->absent, "the run's cells file %.200s is %s", name,
                 found == CF_CELLS_GONE ? "not there or cannot be read" : "of other images");
}

static cf_err begin(void *context, const char *run_dir, const char **absent)
{
    cf_report_images *images = context;
    char path[CF_PATH_MAX];
    cf_cells_found found;
    close_cells(images);
    CF_TRY(cf_trained_on_open(run_dir, &images->cells, &found, path));
    if (found == CF_CELLS_OTHER && images->absent[0] == '\0') /* once: each figure begins anew */
        cf_log_info("%s is left aside: %s", path, cf_err_text());
    say_absent(images, found, path);
    *absent = images->absent[0] ? images->absent : NULL;
    return *absent ? CF_OK : make_index(images);
}

static int scaled(int length, int longer, int side)
{
    int64_t n = longer > side ? ((int64_t)length * side + longer / 2) / longer : length;
    return n > 0 ? (int)n : 1;
}

static cf_err picture(void *context, const char *id, int side, cf_buf *jpeg)
{
    cf_report_images *images = context;
    const cf_cells *c = &images->cells;
    const uint8_t *pixels;
    int64_t i = images->by_id ? find(images, id) : -1;
    if (i < 0) return CF_OK;
    CF_TRY(cf_cells_fetch(c, i, &images->room, &pixels));
    CF_TRY(cf_cells_verify(c, i, pixels));
    int longer = c->height > c->width ? c->height : c->width;
    /* cf_image_resize only reads its input */
    const cf_image in = {
        .height = c->height, .width = c->width, .pixels = (uint8_t *)(uintptr_t)pixels};
    cf_image small = {0};
    CF_TRY(cf_image_resize(&in, scaled(c->height, longer, side), scaled(c->width, longer, side),
                           &small));
    cf_err err = cf_image_encode_jpeg(small.pixels, small.height, small.width, JPEG_QUALITY, jpeg);
    cf_image_fini(&small);
    return err;
}

void cf_report_images_init(cf_report_images *images, cf_report_source *source)
{
    *images = (cf_report_images){0};
    *source = (cf_report_source){.context = images, .begin = begin, .picture = picture};
}

void cf_report_images_fini(cf_report_images *images)
{
    close_cells(images);
    cf_image_fini(&images->room);
}
