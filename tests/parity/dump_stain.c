/* Stains of a cells file's images and what normalisation makes of them, written as raw numbers: the
 * other half of a comparison with another program. Not installed.
 *
 *   dump_stain CELLS FOLDER N   separates N images, evenly spread: writes pixels.u8 [N,H,W,3],
 *                               stains.f32 [N,9] (1 or 0: found; od[0], od[1], max), step.i32 [1]
 *                               (every n-th pixel of every n-th row was looked at), shape.i32 [3]
 *   dump_stain FOLDER           reads pixels.u8, shape.i32, from.f32 [N,8], to.f32 [8] (od[0],
 *                               od[1], max); writes normalized.f32 [N,H,W,3] in 0..255
 * Read first: separate, normalize. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/cells.h"
#include "worker/data/fetch.h"
#include "worker/data/stain.h"

static cf_err save(const char *folder, const char *name, const void *data, size_t bytes)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, folder, name));
    return cf_file_save(path, data, bytes);
}

/* *out is owned by the caller. */
static cf_err load(const char *folder, const char *name, size_t bytes, char **out)
{
    char path[CF_PATH_MAX];
    size_t n = 0;
    CF_TRY(cf_path_join(path, sizeof path, folder, name));
    CF_TRY(cf_file_read(path, bytes + 1, out, &n));
    if (n == bytes) return CF_OK;
    free(*out);
    *out = NULL;
    return cf_fail(CF_E_DATA, "%s: %zu bytes, expected %zu", path, n, bytes);
}

/* As cf_stain_estimate thins an image. */
static int32_t step_of(int height, int width)
{
    int step = 1;
    while ((int64_t)((height + step - 1) / step) * ((width + step - 1) / step) >
           CF_STAIN_MAX_SAMPLES)
        step++;
    return step;
}

static cf_err separate(const char *path, const char *folder, int64_t n)
{
    cf_cells cells;
    cf_image room = {0};
    uint8_t *all = NULL;
    float *rows = NULL;
    cf_err err = CF_OK;
    CF_TRY(cf_cells_open(path, &cells));
    if (n > cells.n) n = cells.n;
    size_t bytes = (size_t)cells.height * (size_t)cells.width * 3, count = (size_t)n;
    const int32_t shape[3] = {(int32_t)n, cells.height, cells.width};
    const int32_t step = step_of(cells.height, cells.width);
    CF_TRY_GOTO(cf_new(&all, count, bytes), out);
    CF_TRY_GOTO(cf_new(&rows, count, 9 * sizeof *rows), out);
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *pixels;
        cf_stain stain;
        CF_TRY_GOTO(cf_cells_fetch(&cells, i * cells.n / n, &room, &pixels), out);
        memcpy(all + (size_t)i * bytes, pixels, bytes);
        rows[9 * i] = cf_stain_estimate(pixels, cells.height, cells.width, &stain) ? 1.0f : 0.0f;
        memcpy(rows + 9 * i + 1, &stain, sizeof stain);
    }
    CF_TRY_GOTO(save(folder, "pixels.u8", all, count * bytes), out);
    CF_TRY_GOTO(save(folder, "stains.f32", rows, count * 9 * sizeof *rows), out);
    CF_TRY_GOTO(save(folder, "step.i32", &step, sizeof step), out);
    CF_TRY_GOTO(save(folder, "shape.i32", shape, sizeof shape), out);
out:
    free(all);
    free(rows);
    cf_image_fini(&room);
    cf_cells_close(&cells);
    return err;
}

static cf_err normalize(const char *folder)
{
    char *shape_bytes = NULL, *pixels = NULL, *from = NULL, *to = NULL;
    int32_t shape[3];
    float *out_pixels = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(load(folder, "shape.i32", sizeof shape, &shape_bytes), out);
    memcpy(shape, shape_bytes, sizeof shape);
    size_t n = (size_t)shape[0], image = (size_t)shape[1] * (size_t)shape[2] * 3;
    CF_TRY_GOTO(load(folder, "pixels.u8", n * image, &pixels), out);
    CF_TRY_GOTO(load(folder, "from.f32", n * sizeof(cf_stain), &from), out);
    CF_TRY_GOTO(load(folder, "to.f32", sizeof(cf_stain), &to), out);
    CF_TRY_GOTO(cf_new(&out_pixels, n * image, sizeof *out_pixels), out);
    for (size_t i = 0; i < n; i++) {
        cf_stain a, b;
        cf_stain_map map;
        memcpy(&a, from + i * sizeof a, sizeof a);
        memcpy(&b, to, sizeof b);
        cf_stain_normalize(&a, &b, &map);
        for (size_t k = i * image; k < (i + 1) * image; k += 3) {
            for (size_t c = 0; c < 3; c++) out_pixels[k + c] = (float)(uint8_t)pixels[k + c];
            cf_stain_apply(&map, out_pixels + k, out_pixels + k);
        }
    }
    CF_TRY_GOTO(save(folder, "normalized.f32", out_pixels, n * image * sizeof *out_pixels), out);
out:
    free(shape_bytes);
    free(pixels);
    free(from);
    free(to);
    free(out_pixels);
    return err;
}

int main(int argc, char **argv)
{
    cf_err err;
    if (argc == 4)
        err = separate(argv[1], argv[2], strtoll(argv[3], NULL, 10));
    else if (argc == 2)
        err = normalize(argv[1]);
    else
        err = cf_fail(CF_E_USAGE, "usage: dump_stain CELLS FOLDER N, or dump_stain FOLDER");
    if (err != CF_OK) fprintf(stderr, "%s\n", cf_err_text());
    return (int)err;
}
