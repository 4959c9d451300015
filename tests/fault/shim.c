#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A shim has no argument to carry its state in. */
static atomic_long left; /* operations up to the fault; 0: not armed */
static atomic_int met, error_number, mode;

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

__attribute__((constructor)) static void arm_from_environment(void)
{
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
    long now = atomic_load(&left);
    if (now <= 0) return 0;
    if (now > 1) {
        atomic_fetch_sub(&left, 1);
        return 0;
    }
    if (mode != CF_FAULT_ALWAYS) left = 0;
    met = 1;
    return 1;
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
        return fails() ? -1 : NEXT(name)(path, flags, permissions);                                \
    }
OPEN_AS(open)
OPEN_AS(open64)

ssize_t write(int fd, const void *bytes, size_t n)
{
    ssize_t room = fd <= STDERR_FILENO ? (ssize_t)n : write_room(n);
    return room < 0 ? -1 : NEXT(write)(fd, bytes, (size_t)room);
}

#define PWRITE_AS(name, offset_type)                                                               \
    ssize_t name(int fd, const void *bytes, size_t n, offset_type at)                              \
    {                                                                                              \
        ssize_t room = write_room(n);                                                              \
        return room < 0 ? -1 : NEXT(name)(fd, bytes, (size_t)room, at);                            \
    }
PWRITE_AS(pwrite, off_t)
PWRITE_AS(pwrite64, off64_t)

int fsync(int fd)
{
    return sync_fails() ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
    return sync_fails() ? -1 : NEXT(fdatasync)(fd);
}

int rename(const char *from, const char *to)
{
    return fails() ? -1 : NEXT(rename)(from, to);
}

int mkdir(const char *path, mode_t permissions)
{
    return fails() ? -1 : NEXT(mkdir)(path, permissions);
}

/* As on Linux, the descriptor is gone even when close reports an error. */
int close(int fd)
{
    int failed = fd > STDERR_FILENO && fails(), number = errno;
    int status = NEXT(close)(fd);
    errno = failed ? number : errno;
    return failed ? -1 : status;
}
