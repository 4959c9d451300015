/* Files and folders: whole-file reads with a limit, mapped reads, and writes that are there whole
 * or not at all (temporary name, fsync, rename, fsync of the folder).
 * Errors: a missing or unreadable input is CF_E_DATA, a failed write CF_E_DISK; the message names
 * the path, and for a write the bytes needed and free. EINTR and short writes are handled. Threads:
 * any. Read first: cf_file_commit. */
#ifndef CF_KERNELS_BASE_FILE_H
#define CF_KERNELS_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

#define CF_PATH_MAX 4096

/* Reads a regular file of at most max_bytes; *text is NUL-terminated and owned by the caller. */
CF_CHECKED cf_err cf_file_read(const char *path, size_t max_bytes, char **text, size_t *n_bytes);

/* A file mapped read-only and shared. */
typedef struct cf_map {
    const uint8_t *bytes; /* borrowed from the mapping; NULL for an empty file */
    size_t n_bytes;
} cf_map;
CF_CHECKED cf_err cf_map_open(const char *path, cf_map *map);
void cf_map_close(cf_map *map);

/* "<path>: <what> needs N bytes, M bytes are free: <errno>": the figures from which a full disk is
 * seen. Without them where more room would not help: a name or a permission. errno is read on
 * entry.
 */
CF_CHECKED cf_err cf_disk_fail(const char *path, const char *what, size_t needed);

/* A file being written under a temporary name beside its final one. */
typedef struct cf_file {
    int fd; /* -1 when closed */
    uint64_t offset;
    char path[CF_PATH_MAX];
    char temporary[CF_PATH_MAX];
} cf_file;
/* Creates `<path>.tmp-<host>-<pid>` (host: eight hex digits of a hash of its name, since processes
 * of several hosts may share a folder); the folder must exist. */
CF_CHECKED cf_err cf_file_create(const char *path, cf_file *file);
CF_CHECKED cf_err cf_file_write(cf_file *file, const void *bytes, size_t n);
/* Writes over bytes already written; does not move the end. */
CF_CHECKED cf_err cf_file_write_at(cf_file *file, uint64_t offset, const void *bytes, size_t n);
/* fsync, rename to the final name, fsync of the folder. The file is closed in any case; on failure
 * the temporary is removed and what had the final name before is untouched. */
CF_CHECKED cf_err cf_file_commit(cf_file *file);
/* Closes and removes the temporary. Does nothing after a commit. */
void cf_file_abandon(cf_file *file);

/* `suffix` is what follows a final name: true for the temporary of a process of this host that is
 * gone, or of an earlier process with our own number. */
bool cf_file_is_abandoned(const char *suffix);

/* Removes such temporaries from a folder, where nothing of this process is being written. A folder
 * that cannot be read is left as it is. */
void cf_dir_tidy(const char *path);

/* cf_file_create + write + commit. */
CF_CHECKED cf_err cf_file_save(const char *path, const void *bytes, size_t n);
/* Appends one line in a single write (log.jsonl). A line that a killed job left unfinished is ended
 * before it. */
CF_CHECKED cf_err cf_file_append(const char *path, const char *text, size_t n);
/* Appends bytes to a file that has `at` bytes (0: or is not there); *grew is false, and nothing was
 * done, where it has another length. Without a sync: for files that are made again when they break.
 */
CF_CHECKED cf_err cf_file_extend(const char *path, uint64_t at, const void *bytes, size_t n,
                                 bool *grew);

/* Makes the folder and its parents; one that is there is fine. */
CF_CHECKED cf_err cf_dir_make(const char *path);
/* buf = a/b. CF_E_USAGE when the result is too long. */
CF_CHECKED cf_err cf_path_join(char *buf, size_t n, const char *a, const char *b);
bool cf_path_is_dir(const char *path);
bool cf_path_exists(const char *path);
/* A single path component that is safe to create: not empty, no '/', not "." or "..", no control
 * characters, at most 200 bytes. */
bool cf_name_is_safe(const char *name);

/* A list of owned strings. */
typedef struct cf_strings {
    char **items;
    size_t n;
} cf_strings;
CF_CHECKED cf_err cf_strings_add(cf_strings *list, const char *text);
void cf_strings_fini(cf_strings *list);
/* Entries of a folder without "." and "..", in byte order, so that no result depends on the file
 * system's own order. */
CF_CHECKED cf_err cf_dir_list(const char *path, cf_strings *names);

#endif
