/* Folders, paths, names and lists of strings; declared in file.h. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"

bool cf_path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool cf_path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static cf_err make_one(const char *path)
{
    if (mkdir(path, 0777) == 0) return CF_OK;
    int saved = errno;
    if (cf_path_is_dir(path)) return CF_OK; /* EEXIST, or EROFS and EACCES on what is there */
    errno = saved;
    return cf_disk_fail(path, "make folder", 0);
}

cf_err cf_dir_make(const char *path)
{
    char part[CF_PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) {
        return cf_fail(CF_E_DISK, "folder name of %zu bytes is empty or too long: %.80s", n, path);
    }
    memcpy(part, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (part[i] != '/' || part[i - 1] == '/') continue;
        part[i] = '\0';
        CF_TRY(make_one(part));
        part[i] = '/';
    }
    return make_one(part);
}

cf_err cf_path_join(char *buf, size_t n, const char *a, const char *b)
{
    size_t length_a = strlen(a), length_b = strlen(b);
    bool slash = length_a > 0 && a[length_a - 1] != '/';
    if (length_a + slash + length_b >= n) {
        return cf_fail(CF_E_USAGE, "path of %zu bytes is too long (at most %zu): %.60s/%.60s",
                       length_a + slash + length_b, n - 1, a, b);
    }
    memmove(buf, a, length_a); /* buf may be a */
    if (slash) buf[length_a] = '/';
    memcpy(buf + length_a + slash, b, length_b + 1);
    return CF_OK;
}

bool cf_name_is_safe(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 200 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f || c == '/') return false;
    }
    return true;
}

cf_err cf_strings_add(cf_strings *list, const char *text)
{
    /* The list keeps no capacity: it grows at powers of two, which n itself tells. */
    if ((list->n & (list->n - 1)) == 0) {
        CF_TRY(cf_resize(&list->items, list->n ? 2 * list->n : 1, sizeof *list->items));
    }
    CF_TRY(cf_strdup(text, &list->items[list->n]));
    list->n++;
    return CF_OK;
}

void cf_strings_fini(cf_strings *list)
{
    for (size_t i = 0; i < list->n; i++) free(list->items[i]);
    free(list->items);
    *list = (cf_strings){0};
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

cf_err cf_dir_list(const char *path, cf_strings *names)
{
    *names = (cf_strings){0};
    DIR *dir = opendir(path);
    if (!dir) return cf_fail_errno(CF_E_DATA, "%s: open folder", path);
    cf_err err = CF_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        CF_TRY_GOTO(cf_strings_add(names, entry->d_name), out);
    }
    if (errno != 0) CF_TRY_GOTO(cf_fail_errno(CF_E_DATA, "%s: read folder", path), out);
    if (names->n > 0) qsort(names->items, names->n, sizeof *names->items, by_bytes);
out:
    closedir(dir);
    if (err != CF_OK) cf_strings_fini(names);
    return err;
}
