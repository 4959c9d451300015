/* Preloaded into the program: one rank stands still at a chosen place, as a lost disk, a broken
 * device or a firewall would make it.   CYTOFOLD_STUCK="PLACE RANK CALL WHAT"
 *   PLACE  set-up (the device is opened), image (a PNG is decoded), save (a file is flushed),
 *          leave (the ranks meet before MPI ends), datagram (one is sent)
 *   RANK   as MPI counts; -1: all but the coordinator's rank 0
 *   CALL   1-based: the first call that is hurt
 *   WHAT   stop (SIGSTOP of the whole process), hang (this call never returns), drop (a datagram)
 */
#include <dlfcn.h>
#include <png.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int dnnl_engine_create(void **engine, int kind, size_t index);
int MPI_Ibarrier(void *comm, void *request);

/* A preloaded function has no argument to carry its state in. */
static struct {
    char place[16], what[16];
    long call;
    bool armed;
    atomic_long n_calls;
} it;

__attribute__((constructor)) static void read_environment(void)
{
    int rank = 0;
    const char *text = getenv("CYTOFOLD_STUCK"), *own = getenv("OMPI_COMM_WORLD_RANK");
    if (text == NULL || own == NULL ||
        sscanf(text, "%15s %d %ld %15s", it.place, &rank, &it.call, it.what) != 4)
        return;
    it.armed = rank < 0 ? atoi(own) != 0 : rank == atoi(own);
}

static bool reached(const char *place)
{
    return it.armed && strcmp(it.place, place) == 0 &&
           atomic_fetch_add(&it.n_calls, 1) + 1 >= it.call;
}

static void stand_still(const char *place)
{
    if (!reached(place)) return;
    fprintf(stderr, "stuck: %s, %s\n", place, it.what);
    if (strcmp(it.what, "stop") == 0) {
        /* late enough that a heartbeat has told of the place: what is tested is the place's name */
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        raise(SIGSTOP);
    } else if (strcmp(it.what, "hang") == 0) {
        for (;;) pause();
    }
}

static void *next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) abort();
    return found;
}

/* ISO C has no cast from an object pointer to a function. */
#define REAL(type, name)                                                                           \
    type real;                                                                                     \
    void *found = next(name);                                                                      \
    memcpy(&real, &found, sizeof real)

int dnnl_engine_create(void **engine, int kind, size_t index)
{
    typedef int function(void **, int, size_t);
    REAL(function *, "dnnl_engine_create");
    stand_still("set-up");
    return real(engine, kind, index);
}

void png_read_end(png_structrp png, png_inforp info)
{
    typedef void function(png_structrp, png_inforp);
    REAL(function *, "png_read_end");
    stand_still("image");
    real(png, info);
}

int fsync(int fd)
{
    typedef int function(int);
    REAL(function *, "fsync");
    stand_still("save");
    return real(fd);
}

int MPI_Ibarrier(void *comm, void *request) /* Open MPI's handles are pointers */
{
    typedef int function(void *, void *);
    REAL(function *, "MPI_Ibarrier");
    stand_still("leave");
    return real(comm, request);
}

ssize_t sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *to,
               socklen_t length)
{
    typedef ssize_t function(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    REAL(function *, "sendto");
    if (to != NULL && reached("datagram")) return (ssize_t)n;
    return real(fd, bytes, n, flags, to, length);
}
