#include "launch/report_images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/config.h"
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

/* data.cells of the folder's run.yaml; "" where there is none. The message of a failure says why.
 */
static cf_err find_cells(const char *run_dir, char path[CF_PATH_MAX])
{
    char yaml[CF_PATH_MAX];
    cf_config *config = NULL;
    path[0] = '\0';
    CF_TRY(cf_path_join(yaml, sizeof yaml, run_dir, "run.yaml"));
    CF_TRY(cf_new(&config, 1, sizeof *config));
    cf_config_defaults(config);
    cf_err err = cf_config_read(yaml, config);
    if (err == CF_OK) snprintf(path, CF_PATH_MAX, "%s", config->data_cells);
    free(config);
    return err;
}

/* Only the file's name: the folders before it are this machine's, and the page is not. */
static void say_absent(cf_report_images *images, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (path[0])
        snprintf(images->absent, sizeof images->absent,
                 "the run's cells file %.200s is not there or cannot be read", name);
    else
        snprintf(images->absent, sizeof images->absent, "run.yaml names no cells file");
}

static cf_err begin(void *context, const char *run_dir, const char **absent)
{
    cf_report_images *images = context;
    char path[CF_PATH_MAX];
    close_cells(images);
    images->absent[0] = '\0';
    cf_err err = find_cells(run_dir, path);
    bool named = err == CF_OK && path[0] != '\0';
    if (named) err = cf_cells_open_any(path, &images->cells);
    if (err == CF_E_UNEXPECTED) return err; /* memory: no reason to leave pictures out */
    if (err != CF_OK || !named) {
        images->cells = (cf_cells){0};
        say_absent(images, path);
    }
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
