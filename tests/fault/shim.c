#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A shim has no argument to carry its state in. */
static atomic_long left; /* operations up to the fault; 0: not armed */
static atomic_int met, error_number, mode;

/* CYTOFOLD_FAULT_UNDER: files in this folder alone, and their open descriptors. */
enum { MAX_FD = 4096 };
static const char *under;
static atomic_char watched[MAX_FD];
/* CYTOFOLD_FAULT_TALLY: a file that all processes of a job share; operations, and faults met. */
static _Atomic int64_t *tally;

void cf_fault_arm(long n, int error, cf_fault_mode how)
{
    met = 0;
    error_number = error;
    mode = (int)how;
    left = n;
}

int cf_fault_disarm(void)
{
    left = 0;
    return met;
}

static void open_tally(void)
{
    const char *path = getenv("CYTOFOLD_FAULT_TALLY");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *bytes = mmap(NULL, 2 * sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (bytes != MAP_FAILED) tally = bytes;
}

__attribute__((constructor)) static void arm_from_environment(void)
{
    open_tally();
    under = getenv("CYTOFOLD_FAULT_UNDER");
    long n = 0;
    int error = 0;
    char word[16] = "";
    const char *text = getenv("CYTOFOLD_FAULT");
    if (!text || sscanf(text, "%ld,%d,%15s", &n, &error, word) != 3) return;
    cf_fault_arm(n, error,
                 strcmp(word, "always") == 0      ? CF_FAULT_ALWAYS
                 : strcmp(word, "short") == 0     ? CF_FAULT_SHORT
                 : strcmp(word, "interrupt") == 0 ? CF_FAULT_INTERRUPT
                                                  : CF_FAULT_ONCE);
}

/* Whether this operation is the one. */
static int hit(void)
{
    if (tally) atomic_fetch_add(&tally[0], 1);
    long now = atomic_load(&left);
    if (now <= 0) return 0;
    if (now > 1) {
        atomic_fetch_sub(&left, 1);
        return 0;
    }
    if (mode != CF_FAULT_ALWAYS) left = 0;
    met = 1;
    if (tally) atomic_fetch_add(&tally[1], 1);
    return 1;
}

/* Whether a path, or an open file, is one of those that may fail. */
static int counts_path(const char *path)
{
    size_t n = under ? strlen(under) : 0;
    return !under || (strncmp(path, under, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

static int counts_fd(int fd)
{
    return fd > STDERR_FILENO && (!under || (fd < MAX_FD && watched[fd]));
}

static int opened(int fd, const char *path)
{
    if (under && fd >= 0 && fd < MAX_FD) watched[fd] = counts_path(path) != 0;
    return fd;
}

/* With a folder given it is writing that is under test: what is opened to read alone stays whole,
 * but for folders, which are opened to be synced. */
static int counts_open(const char *path, int flags)
{
    if (!under) return 1;
    return counts_path(path) && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_DIRECTORY));
}

/* For operations that are done whole or not at all, and never interrupted. */
static int fails(void)
{
    if (!hit() || mode == CF_FAULT_SHORT || mode == CF_FAULT_INTERRUPT) return 0;
    errno = error_number;
    return 1;
}

static int sync_fails(void)
{
    if (!hit() || mode == CF_FAULT_SHORT) return 0;
    errno = mode == CF_FAULT_INTERRUPT ? EINTR : error_number;
    return 1;
}

/* How much of a write of n bytes is done; -1 with errno for none. */
static ssize_t write_room(size_t n)
{
    if (!hit()) return (ssize_t)n;
    if (mode == CF_FAULT_SHORT) return (ssize_t)(n > 1 ? n / 2 : n);
    errno = mode == CF_FAULT_INTERRUPT ? EINTR : error_number;
    return -1;
}

/* The next definition of a function, as the type of `like`; POSIX has function pointers fit void *.
 */
#define NEXT(like) ((__typeof__(&like))(__extension__(void *) dlsym(RTLD_NEXT, #like)))

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define OPEN_AS(name)                                                                              \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t permissions = mode_of(flags, args);                                                 \
        va_end(args);                                                                              \
        if (counts_open(path, flags) && fails()) return -1;                                        \
        return opened(NEXT(name)(path, flags, permissions), path);                                 \
    }
OPEN_AS(open)
OPEN_AS(open64)

ssize_t write(int fd, const void *bytes, size_t n)
{
    ssize_t room = counts_fd(fd) ? write_room(n) : (ssize_t)n;
    return room < 0 ? -1 : NEXT(write)(fd, bytes, (size_t)room);
}

#define PWRITE_AS(name, offset_type)                                                               \
    ssize_t name(int fd, const void *bytes, size_t n, offset_type at)                              \
    {                                                                                              \
        ssize_t room = counts_fd(fd) ? write_room(n) : (ssize_t)n;                                 \
        return room < 0 ? -1 : NEXT(name)(fd, bytes, (size_t)room, at);                            \
    }
PWRITE_AS(pwrite, off_t)
PWRITE_AS(pwrite64, off64_t)

int fsync(int fd)
{
    return counts_fd(fd) && sync_fails() ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
    return counts_fd(fd) && sync_fails() ? -1 : NEXT(fdatasync)(fd);
}

int rename(const char *from, const char *to)
{
    return counts_path(to) && fails() ? -1 : NEXT(rename)(from, to);
}

int link(const char *from, const char *to)
{
    return counts_path(to) && fails() ? -1 : NEXT(link)(from, to);
}

int mkdir(const char *path, mode_t permissions)
{
    return counts_path(path) && fails() ? -1 : NEXT(mkdir)(path, permissions);
}

/* As on Linux, the descriptor is gone even when close reports an error. */
int close(int fd)
{
    int failed = counts_fd(fd) && fails(), number = errno;
    if (fd >= 0 && fd < MAX_FD) watched[fd] = 0;
    int status = NEXT(close)(fd);
    errno = failed ? number : errno;
    return failed ? -1 : status;
}
