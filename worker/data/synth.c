/* Painters claim pictures one by one; the caller's thread tells how far they are. */
#include "worker/data/synth.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/csv.h"
#include "worker/data/image.h"
#include "worker/data/phantom.h"
#include "worker/data/synth_site.h"

enum { MAX_THREADS = 256, JPEG_QUALITY = 85 };

typedef struct studio {
    const cf_synth_options *options; /* borrowed */
    const cf_scheme *scheme;         /* borrowed */
    int64_t *first;                  /* owned, [n_classes + 1]: number of a class's first picture */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* a picture is done, or a painter leaves */
    int64_t claimed, done;
    int n_painting;
    bool stop;
    cf_err err;    /* of the first failure */
    char *message; /* owned */
} studio;

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

cf_err cf_synth_counts(const cf_synth_options *o, const cf_scheme *s, int64_t *counts)
{
    int64_t total = 0, given = 0, before = 0;
    if (o->n_images < s->n_classes)
        return cf_fail(CF_E_USAGE, "%" PRId64 " images for %d classes of scheme %s", o->n_images,
                       s->n_classes, s->name);
    for (int c = 0; c < s->n_classes; c++) {
        if (o->share == CF_SYNTH_PUBLISHED && s->classes[c].published_count == 0)
            return cf_fail(CF_E_USAGE, "scheme %s has no published count of class %s", s->name,
                           s->classes[c].code);
        total += s->classes[c].published_count;
    }
    int64_t spare = o->n_images - s->n_classes; /* beyond one each */
    for (int c = 0; c < s->n_classes; c++) {
        counts[c] = o->n_images / s->n_classes + (c < o->n_images % s->n_classes);
        if (o->share == CF_SYNTH_EVEN || total == s->n_classes) continue; /* one each: even too */
        /* cut out of one line, so that the shares add up; exact where all of a set is asked for */
        before += s->classes[c].published_count - 1;
        int64_t end =
            (int64_t)((double)before * (double)spare / (double)(total - s->n_classes) + 0.5);
        counts[c] = 1 + end - given;
        given = end;
    }
    return CF_OK;
}

static cf_err class_path(const studio *t, int c, const char *name, char *path)
{
    char relative[CF_PATH_MAX];
    CF_TRY(cf_path_join(relative, sizeof relative, t->scheme->classes[c].code, name));
    return cf_path_join(path, CF_PATH_MAX, t->options->folder, relative);
}

static int class_of(const studio *t, int64_t number)
{
    int c = 0;
    while (number >= t->first[c + 1]) c++;
    return c;
}

/* "BLA_00001.png": picture k of class c; name: [CF_CODE_MAX + 32]. */
static void file_name(const studio *t, int c, int64_t k, char *name)
{
    snprintf(name, CF_CODE_MAX + 32, "%s_%05" PRId64 ".%s", t->scheme->classes[c].code, k + 1,
             t->options->format == CF_SYNTH_JPEG ? "jpg" : "png");
}

static cf_err make_picture(const studio *t, int64_t number, float *scratch, uint8_t *pixels)
{
    const cf_synth_options *o = t->options;
    char name[CF_CODE_MAX + 32], path[CF_PATH_MAX];
    int c = class_of(t, number);
    int64_t k = number - t->first[c];
    cf_synth_origin origin = cf_synth_origin_of(o, c, k);
    file_name(t, c, k, name);
    CF_TRY(class_path(t, c, name, path));
    cf_synth_paint(t->scheme, c, k, cf_synth_site_side(origin.site, o->size), o->seed, scratch,
                   pixels);
    cf_synth_site_develop(origin.site, pixels, o->size, pixels);
    if (o->format == CF_SYNTH_JPEG)
        return cf_image_write_jpeg(path, pixels, o->size, o->size, JPEG_QUALITY);
    return cf_image_write_png(path, pixels, o->size, o->size);
}

/* Lock held. */
static void note_failure(studio *t, cf_err err)
{
    t->stop = true;
    if (t->err != CF_OK) return;
    cf_buf text = {0};
    cf_buf_printf(&text, "%s", cf_err_text());
    t->err = err;
    t->message = text.data;
}

static void *paint(void *arg)
{
    studio *t = arg;
    float *scratch = NULL;
    uint8_t *pixels = NULL;
    size_t side = 0;
    for (int s = 0; s < CF_SYNTH_MAX_SITES; s++) {
        size_t of_site = (size_t)cf_synth_site_side(s, t->options->size);
        if (of_site > side) side = of_site;
    }
    cf_err err = cf_new(&scratch, 2 * side * side * 3, sizeof *scratch);
    if (err == CF_OK) err = cf_new(&pixels, side * side * 3, 1);
    pthread_mutex_lock(&t->lock);
    while (err == CF_OK && !t->stop && t->claimed < t->options->n_images) {
        int64_t number = t->claimed++;
        pthread_mutex_unlock(&t->lock);
        err = make_picture(t, number, scratch, pixels);
        pthread_mutex_lock(&t->lock);
        t->done++;
        pthread_cond_signal(&t->changed);
    }
    if (err != CF_OK) note_failure(t, err);
    t->n_painting--;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    free(pixels);
    free(scratch);
    return NULL;
}

/* Tells of pictures until the last painter has left. */
static void watch(studio *t)
{
    const cf_synth_options *o = t->options;
    int64_t told = 0;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (t->n_painting > 0 && t->done == told) pthread_cond_wait(&t->changed, &t->lock);
        if (t->done == told) break;
        told = t->done;
        pthread_mutex_unlock(&t->lock);
        bool going = !o->progress || o->progress(o->context, told, o->n_images);
        pthread_mutex_lock(&t->lock);
        if (going || t->stop) continue;
        note_failure(t,
                     cf_fail(CF_E_UNEXPECTED, "interrupted after %" PRId64 " of %" PRId64 " images",
                             told, o->n_images));
    }
    pthread_mutex_unlock(&t->lock);
}

static int n_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* Signals go to the caller's thread. */
static cf_err paint_all(studio *t)
{
    pthread_t threads[MAX_THREADS];
    int n = t->options->threads > 0 ? t->options->threads : n_cores(), number = 0, started = 0;
    if (n > MAX_THREADS) n = MAX_THREADS;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&t->lock);
    while (started < n && (number = pthread_create(&threads[started], NULL, paint, t)) == 0)
        started++;
    t->n_painting = started;
    pthread_mutex_unlock(&t->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started == 0)
        return cf_fail(CF_E_UNEXPECTED, "cannot start a painter: %s", strerror(number));
    watch(t);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    return t->err == CF_OK ? CF_OK : cf_fail(t->err, "%s", t->message ? t->message : "no memory");
}

static cf_err make_folders(const studio *t)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_dir_make(t->options->folder));
    for (int c = 0; c < t->scheme->n_classes; c++) {
        if (!cf_name_is_safe(t->scheme->classes[c].code))
            return cf_fail(CF_E_USAGE, "scheme %s: class %d has no code a folder can have",
                           t->scheme->name, c);
        CF_TRY(cf_path_join(path, sizeof path, t->options->folder, t->scheme->classes[c].code));
        CF_TRY(cf_dir_make(path));
    }
    return CF_OK;
}

static void put_row(const studio *t, int c, int64_t k, cf_buf *rows)
{
    char name[CF_CODE_MAX + 32], path[2 * CF_CODE_MAX + 40], patient[32] = "", um[32];
    cf_synth_origin origin = cf_synth_origin_of(t->options, c, k);
    file_name(t, c, k, name);
    snprintf(path, sizeof path, "%s/%s", t->scheme->classes[c].code, name);
    if (origin.patient >= 0) snprintf(patient, sizeof patient, "P%04" PRId64, origin.patient);
    snprintf(um, sizeof um, "%.6g", cf_synth_site_um_per_px(origin.site));
    cf_csv_put(rows, path, CF_CSV_MORE);
    cf_csv_put(rows, t->scheme->classes[c].code, CF_CSV_MORE);
    cf_csv_put(rows, cf_synth_site_name(origin.site), CF_CSV_MORE);
    cf_csv_put(rows, patient, CF_CSV_MORE);
    cf_csv_put(rows, um, CF_CSV_END_ROW);
}

static cf_err write_manifest(const studio *t)
{
    char path[CF_PATH_MAX];
    cf_buf rows = {0};
    if (t->options->n_sites <= 1 && t->options->n_patients == 0) return CF_OK;
    CF_TRY(cf_path_join(path, sizeof path, t->options->folder, "manifest.csv"));
    cf_buf_printf(&rows, "path,label,site,patient,um_per_px\n");
    for (int c = 0; c < t->scheme->n_classes; c++)
        for (int64_t k = 0; k < t->first[c + 1] - t->first[c]; k++) put_row(t, c, k, &rows);
    cf_err err = cf_buf_check(&rows);
    if (err == CF_OK) err = cf_file_save(path, rows.data, rows.len);
    cf_buf_fini(&rows);
    return err;
}

static cf_err check(const cf_synth_options *o)
{
    if (o->n_sites < 0 || o->n_sites > CF_SYNTH_MAX_SITES)
        return cf_fail(CF_E_USAGE, "%d sites, expected 1 to %d", o->n_sites, CF_SYNTH_MAX_SITES);
    if (o->n_patients < 0 || (o->n_patients > 0 && o->n_patients < o->n_sites))
        return cf_fail(CF_E_USAGE, "%" PRId64 " patients for %d sites", o->n_patients, o->n_sites);
    return check_empty(o->folder);
}

cf_err cf_synth_write(const cf_synth_options *options, const cf_scheme *scheme)
{
    studio t = {.options = options, .scheme = scheme};
    cf_err err;
    CF_TRY(check(options));
    pthread_mutex_init(&t.lock, NULL);
    pthread_cond_init(&t.changed, NULL);
    CF_TRY_GOTO(cf_new(&t.first, (size_t)scheme->n_classes + 1, sizeof *t.first), out);
    CF_TRY_GOTO(cf_synth_counts(options, scheme, t.first + 1), out);
    for (int c = 0; c < scheme->n_classes; c++) t.first[c + 1] += t.first[c];
    CF_TRY_GOTO(make_folders(&t), out);
    CF_TRY_GOTO(paint_all(&t), out);
    CF_TRY_GOTO(write_manifest(&t), out);
out:
    free(t.first);
    free(t.message);
    pthread_cond_destroy(&t.changed);
    pthread_mutex_destroy(&t.lock);
    return err;
}
