#include "worker/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/hash.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/stage_folder.h"

#define CHUNK_BYTES ((size_t)8 << 20)
#define POLL_NS     (20LL * 1000000)
/* How long another process may take to copy: a minute, and the file at a slow disk's pace. */
#define WAIT_NS          (60LL * 1000000000)
#define SLOW_BYTES_PER_S (20LL << 20)

/* Names of one copy: the file, the hash of all its bytes, and the lock of whoever looks at it. */
typedef struct places {
    char folder[CF_PATH_MAX], name[64];
    char copy[CF_PATH_MAX], hash[CF_PATH_MAX], lock[CF_PATH_MAX];
} places;

static cf_err move(const cf_stage *s)
{
    return s->moved != NULL ? s->moved(s->context) : CF_OK;
}

static cf_err find_places(const cf_stage *s, places *p)
{
    char name[80];
    CF_TRY(cf_stage_folder(s->where, s->path, p->folder));
    snprintf(p->name, sizeof p->name, "%016llx.cells", (unsigned long long)s->content_hash);
    CF_TRY(cf_path_join(p->copy, sizeof p->copy, p->folder, p->name));
    snprintf(name, sizeof name, "%s.hash", p->name);
    CF_TRY(cf_path_join(p->hash, sizeof p->hash, p->folder, name));
    snprintf(name, sizeof name, "%s.lock", p->name);
    return cf_path_join(p->lock, sizeof p->lock, p->folder, name);
}

/* ---- bytes -------------------------------------------------------------------------------------
 */

/* Reads fd from start to end, chunk by chunk; every one goes to `out` where that is not NULL. *hash
 * is that of the hashes of all chunks: whole files of any size need one chunk of memory. */
static cf_err pump(const cf_stage *s, int fd, const char *path, cf_file *out, uint64_t *hash)
{
    uint64_t chain[2] = {0, 0};
    uint8_t *chunk = NULL;
    CF_TRY(cf_new(&chunk, CHUNK_BYTES, 1));
    cf_err err = CF_OK;
    for (;;) {
        size_t n = 0;
        while (n <
               CHUNK_BYTES) { /* chunks are whole, so that hashes do not depend on short reads */
            ssize_t got = read(fd, chunk + n, CHUNK_BYTES - n);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) CF_TRY_GOTO(cf_fail_errno(CF_E_DATA, "%s: read", path), out);
            if (got == 0) break;
            n += (size_t)got;
        }
        if (n == 0) break;
        chain[1] = cf_hash64(chunk, n);
        chain[0] = cf_hash64(chain, sizeof chain);
        if (out != NULL) CF_TRY_GOTO(cf_file_write(out, chunk, n), out);
        CF_TRY_GOTO(move(s), out);
    }
    *hash = chain[0];
out:
    free(chunk);
    return err;
}

static cf_err hash_of_copy(const cf_stage *s, const places *p, int64_t n_bytes, uint64_t *hash)
{
    struct stat st;
    int fd = open(p->copy, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return cf_fail_errno(CF_E_DISK, "%s", p->copy);
    cf_err err = CF_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != n_bytes)
        err = cf_fail(CF_E_DISK, "%s: expected %lld bytes, found another size", p->copy,
                      (long long)n_bytes);
    if (err == CF_OK) err = pump(s, fd, p->copy, NULL, hash);
    close(fd);
    return err;
}

/* The copy's own marks; its time is that of its last use. */
static cf_stage_seen look_at(const cf_stage *s, const places *p)
{
    struct stat st;
    if (lstat(p->copy, &st) != 0 || !S_ISREG(st.st_mode)) return (cf_stage_seen){0};
    return (cf_stage_seen){.content_hash = s->content_hash,
                           .device = (uint64_t)st.st_dev,
                           .inode = (uint64_t)st.st_ino,
                           .n_bytes = (int64_t)st.st_size};
}

static bool was_seen(const cf_stage *s, const places *p, int64_t n_bytes)
{
    cf_stage_seen now = look_at(s, p);
    return s->seen != NULL && now.inode != 0 && now.n_bytes == n_bytes &&
           now.content_hash == s->seen->content_hash && now.device == s->seen->device &&
           now.inode == s->seen->inode && now.n_bytes == s->seen->n_bytes;
}

/* Whether the copy that an earlier job left is whole, byte for byte. Fails where the look at it was
 * given up. */
static cf_err is_kept(const cf_stage *s, const places *p, int64_t n_bytes, bool *good)
{
    char *text = NULL;
    size_t n = 0;
    uint64_t hash = 0;
    *good = false;
    if (!cf_path_exists(p->copy)) return CF_OK;
    if (was_seen(s, p, n_bytes)) {
        *good = true;
    } else if (cf_file_read(p->hash, 64, &text, &n) == CF_OK) {
        cf_err err = hash_of_copy(s, p, n_bytes, &hash);
        *good = err == CF_OK && strtoull(text, NULL, 16) == hash;
        free(text);
        if (err != CF_OK && err != CF_E_DISK && err != CF_E_DATA) return err;
    }
    if (!*good) cf_log_warn("%s is damaged: copied again", p->copy);
    if (*good) (void)utimensat(AT_FDCWD, p->copy, NULL, 0); /* in use: the last to be removed */
    return CF_OK;
}

/* The temporary has its full size before a byte is copied, so that a full disk is met at once. */
static cf_err reserve(const cf_file *file, int64_t n_bytes)
{
    int code = posix_fallocate(file->fd, 0, n_bytes);
    if (code == 0 || code == EOPNOTSUPP || code == EINVAL) return CF_OK;
    errno = code;
    return cf_fail_errno(CF_E_DISK, "%s: a copy needs %lld bytes", file->path, (long long)n_bytes);
}

/* Copies, then reads the copy again: what the disk took is what it gives. */
static cf_err make_copy(const cf_stage *s, const places *p, int fd, int64_t n_bytes)
{
    cf_file file;
    char text[32];
    uint64_t hash = 0, again = 0;
    (void)unlink(p->copy); /* what is damaged makes room first */
    (void)unlink(p->hash);
    CF_TRY(cf_stage_make_room(p->folder, (uint64_t)n_bytes, p->name));
    CF_TRY(cf_file_create(p->copy, &file));
    cf_err err = reserve(&file, n_bytes);
    if (err == CF_OK) err = pump(s, fd, s->path, &file, &hash);
    if (err == CF_OK && file.offset != (uint64_t)n_bytes)
        err = cf_fail(CF_E_DATA, "%s: expected %lld bytes, found %llu: is it being written?",
                      s->path, (long long)n_bytes, (unsigned long long)file.offset);
    if (err != CF_OK) {
        cf_file_abandon(&file);
        return err;
    }
    CF_TRY(cf_file_commit(&file));
    CF_TRY(hash_of_copy(s, p, n_bytes, &again));
    if (again != hash)
        return cf_fail(CF_E_DISK, "%s: the copy reads back with other bytes than were written",
                       p->copy);
    int n = snprintf(text, sizeof text, "%016llx\n", (unsigned long long)hash);
    return cf_file_save(p->hash, text, (size_t)n);
}

/* ---- one a node --------------------------------------------------------------------------------
 */

/* Waits while another process of this node, of this job or another one, looks at the same copy. The
 * kernel lets go of a dead process's lock. */
static cf_err take_turn(const cf_stage *s, const places *p, int64_t n_bytes, int *lock)
{
    int64_t end_ns = cf_clock_ns() + WAIT_NS + n_bytes / SLOW_BYTES_PER_S * 1000000000;
    *lock = open(p->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*lock < 0) return cf_fail_errno(CF_E_DISK, "%s", p->lock);
    while (flock(*lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) return cf_fail_errno(CF_E_DISK, "%s", p->lock);
        if (cf_clock_ns() > end_ns)
            return cf_fail(CF_E_DISK, "%s: another process has it, and is not ready yet", p->lock);
        CF_TRY(move(s));
        cf_sleep_ns(POLL_NS);
    }
    return CF_OK;
}

static cf_err open_source(const char *path, int *fd, int64_t *n_bytes)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0 || fstat(*fd, &st) != 0) return cf_fail_errno(CF_E_DATA, "%s", path);
    if (!S_ISREG(st.st_mode)) return cf_fail(CF_E_DATA, "%s: expected a regular file", path);
    *n_bytes = st.st_size;
    return CF_OK;
}

cf_err cf_stage_copy(const cf_stage *s, char path[CF_PATH_MAX])
{
    places *p = NULL;
    int fd = -1, lock = -1;
    bool kept = false;
    int64_t n_bytes = 0, start_ns = cf_clock_ns();
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&p, 1, sizeof *p), out);
    CF_TRY_GOTO(open_source(s->path, &fd, &n_bytes), out);
    CF_TRY_GOTO(find_places(s, p), out);
    CF_TRY_GOTO(take_turn(s, p, n_bytes, &lock), out);
    CF_TRY_GOTO(is_kept(s, p, n_bytes, &kept), out);
    if (!kept) CF_TRY_GOTO(make_copy(s, p, fd, n_bytes), out);
    if (s->seen != NULL) *s->seen = look_at(s, p);
    cf_log_info("cells file %s %s: %.1f GB in %.1f s", kept ? "found in" : "copied to", p->folder,
                (double)n_bytes * 1e-9, (double)(cf_clock_ns() - start_ns) * 1e-9);
    memcpy(path, p->copy, strlen(p->copy) + 1);
out:
    if (lock >= 0) close(lock);
    if (fd >= 0) close(fd);
    free(p);
    return err;
}

/* A broadcast whose receivers do not spin: a copy of some ten GB takes a while. */
static cf_err share(const cf_stage *s, MPI_Comm node, char path[CF_PATH_MAX])
{
    MPI_Request request;
    int done = 0;
    CF_TRY(cf_mpi_check(MPI_Ibcast(path, CF_PATH_MAX, MPI_CHAR, 0, node, &request), "MPI_Ibcast"));
    for (;;) {
        CF_TRY(cf_mpi_check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (done) return CF_OK;
        (void)(move(s) == CF_OK); /* the copying rank hears of a stop, too, and sends soon */
        cf_sleep_ns(POLL_NS);
    }
}

/* A folder that was named is missed by everybody; "auto" finding none is no news but for the first.
 */
static void say_why_not(const cf_stage *s, MPI_Comm workers)
{
    int worker = 0;
    MPI_Comm_rank(workers, &worker);
    if (strcmp(s->where, "auto") != 0)
        cf_log_warn("%s is read where it is, run.stage is %s: %s", s->path, s->where,
                    cf_err_text());
    else if (worker == 0)
        cf_log_info("the cells file is read where it is: %s", cf_err_text());
}

cf_err cf_stage_cells(const cf_stage *s, MPI_Comm workers, char path[CF_PATH_MAX])
{
    MPI_Comm node = MPI_COMM_NULL;
    int rank = 0;
    snprintf(path, CF_PATH_MAX, "%s", s->path);
    if (s->where[0] == '\0') return CF_OK;
    CF_TRY(cf_mpi_check(MPI_Comm_split_type(workers, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node),
                        "MPI_Comm_split_type"));
    MPI_Comm_rank(node, &rank);
    cf_err copied = rank == 0 ? cf_stage_copy(s, path) : CF_OK;
    if (copied != CF_OK) {
        if (copied != CF_E_REQUEUE) say_why_not(s, workers);
        snprintf(path, CF_PATH_MAX, "%s", s->path);
    }
    cf_err err = share(s, node, path);
    MPI_Comm_free(&node);
    return err;
}
