/* Crops and sizes of packed images. */
#include "worker/data/pack_cut.h"

#include <math.h>

#include "kernels/base/file.h"

static bool is_patch(const cf_listed *item)
{
    return item->x >= 0.0;
}

/* The side of the field, um; 0: all. */
static double field_of(const cf_cut *c)
{
    return c->cropped != NULL && !*c->cropped ? 0.0 : c->crop_um;
}

cf_err cf_cut_check(const cf_cut *c, const cf_listing *list)
{
    char path[CF_PATH_MAX];
    if (c->cropped != NULL) *c->cropped = c->crop_um > 0.0;
    if (c->crop_um <= 0.0) return CF_OK;
    for (int64_t i = 0; i < list->n; i++) {
        if (list->items[i].um_per_px > 0.0) continue;
        if (c->cropped != NULL) {
            *c->cropped = false;
            return CF_OK;
        }
        CF_TRY(cf_listing_path(list, i, path, sizeof path));
        return cf_fail(CF_E_USAGE,
                       "--crop-um needs the pixel size of every image; %s has none (--um-per-px, "
                       "or a column um_per_px in the manifest)",
                       path);
    }
    return CF_OK;
}

cf_err cf_cut_check_none(const cf_cut *c, const cf_listing *list)
{
    char path[CF_PATH_MAX];
    if (c->size > 0 || field_of(c) > 0.0)
        return cf_fail(CF_E_USAGE,
                       "--keep-encoded keeps image files as they are: %s would change their pixels",
                       c->size > 0 ? "--size" : "--crop-um");
    for (int64_t i = 0; i < list->n; i++) {
        if (!is_patch(&list->items[i])) continue;
        CF_TRY(cf_listing_path(list, i, path, sizeof path));
        return cf_fail(
            CF_E_USAGE,
            "--keep-encoded keeps image files as they are: line %lld asks for a cell cut "
            "out of %s",
            (long long)list->items[i].line, path);
    }
    return CF_OK;
}

/* The side to cut out, px; 0 for the whole image. */
static int side_of(const cf_cut *c, const cf_listed *item)
{
    double field = field_of(c);
    if (field > 0.0) return (int)fmin(fmax(round(field / item->um_per_px), 1.0), 1e6);
    return is_patch(item) ? c->patch : 0;
}

double cf_cut_um_per_px(const cf_cut *c, const cf_listed *item, int height, int width)
{
    double um = item->um_per_px;
    int side = side_of(c, item);
    if (field_of(c) > 0.0) return c->crop_um / (c->size > 0 ? c->size : side);
    if (c->size == 0 || um == 0.0) return um;
    if (side > 0) return um * side / c->size;
    return height == width ? um * ((double)height / c->size) : 0.0;
}

static cf_err cut_out(const cf_cut *c, const char *name, const cf_listed *item, const cf_image *in,
                      int side, cf_image *out)
{
    if (side > in->width || side > in->height) {
        if (field_of(c) > 0.0)
            return cf_fail(CF_E_DATA,
                           "%s: a field of %g um is %d px at %g um/px, more than the image's %d x "
                           "%d px%s",
                           name, c->crop_um, side, item->um_per_px, in->width, in->height,
                           c->cropped != NULL ? " (--crop-um 0 takes images whole)" : "");
        return cf_fail(CF_E_DATA, "%s: patches of %d px out of a field of %d x %d px", name, side,
                       in->width, in->height);
    }
    if (!is_patch(item))
        return cf_image_crop(in, (in->width - side) / 2, (in->height - side) / 2, side, side, out);
    if (item->x >= in->width || item->y >= in->height)
        return cf_fail(CF_E_DATA,
                       "%s: the cell of line %lld has its centre at %g, %g, outside of the field's "
                       "%d x %d px",
                       name, (long long)item->line, item->x, item->y, in->width, in->height);
    /* a cell at the edge keeps its place in the middle: what is missing is mirrored */
    return cf_image_crop(in, (int)floor(item->x - side / 2.0 + 0.5),
                         (int)floor(item->y - side / 2.0 + 0.5), side, side, out);
}

cf_err cf_cut_apply(const cf_cut *c, const char *name, const cf_listed *item, cf_image *in,
                    cf_image *out)
{
    cf_image piece = {0};
    const cf_image *from = in;
    int side = side_of(c, item), size = c->size;
    int shorter = in->width < in->height ? in->width : in->height;
    *out = (cf_image){0};
    if (c->cropped != NULL && !is_patch(item) && side == shorter + 1) side = shorter;
    if (side > 0 && (is_patch(item) || side != in->width || side != in->height)) {
        CF_TRY(cut_out(c, name, item, in, side, &piece));
        from = &piece;
    }
    if (size > 0 && (from->height != size || from->width != size)) {
        cf_err err = cf_image_resize(from, size, size, out);
        cf_image_fini(&piece);
        return err;
    }
    if (from == in) {
        *out = *in;
        *in = (cf_image){0};
    } else {
        *out = piece;
    }
    return CF_OK;
}
