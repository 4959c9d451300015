/* Walks folders of classes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "worker/data/listing_parts.h"

enum { MAX_DEPTH = 16, DROPPED = -1, UNKNOWN = -2 };

void cf_class_dirs_fini(cf_class_dirs *d)
{
    for (size_t i = 0; i < d->n; i++) free(d->items[i].name);
    free(d->items);
    *d = (cf_class_dirs){0};
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

/* "path: reason", with what cannot be printed replaced. */
static cf_err add_problem(cf_listing *list, const char *path, const char *reason)
{
    cf_buf text = {0};
    cf_buf_printf(&text, "%s: %s", path, reason);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK) {
        bool plain = cf_listing_is_plain(text.data);
        for (char *p = text.data; *p; p++)
            if ((unsigned char)*p < 0x20 || *p == 0x7F || (!plain && (unsigned char)*p >= 0x80))
                *p = '?';
        err = cf_strings_add(&list->problems, text.data);
    }
    cf_buf_fini(&text);
    return err;
}

/* A class folder being walked. */
typedef struct walker {
    cf_listing *list; /* borrowed */
    int source;
    int label;         /* or DROPPED, or UNKNOWN */
    const char *given; /* the folder's name, borrowed from the list */
} walker;

/* below: the path below the source, which its name goes before. */
static cf_err add_item(const walker *w, const char *below)
{
    cf_listing *list = w->list;
    const cf_source *s = &list->sources[w->source];
    char id[CF_PATH_MAX];
    CF_TRY(cf_path_join(id, sizeof id, s->name, below));
    cf_listed item = {.site = s->site,
                      .patient = "",
                      .given = w->given,
                      .source = w->source,
                      .label = w->label >= 0 ? w->label : CF_LABEL_UNKNOWN,
                      .fold = -1,
                      .um_per_px = s->um_per_px,
                      .x = -1.0,
                      .y = -1.0};
    CF_TRY(cf_strdup(id, &item.id));
    item.file = item.id + strlen(id) - strlen(below);
    return cf_listing_add(list, &item);
}

/* One file below a class folder. */
static cf_err take_file(const walker *w, const char *path, const char *id, const struct stat *st)
{
    cf_listing *list = w->list;
    if (w->label < 0 && list->unmapped != CF_UNMAPPED_KEEP) {
        if (w->label == DROPPED)
            list->n_dropped++;
        else
            list->n_unmapped++;
        return CF_OK;
    }
    if (!S_ISREG(st->st_mode)) return add_problem(list, path, "not a regular file");
    if (!cf_listing_is_plain(id))
        return add_problem(list, path, "the name has control characters or is not UTF-8");
    return add_item(w, id);
}

/* id: of this folder, below its source; "": the source itself, whose folders are walked apart. */
static cf_err walk(const walker *w, const char *id, int depth)
{
    cf_listing *list = w->list;
    char path[CF_PATH_MAX];
    cf_strings names = {0};
    CF_TRY(cf_path_join(path, sizeof path, list->sources[w->source].path, id));
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
        else if (S_ISDIR(link.st_mode) || (*id == '\0' && S_ISDIR(st.st_mode)))
            err = *id ? walk(w, child, depth + 1) : CF_OK;
        else if (!is_image)
            err = ignore(list, below);
        else
            err = take_file(w, below, child, &st);
    }
out:
    cf_strings_fini(&names);
    return err;
}

static cf_err add_dir(cf_class_dirs *dirs, const char *name, int source)
{
    char *copy;
    CF_TRY(cf_resize(&dirs->items, dirs->n + 1, sizeof *dirs->items));
    CF_TRY(cf_strdup(name, &copy));
    dirs->items[dirs->n++] = (cf_class_dir){copy, source};
    return CF_OK;
}

cf_err cf_folders_find(cf_listing *list, int source, cf_class_dirs *dirs)
{
    const char *root = list->sources[source].path;
    if (!cf_path_exists(root)) return cf_fail(CF_E_DATA, "%s: no such file or folder", root);
    if (!cf_path_is_dir(root))
        return cf_fail(CF_E_DATA, "%s: not a folder of class folders, nor a manifest (*.csv)",
                       root);
    cf_strings names = {0};
    CF_TRY(cf_dir_list(root, &names));
    cf_err err = CF_OK;
    size_t before = dirs->n;
    int64_t n_files = 0, n_others = 0;
    bool keep = list->unmapped == CF_UNMAPPED_KEEP;
    for (size_t i = 0; i < names.n; i++) {
        char path[CF_PATH_MAX];
        if (names.items[i][0] == '.') continue;
        CF_TRY_GOTO(cf_path_join(path, sizeof path, root, names.items[i]), out);
        if (!cf_path_is_dir(path)) {
            bool image = is_image_name(names.items[i]);
            n_files += image;
            n_others += !image;
            if (!keep) CF_TRY_GOTO(ignore(list, path), out);
            continue;
        }
        CF_TRY_GOTO(add_dir(dirs, names.items[i], source), out);
    }
    if (keep && (n_files > 0 || (n_others > 0 && dirs->n > before))) /* walked, so that all count */
        err = add_dir(dirs, "", source);
    else if (dirs->n == before && n_files > 0)
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

cf_err cf_folders_walk(cf_listing *list, const cf_class_dir *dir, const cf_scheme *scheme,
                       cf_unknowns *unknown)
{
    int64_t before = list->n_unmapped;
    CF_TRY(cf_strings_add(&list->labels, dir->name));
    walker w = {.list = list,
                .source = dir->source,
                .label = cf_scheme_find(scheme, dir->name),
                .given = list->labels.items[list->labels.n - 1]};
    CF_TRY(walk(&w, dir->name, 1));
    if (w.label != UNKNOWN || list->unmapped == CF_UNMAPPED_KEEP) return CF_OK;
    return cf_unknowns_add(unknown, dir->name, list->n_unmapped - before);
}

cf_err cf_file_take(cf_listing *list, int source)
{
    const char *path = list->sources[source].path;
    struct stat st;
    walker w = {.list = list, .source = source, .label = UNKNOWN, .given = ""};
    if (stat(path, &st) != 0) return cf_fail_errno(CF_E_DATA, "%s", path);
    return take_file(&w, path, path, &st);
}
