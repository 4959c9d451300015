/* Puts the images of all sources into one sorted list. */
#include "worker/data/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "proto/control.h"
#include "worker/data/listing_parts.h"

enum { MAX_NAMED = 20 };

void cf_listing_fini(cf_listing *list)
{
    for (int64_t i = 0; i < list->n; i++) free(list->items[i].id);
    for (int s = 0; list->bases && s < list->n_sources; s++) free(list->bases[s]);
    for (int s = 0; list->manifests && s < list->n_sources; s++) cf_csv_fini(&list->manifests[s]);
    free(list->items);
    free(list->bases);
    free(list->manifests);
    free(list->first_ignored);
    cf_strings_fini(&list->labels);
    cf_strings_fini(&list->problems);
    cf_strings_fini(&list->notes);
    *list = (cf_listing){0};
}

cf_err cf_listing_path(const cf_listing *list, int64_t i, char *buf, size_t n)
{
    const cf_listed *item = &list->items[i];
    return cf_path_join(buf, n, item->file[0] == '/' ? "" : list->bases[item->source], item->file);
}

bool cf_listing_is_plain(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7F) return false;
        int more = *p < 0x80 ? 0 : *p >> 5 == 6 ? 1 : *p >> 4 == 14 ? 2 : *p >> 3 == 30 ? 3 : -1;
        if (more < 0) return false;
        for (; more > 0; more--)
            if (*++p >> 6 != 2) return false;
    }
    return true;
}

cf_err cf_listing_add(cf_listing *list, const cf_listed *item)
{
    if (list->n == list->room) {
        int64_t room = list->room ? list->room * 2 : 256;
        cf_err err = cf_resize(&list->items, (size_t)room, sizeof *list->items);
        if (err != CF_OK) free(item->id);
        CF_TRY(err);
        list->room = room;
    }
    list->items[list->n++] = *item;
    return CF_OK;
}

cf_err cf_unknowns_add(cf_unknowns *u, const char *label, int64_t n)
{
    if (u->n == u->room) {
        size_t room = u->room ? u->room * 2 : 64;
        CF_TRY(cf_resize(&u->items, room, sizeof *u->items));
        u->room = room;
    }
    u->items[u->n++] = (cf_unknown){label, n};
    return CF_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All class folders' names and labels, [n] in *out, owned; the texts are borrowed. */
static cf_err all_labels(const cf_listing *list, const cf_class_dirs *dirs, const char ***out,
                         size_t *n)
{
    size_t room = dirs->n;
    for (int s = 0; s < list->n_sources; s++) room += (size_t)list->manifests[s].n_rows;
    CF_TRY(cf_new(out, room, sizeof **out));
    *n = 0;
    for (size_t i = 0; i < dirs->n; i++) (*out)[(*n)++] = dirs->items[i].name;
    for (int s = 0; s < list->n_sources; s++) {
        const cf_csv *csv = &list->manifests[s];
        for (int64_t r = 1; r < csv->n_rows; r++)
            (*out)[(*n)++] = cf_csv_cell(csv, r, cf_manifest_label_column(csv));
    }
    return CF_OK;
}

/* One class a folder name or label, in byte order. */
static cf_err scheme_from_labels(const cf_listing *list, const cf_class_dirs *dirs,
                                 cf_scheme *scheme)
{
    const char **codes;
    size_t n_labels, n = 0;
    CF_TRY(all_labels(list, dirs, &codes, &n_labels));
    qsort(codes, n_labels, sizeof *codes, by_text);
    cf_err err = CF_OK;
    for (size_t i = 0; i < n_labels && err == CF_OK; i++) {
        if (!cf_name_is_safe(codes[i]) || !cf_listing_is_plain(codes[i]) ||
            strlen(codes[i]) >= CF_CODE_MAX)
            err = cf_fail(CF_E_DATA,
                          "a class folder's name or a label is no class code (at most %d bytes of "
                          "UTF-8, no control characters)",
                          CF_CODE_MAX - 1);
        else if (n == 0 || strcmp(codes[n - 1], codes[i]) != 0)
            codes[n++] = codes[i];
    }
    if (err == CF_OK && n > CF_MAX_CLASSES)
        err = cf_fail(CF_E_DATA, "%zu different labels; expected at most %d classes", n,
                      CF_MAX_CLASSES);
    if (err == CF_OK) err = cf_scheme_from_codes(codes, (int)n, scheme);
    free(codes);
    return err;
}

static int by_label(const void *a, const void *b)
{
    return strcmp(((const cf_unknown *)a)->label, ((const cf_unknown *)b)->label);
}

/* One entry a label, in byte order. */
static void merge_unknowns(cf_unknowns *u)
{
    size_t n = 0;
    if (u->n > 0) qsort(u->items, u->n, sizeof *u->items, by_label);
    for (size_t i = 0; i < u->n; i++) {
        if (n > 0 && strcmp(u->items[n - 1].label, u->items[i].label) == 0)
            u->items[n - 1].n += u->items[i].n;
        else
            u->items[n++] = u->items[i];
    }
    u->n = n;
}

/* "Blobs (12), XYZ (3)" */
static void print_unknowns(const cf_unknowns *u, cf_buf *out)
{
    for (size_t i = 0; i < u->n && i < MAX_NAMED; i++) {
        const char *label = u->items[i].label;
        cf_buf_printf(out, "%s%.200s (%lld)", i > 0 ? ", " : "",
                      cf_listing_is_plain(label) ? label : "(unprintable name)",
                      (long long)u->items[i].n);
    }
    if (u->n > MAX_NAMED) cf_buf_printf(out, " and %zu more", u->n - MAX_NAMED);
}

/* Refuses or notes labels that the scheme does not know, all of them with their counts. */
static cf_err judge_unknowns(cf_listing *list, cf_unknowns *u, enum cf_unmapped unmapped,
                             const cf_scheme *scheme)
{
    cf_buf text = {0};
    if (u->n == 0) return CF_OK;
    merge_unknowns(u);
    print_unknowns(u, &text);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK && unmapped == CF_UNMAPPED_DROP) {
        cf_buf note = {0};
        cf_buf_printf(&note, "labels that scheme %s does not know, with images left out: %s",
                      scheme->name, cf_buf_text(&text));
        err = cf_buf_check(&note);
        if (err == CF_OK) err = cf_strings_add(&list->notes, cf_buf_text(&note));
        cf_buf_fini(&note);
    } else if (err == CF_OK) {
        cf_buf codes = {0};
        for (int c = 0; c < scheme->n_classes && c < 2 * MAX_NAMED; c++)
            cf_buf_printf(&codes, "%s%s", c ? ", " : "", scheme->classes[c].code);
        err = cf_fail(CF_E_DATA,
                      "labels that scheme %s does not know, with their images: %s (its classes: "
                      "%s; --drop-unmapped leaves these images out)",
                      scheme->name, cf_buf_text(&text), cf_buf_text(&codes));
        cf_buf_fini(&codes);
    }
    cf_buf_fini(&text);
    return err;
}

static int by_id(const void *a, const void *b)
{
    const cf_listed *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    if (order == 0) order = (x->source > y->source) - (x->source < y->source);
    return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

static cf_err duplicate(const cf_listing *list, const cf_listed *a, const cf_listed *b)
{
    if (a->source == b->source)
        return cf_fail(CF_E_DATA, "%s:%lld:%d: %s is on line %lld too; an image must be there once",
                       list->sources[b->source].path, (long long)b->line,
                       cf_csv_column(&list->manifests[b->source], "path") + 1, b->id,
                       (long long)a->line);
    return cf_fail(CF_E_DATA,
                   "%s is in both %s and %s; an id must be there once (NAME=SRC puts NAME/ before "
                   "the ids of a source)",
                   a->id, list->sources[a->source].path, list->sources[b->source].path);
}

/* Sorted by id whatever the order of the sources, so that the packed file does not depend on it. */
static cf_err sort_items(cf_listing *list)
{
    const cf_listed *first = NULL, *second = NULL;
    int64_t n_twice = 0;
    if (list->n == 0 && list->problems.n == 0)
        return cf_fail(CF_E_DATA, "%s: no images in it that the scheme keeps",
                       list->sources[0].path);
    if (list->n > 0) qsort(list->items, (size_t)list->n, sizeof *list->items, by_id);
    for (int64_t i = 1; i < list->n; i++) {
        const cf_listed *a = &list->items[i - 1], *b = &list->items[i];
        if (strcmp(a->id, b->id) != 0) continue;
        if (n_twice++ > 0) continue;
        first = a;
        second = b;
    }
    if (n_twice == 0) return CF_OK;
    cf_err err = duplicate(list, first, second);
    return n_twice > 1 ? cf_where(err, "%lld images stand twice, the first", (long long)n_twice)
                       : err;
}

/* A folds file has a row for every image, so one is made only where every image has a fold. */
static cf_err judge_folds(cf_listing *list)
{
    int64_t n_with = 0, without = -1;
    int lowest = INT32_MAX;
    for (int64_t i = 0; i < list->n; i++) {
        int fold = list->items[i].fold;
        n_with += fold >= 0;
        if (fold < 0 && without < 0) without = i;
        if (fold >= 0 && fold != CF_FOLD_TRAIN && fold < lowest) lowest = fold;
    }
    if (n_with == 0) return CF_OK;
    if (without < 0 && lowest == INT32_MAX)
        return cf_strings_add(&list->notes,
                              "no folds file is written: no image has the split test");
    if (without < 0) { /* some count folds from 1 */
        for (int64_t i = 0; i < list->n; i++)
            if (list->items[i].fold != CF_FOLD_TRAIN) list->items[i].fold -= lowest;
        list->has_folds = true;
        return CF_OK;
    }
    char note[CF_PATH_MAX + 128];
    snprintf(note, sizeof note,
             "no folds file is written: %lld of %lld images have no split, as %s",
             (long long)(list->n - n_with), (long long)list->n, list->items[without].id);
    return cf_strings_add(&list->notes, note);
}

/* A source that is one image file. */
static bool is_single(const cf_listing *list, const char *path)
{
    return list->unmapped == CF_UNMAPPED_KEEP && cf_path_exists(path) && !cf_path_is_dir(path) &&
           !cf_manifest_is(path);
}

static cf_err find_sources(cf_listing *list, cf_class_dirs *dirs)
{
    CF_TRY(cf_new(&list->bases, (size_t)list->n_sources, sizeof *list->bases));
    CF_TRY(cf_new(&list->manifests, (size_t)list->n_sources, sizeof *list->manifests));
    for (int s = 0; s < list->n_sources; s++) {
        const char *path = list->sources[s].path;
        bool single = is_single(list, path);
        CF_TRY(cf_strdup(single ? "" : path, &list->bases[s]));
        if (single) continue;
        if (!cf_manifest_is(path)) {
            CF_TRY(cf_folders_find(list, s, dirs));
            continue;
        }
        char *slash = strrchr(list->bases[s], '/');
        if (slash == list->bases[s]) slash++; /* "/m.csv" */
        *(slash ? slash : list->bases[s]) = '\0';
        CF_TRY(cf_manifest_read(list, s));
    }
    return CF_OK;
}

cf_err cf_listing_read(const cf_source *sources, int n_sources, const char *scheme_name,
                       enum cf_unmapped unmapped, cf_scheme *scheme, cf_listing *list)
{
    *list = (cf_listing){.sources = sources, .n_sources = n_sources, .unmapped = unmapped};
    *scheme = (cf_scheme){0};
    cf_class_dirs dirs = {0};
    cf_unknowns unknown = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(find_sources(list, &dirs), out);
    if (strcmp(scheme_name, "auto") == 0)
        CF_TRY_GOTO(scheme_from_labels(list, &dirs, scheme), out);
    else
        CF_TRY_GOTO(cf_scheme_read(scheme_name, scheme), out);
    for (size_t i = 0; i < dirs.n; i++)
        CF_TRY_GOTO(cf_folders_walk(list, &dirs.items[i], scheme, &unknown), out);
    for (int s = 0; s < n_sources; s++)
        if (list->manifests[s].n_rows > 0)
            CF_TRY_GOTO(cf_manifest_take(list, s, scheme, &unknown), out);
        else if (is_single(list, sources[s].path))
            CF_TRY_GOTO(cf_file_take(list, s), out);
    CF_TRY_GOTO(judge_unknowns(list, &unknown, unmapped, scheme), out);
    CF_TRY_GOTO(sort_items(list), out);
    CF_TRY_GOTO(judge_folds(list), out);
out:
    free(unknown.items);
    cf_class_dirs_fini(&dirs);
    if (err != CF_OK) {
        cf_listing_fini(list);
        cf_scheme_fini(scheme);
    }
    return err;
}
