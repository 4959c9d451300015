#include "kernels/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"

/* ---- reading ----------------------------------------------------------------------------------
 */

/* What is short in this process is no fault of the file. */
static cf_err code_of(int number)
{
    return number == ENOMEM || number == EMFILE || number == ENFILE ? CF_E_UNEXPECTED : CF_E_DATA;
}

/* Opens a regular file; *bytes is its size. O_NONBLOCK so that a FIFO is refused, not waited for.
 */
static cf_err open_regular(const char *path, int *fd, size_t *bytes)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return cf_fail_errno(code_of(errno), "%s", path);
    cf_err err = CF_OK;
    if (fstat(*fd, &st) != 0) {
        err = cf_fail_errno(CF_E_DATA, "%s", path);
    } else if (!S_ISREG(st.st_mode)) {
        err = cf_fail(CF_E_DATA, "%s: expected a regular file, found %s", path,
                      S_ISDIR(st.st_mode) ? "a folder" : "a device, pipe or socket");
    }
    if (err != CF_OK) {
        close(*fd);
        *fd = -1;
        return err;
    }
    *bytes = (size_t)st.st_size;
    return CF_OK;
}

/* Reads to the end of the file, whatever size it had when it was opened. */
static cf_err read_all(int fd, const char *path, size_t expected, size_t max_bytes, char **text,
                       size_t *n_bytes)
{
    size_t capacity = expected + 2, n = 0; /* the NUL, and a byte to find the end with */
    CF_TRY(cf_resize(text, capacity, 1));
    for (;;) {
        if (n + 1 >= capacity) {
            capacity = capacity * 2 > 4096 ? capacity * 2 : 4096;
            CF_TRY(cf_resize(text, capacity, 1));
        }
        ssize_t got = read(fd, *text + n, capacity - n - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return cf_fail_errno(CF_E_DATA, "%s: read at byte %zu", path, n);
        if (got == 0) break;
        n += (size_t)got;
        if (n > max_bytes) {
            return cf_fail(CF_E_DATA, "%s: expected at most %zu bytes, found more", path,
                           max_bytes);
        }
    }
    (*text)[n] = '\0';
    *n_bytes = n;
    return CF_OK;
}

cf_err cf_file_read(const char *path, size_t max_bytes, char **text, size_t *n_bytes)
{
    int fd = -1;
    size_t size = 0;
    *text = NULL;
    *n_bytes = 0;
    CF_TRY(open_regular(path, &fd, &size));
    cf_err err = CF_OK;
    if (size > max_bytes) {
        err =
            cf_fail(CF_E_DATA, "%s: expected at most %zu bytes, found %zu", path, max_bytes, size);
    } else {
        err = read_all(fd, path, size, max_bytes, text, n_bytes);
    }
    if (err != CF_OK) {
        free(*text);
        *text = NULL;
    }
    close(fd);
    return err;
}

cf_err cf_map_open(const char *path, cf_map *map)
{
    int fd = -1;
    size_t size = 0;
    *map = (cf_map){0};
    CF_TRY(open_regular(path, &fd, &size));
    if (size == 0) {
        close(fd);
        return CF_OK;
    }
    cf_err err = CF_OK;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        err = cf_fail_errno(code_of(errno), "%s: mmap of %zu bytes", path, size);
    } else {
        *map = (cf_map){.bytes = bytes, .n_bytes = size};
    }
    close(fd); /* the mapping stays */
    return err;
}

void cf_map_close(cf_map *map)
{
    if (map->bytes) munmap((void *)(uintptr_t)map->bytes, map->n_bytes);
    *map = (cf_map){0};
}

/* ---- writing ----------------------------------------------------------------------------------
 */

/* Bytes that an ordinary user can still write where `path` is or would be. */
static unsigned long long bytes_free(const char *path)
{
    char copy[CF_PATH_MAX];
    struct statvfs st;
    int saved = errno;
    snprintf(copy, sizeof copy, "%s", path);
    bool told = statvfs(path, &st) == 0 || statvfs(dirname(copy), &st) == 0;
    errno = saved;
    return told ? (unsigned long long)st.f_bavail * st.f_frsize : 0;
}

/* What more room would not mend. */
static bool is_about_names(int number)
{
    return number == EEXIST || number == ENOTDIR || number == ENOENT || number == EACCES ||
           number == EPERM || number == EISDIR || number == ELOOP || number == ENAMETOOLONG;
}

cf_err cf_disk_fail(const char *path, const char *what, size_t needed)
{
    if (is_about_names(errno)) return cf_fail_errno(CF_E_DISK, "%s: %s", path, what);
    return cf_fail_errno(CF_E_DISK, "%s: %s needs %zu bytes, %llu bytes are free", path, what,
                         needed, bytes_free(path));
}

static int open_again(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static uint32_t host_mark(void)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    return (uint32_t)cf_hash64(host, strlen(host));
}

bool cf_file_is_abandoned(const char *suffix)
{
    unsigned host = 0;
    int pid = 0, length = 0;
    if (sscanf(suffix, ".tmp-%8x-%9d%n", &host, &pid, &length) != 2 || suffix[length] != '\0')
        return false;
    if (host != host_mark() || pid <= 0) return false;
    return pid == getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
}

void cf_dir_tidy(const char *path)
{
    cf_strings names = {0};
    char file[CF_PATH_MAX];
    if (cf_dir_list(path, &names) != CF_OK) return;
    for (size_t i = 0; i < names.n; i++) {
        const char *suffix = NULL;
        for (const char *at = names.items[i]; (at = strstr(at, ".tmp-")) != NULL; at++) suffix = at;
        if (suffix == NULL || !cf_file_is_abandoned(suffix)) continue;
        if (cf_path_join(file, sizeof file, path, names.items[i]) == CF_OK) unlink(file);
    }
    cf_strings_fini(&names);
}

cf_err cf_file_create(const char *path, cf_file *file)
{
    file->fd = -1;
    file->offset = 0;
    int n = snprintf(file->path, sizeof file->path, "%s", path);
    int m = snprintf(file->temporary, sizeof file->temporary, "%s.tmp-%08x-%ld", path, host_mark(),
                     (long)getpid());
    if (n <= 0 || m < 0 || (size_t)m >= sizeof file->temporary) {
        return cf_fail(CF_E_DISK, "path of %d bytes is empty or too long: %.80s", n, path);
    }
    /* A leftover of a dead process with this pid is written over; a planted link is not followed.
     */
    file->fd = open_again(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
    if (file->fd < 0) return cf_disk_fail(file->temporary, "create", 0);
    return CF_OK;
}

cf_err cf_file_write(cf_file *file, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n > 0) {
        ssize_t done = write(file->fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return cf_disk_fail(file->path, "write", n);
        p += done;
        n -= (size_t)done;
        file->offset += (uint64_t)done;
    }
    return CF_OK;
}

cf_err cf_file_write_at(cf_file *file, uint64_t offset, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    if (offset > file->offset || n > file->offset - offset) {
        return cf_fail(CF_E_UNEXPECTED, "%s: write of %zu bytes at %llu past the end %llu",
                       file->path, n, (unsigned long long)offset, (unsigned long long)file->offset);
    }
    while (n > 0) {
        ssize_t done = pwrite(file->fd, p, n, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return cf_disk_fail(file->path, "write", n);
        p += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return CF_OK;
}

static int sync_fd(int fd)
{
    int status;
    do {
        status = fsync(fd);
    } while (status != 0 && errno == EINTR);
    return status;
}

/* Makes the rename itself durable. File systems that cannot sync a folder say EINVAL. */
static cf_err sync_folder_of(const char *path)
{
    char copy[CF_PATH_MAX];
    memcpy(copy, path, strlen(path) + 1);
    const char *folder = dirname(copy);
    int fd = open_again(folder, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return cf_disk_fail(folder, "open to sync", 0);
    cf_err err = CF_OK;
    if (sync_fd(fd) != 0 && errno != EINVAL && errno != ENOTSUP) {
        err = cf_disk_fail(folder, "sync", 0);
    }
    close(fd);
    return err;
}

cf_err cf_file_commit(cf_file *file)
{
    if (file->fd < 0) return cf_fail(CF_E_UNEXPECTED, "%s: commit of a closed file", file->path);
    cf_err err = CF_OK;
    if (sync_fd(file->fd) != 0) err = cf_disk_fail(file->path, "sync", (size_t)file->offset);
    /* Network file systems report a full disk at close. */
    if (close(file->fd) != 0 && errno != EINTR && err == CF_OK) {
        err = cf_disk_fail(file->path, "close", (size_t)file->offset);
    }
    file->fd = -1;
    if (err == CF_OK && rename(file->temporary, file->path) != 0) {
        err = cf_disk_fail(file->path, "rename of the finished file", (size_t)file->offset);
    }
    if (err != CF_OK) {
        unlink(file->temporary);
        return err;
    }
    return sync_folder_of(file->path);
}

void cf_file_abandon(cf_file *file)
{
    if (file->fd < 0) return;
    close(file->fd);
    file->fd = -1;
    unlink(file->temporary);
}

cf_err cf_file_save(const char *path, const void *bytes, size_t n)
{
    cf_file file;
    CF_TRY(cf_where(cf_file_create(path, &file), "file of %zu bytes", n));
    cf_err err = cf_file_write(&file, bytes, n);
    if (err == CF_OK) return cf_file_commit(&file);
    cf_file_abandon(&file);
    return err;
}

/* Whether the file ends inside a line: a job was killed, or the disk was full, as it was written.
 */
static bool ends_in_a_line(int fd)
{
    struct stat st;
    char last = '\n';
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
           pread(fd, &last, 1, st.st_size - 1) == 1 && last != '\n';
}

cf_err cf_file_append(const char *path, const char *text, size_t n)
{
    cf_file file = {.fd = open_again(path, O_RDWR | O_APPEND | O_CREAT)};
    if (file.fd < 0) return cf_disk_fail(path, "open to append", n);
    snprintf(file.path, sizeof file.path, "%s", path);
    cf_err err = CF_OK;
    if (ends_in_a_line(file.fd)) err = cf_file_write(&file, "\n", 1);
    if (err == CF_OK) err = cf_file_write(&file, text, n);
    if (close(file.fd) != 0 && errno != EINTR && err == CF_OK) err = cf_disk_fail(path, "close", n);
    return err;
}

cf_err cf_file_extend(const char *path, uint64_t at, const void *bytes, size_t n, bool *grew)
{
    int make = at == 0 ? O_CREAT : 0;
    cf_file file = {.fd = open_again(path, O_WRONLY | O_APPEND | make)};
    struct stat st;
    *grew = false;
    if (file.fd < 0 && errno == ENOENT && at > 0) return CF_OK;
    if (file.fd < 0) return cf_disk_fail(path, "open to append", n);
    snprintf(file.path, sizeof file.path, "%s", path);
    cf_err err = CF_OK;
    if (fstat(file.fd, &st) != 0) err = cf_disk_fail(path, "append", n);
    if (err == CF_OK && S_ISREG(st.st_mode) && (uint64_t)st.st_size == at) {
        err = cf_file_write(&file, bytes, n);
        *grew = err == CF_OK;
    }
    if (close(file.fd) != 0 && errno != EINTR && err == CF_OK) err = cf_disk_fail(path, "close", n);
    return err;
}
