#include "worker/data/synth.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "worker/data/image.h"
#include "worker/data/phantom.h"

void cf_synth_paint(const cf_scheme *scheme, int class_index, int64_t k, int size, uint64_t seed,
                    float *scratch, uint8_t *pixels)
{
    cf_rng rng = cf_rng_at(seed, 0, (uint32_t)class_index, (uint32_t)k, CF_PURPOSE_SYNTH);
    uint32_t n = (uint32_t)scheme->n_classes;
    cf_look look = cf_phantom_look(scheme->classes[class_index].code);
    cf_look other = cf_phantom_look(scheme->classes[cf_rng_below(&rng, n)].code);
    cf_look neighbor = cf_phantom_look(scheme->classes[cf_rng_below(&rng, n)].code);
    cf_phantom_paint(&look, &other, &neighbor, &rng, size, scratch, pixels);
}

/* A folder with something in it may be a real data set with files of the same names. */
static cf_err check_empty(const char *folder)
{
    if (!cf_path_exists(folder)) return CF_OK;
    if (!cf_path_is_dir(folder)) return cf_fail(CF_E_USAGE, "%s: not a folder", folder);
    cf_strings names = {0};
    CF_TRY(cf_dir_list(folder, &names));
    cf_err err = CF_OK;
    if (names.n > 0)
        err = cf_fail(CF_E_USAGE, "%s: not empty (it has %s); phantom cells go into a new folder",
                      folder, names.items[0]);
    cf_strings_fini(&names);
    return err;
}

/* Images of class c: an even share, the first classes taking one of the remainder. */
static int64_t share(const cf_synth_options *o, const cf_scheme *s, int c)
{
    return o->n_images / s->n_classes + (c < o->n_images % s->n_classes);
}

static cf_err write_class(const cf_synth_options *o, const cf_scheme *s, int c, float *scratch,
                          uint8_t *pixels, int64_t *done)
{
    const char *code = s->classes[c].code;
    char folder[CF_PATH_MAX], path[CF_PATH_MAX], name[CF_CODE_MAX + 32];
    if (!cf_name_is_safe(code))
        return cf_fail(CF_E_USAGE, "scheme %s: class %d has no code a folder can have", s->name, c);
    CF_TRY(cf_path_join(folder, sizeof folder, o->folder, code));
    CF_TRY(cf_dir_make(folder));
    int64_t n = share(o, s, c);
    for (int64_t k = 0; k < n; k++) {
        snprintf(name, sizeof name, "%s_%05lld.png", code, (long long)k + 1);
        CF_TRY(cf_path_join(path, sizeof path, folder, name));
        cf_synth_paint(s, c, k, o->size, o->seed, scratch, pixels);
        CF_TRY(cf_image_write_png(path, pixels, o->size, o->size));
        ++*done;
        if (o->progress && !o->progress(o->context, *done, o->n_images))
            return cf_fail(CF_E_UNEXPECTED, "interrupted after %lld of %lld images",
                           (long long)*done, (long long)o->n_images);
    }
    return CF_OK;
}

cf_err cf_synth_write(const cf_synth_options *options, const cf_scheme *scheme)
{
    if (options->n_images < scheme->n_classes)
        return cf_fail(CF_E_USAGE, "%lld images for %d classes of scheme %s",
                       (long long)options->n_images, scheme->n_classes, scheme->name);
    CF_TRY(check_empty(options->folder));
    size_t floats = (size_t)options->size * (size_t)options->size * 3;
    float *scratch = NULL;
    uint8_t *pixels = NULL;
    int64_t done = 0;
    cf_err err;
    CF_TRY_GOTO(cf_dir_make(options->folder), out);
    CF_TRY_GOTO(cf_new(&scratch, 2 * floats, sizeof *scratch), out);
    CF_TRY_GOTO(cf_new(&pixels, floats, 1), out);
    for (int c = 0; c < scheme->n_classes; c++)
        CF_TRY_GOTO(write_class(options, scheme, c, scratch, pixels, &done), out);
out:
    free(pixels);
    free(scratch);
    return err;
}
