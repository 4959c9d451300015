/* Plants 100 exact and 100 near duplicates (25 each saved as JPEG, shifted, turned, of another
 * brightness) among phantom cells or among the images of a cells file, runs the check and counts
 * what it finds. Each planted copy is of a picture of its own.
 *
 * usage: planted_duplicates COUNT SIDE SEED OUT.cells    among COUNT phantoms (synthetic)
 *        planted_duplicates X.cells SEED OUT.cells       among the images of X.cells
 *
 * Prints how many of each kind were found, and pairs that were not planted: false alarms among
 * phantoms; among real images somebody has to look (cytofold check OUT.cells -o DIR). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/planted.h"
#include "worker/data/check.h"
#include "worker/data/fetch.h"
#include "worker/data/synth.h"

enum { EXACT = 100, NEAR_EACH = 25, PLANTED = EXACT + 4 * NEAR_EACH };

typedef struct source {
    cf_cells cells; /* of a file; n counts phantoms otherwise */
    cf_scheme scheme;
    int64_t n;
    int side;
    uint64_t seed;
    float *scratch;
    cf_image room;
} source;

static const char *draw(source *s, int64_t i, uint8_t *pixels, int *label)
{
    static char id[64];
    if (s->cells.n > 0) {
        const uint8_t *stored;
        if (cf_cells_fetch(&s->cells, i, &s->room, &stored) != CF_OK) return NULL;
        memcpy(pixels, stored, (size_t)s->side * (size_t)s->side * 3);
        *label = s->cells.labels[i];
        return s->cells.ids[i];
    }
    *label = (int)(i % s->scheme.n_classes);
    cf_synth_paint(&s->scheme, *label, i / s->scheme.n_classes, s->side, s->seed, s->scratch,
                   pixels);
    snprintf(id, sizeof id, "phantom-%06lld", (long long)i);
    return id;
}

static enum plant kind_of(int k)
{
    return k < EXACT ? PLANT_EXACT : (enum plant)(PLANT_JPEG + (k - EXACT) / NEAR_EACH);
}

static cf_err add(cf_cells_writer *w, const char *id, int label, const uint8_t *pixels)
{
    return cf_cells_add(
        w,
        &(cf_cells_entry){.id = id, .label = label, .site = "", .patient = "", .pixels = pixels});
}

/* Originals are every (n / PLANTED)-th image. */
static cf_err write_all(source *s, const char *path)
{
    cf_cells_writer *w;
    size_t bytes = (size_t)s->side * (size_t)s->side * 3;
    uint8_t *pixels = malloc(bytes), *copy = malloc(bytes);
    cf_err err = cf_cells_create(path, &s->scheme, s->side, s->side, 0, &w);
    cf_rng rng = cf_rng_at(s->seed, 0, 0, 1, CF_PURPOSE_TEST);
    for (int64_t i = 0; i < s->n && err == CF_OK; i++) {
        int label;
        const char *id = draw(s, i, pixels, &label);
        err = id ? add(w, id, label, pixels) : CF_E_DATA;
    }
    for (int k = 0; k < PLANTED && err == CF_OK; k++) {
        char id[64];
        int label;
        draw(s, k * (s->n / PLANTED), pixels, &label);
        snprintf(id, sizeof id, "planted-%03d", k);
        if (!plant_copy(kind_of(k), pixels, s->side, &rng, copy))
            err = cf_fail(CF_E_UNEXPECTED, "cannot plant");
        if (err == CF_OK) err = add(w, id, label, copy);
    }
    free(copy);
    free(pixels);
    return err == CF_OK ? cf_cells_finish(w) : err;
}

static void count(const source *s, const cf_check_result *r)
{
    int64_t found[N_PLANTS] = {0}, others = 0, as_exact = 0;
    float lowest[N_PLANTS] = {1, 1, 1, 1, 1}, highest = 0;
    uint8_t *alarmed = calloc((size_t)s->n + PLANTED, 1);
    for (int64_t i = 0; i < r->n_duplicates; i++) {
        const cf_duplicate *d = &r->duplicates[i];
        int64_t k = d->b - s->n;
        if (k >= 0 && d->a == k * (s->n / PLANTED)) {
            found[kind_of((int)k)]++;
            as_exact += d->exact;
            float *low = &lowest[kind_of((int)k)];
            if (d->similarity < *low) *low = d->similarity;
        } else {
            others++;
            if (d->similarity > highest) highest = d->similarity;
            alarmed[d->a] = alarmed[d->b] = 1;
        }
    }
    int64_t images = 0;
    for (int64_t i = 0; i < s->n + PLANTED; i++) images += alarmed[i];
    for (int p = 0; p < N_PLANTS; p++)
        printf("%-32s %3lld of %d, similarity %.3f or more\n", plant_names[p], (long long)found[p],
               p == PLANT_EXACT ? EXACT : NEAR_EACH, (double)lowest[p]);
    printf("planted pairs reported as exact  %lld\n", (long long)as_exact);
    printf("pairs that were not planted      %lld, in %lld of %lld images (%.3f %%), highest "
           "similarity %.3f\n",
           (long long)others, (long long)images, (long long)s->n + PLANTED,
           100.0 * (double)images / (double)(s->n + PLANTED), (double)highest);
    printf("candidates %lld, compared on pixels %lld, through features %lld\n",
           (long long)r->n_candidates, (long long)r->n_compared, (long long)r->n_sift);
    free(alarmed);
}

static cf_err run(source *s, const char *path)
{
    cf_cells cells;
    cf_check_result r;
    CF_TRY(write_all(s, path));
    CF_TRY(cf_cells_open_any(path, &cells));
    cf_err err = cf_check(&(cf_check_options){.cells = &cells}, &r);
    if (err == CF_OK) count(s, &r);
    cf_check_result_fini(&r);
    cf_cells_close(&cells);
    return err;
}

int main(int argc, char **argv)
{
    source s = {0};
    cf_err err = CF_OK;
    if (argc == 5) {
        s.n = atoll(argv[1]);
        s.side = atoi(argv[2]);
        s.seed = strtoull(argv[3], NULL, 10);
        s.scratch = malloc(2 * sizeof(float) * 3 * (size_t)s.side * (size_t)s.side);
        err = cf_scheme_read("bm7", &s.scheme);
    } else if (argc == 4) {
        s.seed = strtoull(argv[2], NULL, 10);
        err = cf_cells_open_any(argv[1], &s.cells);
        if (err == CF_OK) err = cf_scheme_read("bm7", &s.scheme);
        s.n = s.cells.n;
        s.side = s.cells.width;
    } else {
        fprintf(stderr, "usage: planted_duplicates COUNT SIDE SEED OUT.cells | X.cells SEED "
                        "OUT.cells\n");
        return CF_E_USAGE;
    }
    if (err == CF_OK && s.n < PLANTED) err = cf_fail(CF_E_USAGE, "fewer than %d images", PLANTED);
    if (err == CF_OK) err = run(&s, argv[argc - 1]);
    if (err != CF_OK) fprintf(stderr, "%s\n", cf_err_text());
    if (s.cells.n > 0) cf_cells_close(&s.cells);
    cf_scheme_fini(&s.scheme);
    cf_image_fini(&s.room);
    free(s.scratch);
    return (int)err;
}
