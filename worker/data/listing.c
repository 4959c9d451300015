/* Walks folders of classes. */
#include "worker/data/listing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"

enum { MAX_DEPTH = 16, MAX_NAMED = 20 };

/* A class folder of a source. */
typedef struct class_dir {
    char *name; /* owned */
    int source;
} class_dir;

typedef struct class_dirs {
    class_dir *items; /* owned, [n] */
    size_t n;
} class_dirs;

static void class_dirs_fini(class_dirs *d)
{
    for (size_t i = 0; i < d->n; i++) free(d->items[i].name);
    free(d->items);
    *d = (class_dirs){0};
}

void cf_listing_fini(cf_listing *list)
{
    for (int64_t i = 0; i < list->n; i++) free(list->items[i].id);
    free(list->items);
    free(list->first_ignored);
    cf_strings_fini(&list->problems);
    *list = (cf_listing){0};
}

cf_err cf_listing_path(const cf_listing *list, int64_t i, char *buf, size_t n)
{
    return cf_path_join(buf, n, list->sources[list->items[i].source], list->items[i].id);
}

/* Images in formats that are not read are listed too: the decoder then names them, where passing
 * them over in silence would lose part of a data set. */
static bool is_image_name(const char *name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".jpe",  ".jfif", ".png",
                                          ".tif", ".tiff", ".webp", ".bmp",  ".gif"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof endings[0]; i++)
        if (strcasecmp(dot, endings[i]) == 0) return true;
    return false;
}

static cf_err ignore(cf_listing *list, const char *path)
{
    if (list->n_ignored++ > 0) return CF_OK;
    return cf_strdup(path, &list->first_ignored);
}

/* A byte below 0x20 or 0x7F would break lines of logs and tables; one that is not UTF-8 breaks
 * JSON. */
static bool is_plain_text(const char *text)
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

/* "path: reason", with what cannot be printed replaced. */
static cf_err add_problem(cf_listing *list, const char *path, const char *reason)
{
    cf_buf text = {0};
    cf_buf_printf(&text, "%s: %s", path, reason);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK) {
        bool plain = is_plain_text(text.data);
        for (char *p = text.data; *p; p++)
            if ((unsigned char)*p < 0x20 || *p == 0x7F || (!plain && (unsigned char)*p >= 0x80))
                *p = '?';
        err = cf_strings_add(&list->problems, text.data);
    }
    cf_buf_fini(&text);
    return err;
}

static cf_err add_item(cf_listing *list, int source, const char *id, int label)
{
    if (list->n == list->room) {
        int64_t room = list->room ? list->room * 2 : 256;
        CF_TRY(cf_resize(&list->items, (size_t)room, sizeof *list->items));
        list->room = room;
    }
    char *copy;
    CF_TRY(cf_strdup(id, &copy));
    list->items[list->n++] = (cf_listed){copy, source, label};
    return CF_OK;
}

/* One file below a class folder. label -1: dropped on purpose. */
static cf_err take_file(cf_listing *list, int source, const char *path, const char *id, int label,
                        const struct stat *st)
{
    if (label < 0) {
        list->n_dropped++;
        return CF_OK;
    }
    if (!S_ISREG(st->st_mode)) return add_problem(list, path, "not a regular file");
    if (!is_plain_text(id))
        return add_problem(list, path, "the name has control characters or is not UTF-8");
    return add_item(list, source, id, label);
}

/* id: of this folder, below its source. */
static cf_err walk(cf_listing *list, int source, const char *id, int label, int depth)
{
    char path[CF_PATH_MAX];
    cf_strings names = {0};
    CF_TRY(cf_path_join(path, sizeof path, list->sources[source], id));
    if (depth > MAX_DEPTH)
        return cf_fail(CF_E_DATA, "%s: more than %d folders deep", path, MAX_DEPTH);
    CF_TRY(cf_dir_list(path, &names));
    cf_err err = CF_OK;
    for (size_t i = 0; i < names.n && err == CF_OK; i++) {
        char below[CF_PATH_MAX], child[CF_PATH_MAX];
        struct stat st, link;
        if (names.items[i][0] == '.') continue;
        CF_TRY_GOTO(cf_path_join(child, sizeof child, id, names.items[i]), out);
        CF_TRY_GOTO(cf_path_join(below, sizeof below, path, names.items[i]), out);
        bool is_image = is_image_name(names.items[i]);
        if (lstat(below, &link) != 0 || stat(below, &st) != 0)
            err = is_image ? add_problem(list, below, strerror(errno)) : ignore(list, below);
        else if (S_ISDIR(link.st_mode))
            err = walk(list, source, child, label, depth + 1);
        else if (!is_image)
            err = ignore(list, below);
        else
            err = take_file(list, source, below, child, label, &st);
    }
out:
    cf_strings_fini(&names);
    return err;
}

/* Folders of one source, added to `dirs`. */
static cf_err find_class_dirs(cf_listing *list, int source, class_dirs *dirs)
{
    const char *root = list->sources[source];
    if (!cf_path_exists(root)) return cf_fail(CF_E_DATA, "%s: no such folder", root);
    if (!cf_path_is_dir(root)) return cf_fail(CF_E_DATA, "%s: not a folder of class folders", root);
    cf_strings names = {0};
    CF_TRY(cf_dir_list(root, &names));
    cf_err err = CF_OK;
    size_t before = dirs->n;
    int64_t n_files = 0;
    for (size_t i = 0; i < names.n; i++) {
        char path[CF_PATH_MAX];
        if (names.items[i][0] == '.') continue;
        CF_TRY_GOTO(cf_path_join(path, sizeof path, root, names.items[i]), out);
        if (!cf_path_is_dir(path)) {
            n_files += is_image_name(names.items[i]);
            CF_TRY_GOTO(ignore(list, path), out);
            continue;
        }
        CF_TRY_GOTO(cf_resize(&dirs->items, dirs->n + 1, sizeof *dirs->items), out);
        char *copy;
        CF_TRY_GOTO(cf_strdup(names.items[i], &copy), out);
        dirs->items[dirs->n++] = (class_dir){copy, source};
    }
    if (dirs->n == before && n_files > 0)
        err =
            cf_fail(CF_E_DATA,
                    "%s: has %lld images but no class folders (expected a folder per class; is it "
                    "a class folder itself?)",
                    root, (long long)n_files);
    else if (dirs->n == before)
        err = cf_fail(CF_E_DATA, "%s: no class folders (expected a folder per class)", root);
out:
    cf_strings_fini(&names);
    return err;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* One class a folder name, in byte order. */
static cf_err scheme_from_folders(const class_dirs *dirs, cf_scheme *scheme)
{
    const char **codes;
    CF_TRY(cf_new(&codes, dirs->n, sizeof *codes));
    for (size_t i = 0; i < dirs->n; i++) codes[i] = dirs->items[i].name;
    qsort(codes, dirs->n, sizeof *codes, by_text);
    int n = 0;
    cf_err err = CF_OK;
    for (size_t i = 0; i < dirs->n && err == CF_OK; i++) {
        if (!cf_name_is_safe(codes[i]) || !is_plain_text(codes[i]) ||
            strlen(codes[i]) >= CF_CODE_MAX)
            err = cf_fail(CF_E_DATA,
                          "a class folder's name is no class code (at most %d bytes of UTF-8, no "
                          "control characters)",
                          CF_CODE_MAX - 1);
        else if (n == 0 || strcmp(codes[n - 1], codes[i]) != 0)
            codes[n++] = codes[i];
    }
    if (err == CF_OK) err = cf_scheme_from_codes(codes, n, scheme);
    free(codes);
    return err;
}

/* CF_E_DATA with every folder the scheme does not know. */
static cf_err check_known(const class_dirs *dirs, const cf_scheme *scheme)
{
    cf_buf unknown = {0}, codes = {0};
    int n_unknown = 0;
    for (size_t i = 0; i < dirs->n; i++) {
        const char *name = dirs->items[i].name;
        if (cf_scheme_find(scheme, name) != -2) continue;
        if (n_unknown++ < MAX_NAMED)
            cf_buf_printf(&unknown, "%s%s", n_unknown > 1 ? ", " : "",
                          is_plain_text(name) ? name : "(unprintable name)");
    }
    if (n_unknown > MAX_NAMED) cf_buf_printf(&unknown, " and %d more", n_unknown - MAX_NAMED);
    for (int c = 0; c < scheme->n_classes && c < 2 * MAX_NAMED; c++)
        cf_buf_printf(&codes, "%s%s", c ? ", " : "", scheme->classes[c].code);
    cf_err err = CF_OK;
    if (n_unknown > 0)
        err = cf_fail(CF_E_DATA, "folders that scheme %s does not know: %s (its classes: %s)",
                      scheme->name, cf_buf_text(&unknown), cf_buf_text(&codes));
    cf_buf_fini(&codes);
    cf_buf_fini(&unknown);
    return err;
}

static int by_id(const void *a, const void *b)
{
    const cf_listed *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    return order != 0 ? order : (x->source > y->source) - (x->source < y->source);
}

/* Sorted by id whatever the order of the sources, so that the packed file does not depend on it. */
static cf_err sort_items(cf_listing *list)
{
    if (list->n == 0 && list->problems.n == 0)
        return cf_fail(CF_E_DATA, "%s: no images below the class folders", list->sources[0]);
    if (list->n > 0) qsort(list->items, (size_t)list->n, sizeof *list->items, by_id);
    for (int64_t i = 1; i < list->n; i++) {
        const cf_listed *a = &list->items[i - 1], *b = &list->items[i];
        if (strcmp(a->id, b->id) == 0)
            return cf_fail(CF_E_DATA, "%s is in both %s and %s; an id must be there once", a->id,
                           list->sources[a->source], list->sources[b->source]);
    }
    return CF_OK;
}

cf_err cf_listing_folders(const char *const *sources, int n_sources, const char *scheme_name,
                          cf_scheme *scheme, cf_listing *list)
{
    *list = (cf_listing){.sources = sources};
    *scheme = (cf_scheme){0};
    class_dirs dirs = {0};
    cf_err err = CF_OK;
    for (int s = 0; s < n_sources; s++) CF_TRY_GOTO(find_class_dirs(list, s, &dirs), out);
    if (strcmp(scheme_name, "auto") == 0)
        CF_TRY_GOTO(scheme_from_folders(&dirs, scheme), out);
    else
        CF_TRY_GOTO(cf_scheme_read(scheme_name, scheme), out);
    CF_TRY_GOTO(check_known(&dirs, scheme), out);
    for (size_t i = 0; i < dirs.n; i++) {
        const class_dir *d = &dirs.items[i];
        CF_TRY_GOTO(walk(list, d->source, d->name, cf_scheme_find(scheme, d->name), 1), out);
    }
    CF_TRY_GOTO(sort_items(list), out);
out:
    class_dirs_fini(&dirs);
    if (err != CF_OK) {
        cf_listing_fini(list);
        cf_scheme_fini(scheme);
    }
    return err;
}
