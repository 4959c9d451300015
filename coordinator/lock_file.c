#include "coordinator/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/log.h"

#define GUARD_DEADLINE_NS (60LL * 1000000000)
#define GUARD_POLL_NS     (2LL * 1000000)

/* Names of drafts and of stale locks that were renamed away begin so: hidden files. */
#define DRAFT_HEAD ".lock-"

enum { MAX_CLAIMS = 64 };

static cf_err path_of(const cf_lock_maker *m, const char *name, char path[CF_PATH_MAX])
{
    return cf_path_join(path, CF_PATH_MAX, m->dir, name);
}

/* ---- drafts -----------------------------------------------------------------------------------
 */

static cf_err write_draft(cf_lock_maker *m)
{
    char text[CF_LOCK_OWNER_MAX_BYTES];
    size_t n = cf_lock_owner_write(&m->self, text);
    cf_file f = {.fd = open(m->draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)};
    if (f.fd < 0) return cf_disk_fail(m->draft, "create", n);
    memcpy(f.path, m->draft, strlen(m->draft) + 1);
    cf_err err = cf_file_write(&f, text, n);
    if (close(f.fd) != 0 && errno != EINTR && err == CF_OK)
        err = cf_disk_fail(m->draft, "close", n);
    if (err != CF_OK) unlink(m->draft);
    return err;
}

cf_err cf_lock_maker_init(cf_lock_maker *m, const char *dir, int64_t stale_ns)
{
    char name[64];
    memset(m, 0, sizeof *m);
    m->guard = -1;
    m->stale_ns = stale_ns;
    if (snprintf(m->dir, sizeof m->dir, "%s", dir) >= (int)sizeof m->dir)
        return cf_fail(CF_E_DISK, "path is too long: %.80s...", dir);
    CF_TRY(cf_lock_owner_self(&m->self));
    snprintf(name, sizeof name, DRAFT_HEAD "%016" PRIx64, m->self.token);
    cf_err err = path_of(m, name, m->draft);
    if (err == CF_OK) err = write_draft(m);
    if (err != CF_OK) m->draft[0] = '\0';
    return err;
}

void cf_lock_maker_fini(cf_lock_maker *m)
{
    if (m->guard >= 0) close(m->guard);
    if (m->draft[0] != '\0') unlink(m->draft);
    memset(m, 0, sizeof *m);
    m->guard = -1;
}

/* ---- one at a time ----------------------------------------------------------------------------
 */

cf_err cf_lock_guard_enter(cf_lock_maker *m)
{
    char path[CF_PATH_MAX];
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int64_t deadline = cf_clock_ns() + GUARD_DEADLINE_NS;
    CF_TRY(path_of(m, ".lock", path));
    m->guard = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (m->guard < 0) return cf_disk_fail(path, "open", 0);
    while (fcntl(m->guard, F_OFD_SETLK, &range) != 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN && errno != EACCES) {
            cf_log_debug("%s: no byte-range locks here (errno %d)", path, errno);
            return CF_OK;
        }
        if (cf_clock_ns() > deadline) {
            cf_lock_guard_leave(m);
            return cf_fail(CF_E_BUSY, "%s: other starts have held it for %lld s", path,
                           GUARD_DEADLINE_NS / 1000000000);
        }
        cf_sleep_ns(GUARD_POLL_NS);
    }
    return CF_OK;
}

/* The file stays: to remove it would let two hold locks on two files of one name. */
void cf_lock_guard_leave(cf_lock_maker *m)
{
    if (m->guard >= 0) close(m->guard);
    m->guard = -1;
}

/* ---- looking ----------------------------------------------------------------------------------
 */

typedef struct sighting {
    bool there, known; /* known: its text is whole */
    cf_lock_owner owner;
    struct timespec touched;
} sighting;

static cf_err look_at(const char *path, sighting *s)
{
    char text[CF_LOCK_OWNER_MAX_BYTES];
    struct stat st;
    memset(s, 0, sizeof *s);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ESTALE)) return CF_OK;
    if (fd < 0) return cf_fail_errno(CF_E_DISK, "%s: open", path);
    ssize_t n = read(fd, text, sizeof text - 1);
    bool read_fails = n < 0 || fstat(fd, &st) != 0;
    int number = errno;
    close(fd);
    errno = number;
    if (read_fails && errno == ESTALE) return CF_OK; /* removed on another host */
    if (read_fails) return cf_fail_errno(CF_E_DISK, "%s: read", path);
    text[n] = '\0';
    s->there = true;
    s->known = cf_lock_owner_parse(text, &s->owner);
    s->touched = st.st_mtim;
    return CF_OK;
}

/* Seconds since `touched` by the file system's clock: a file touched just now tells it. */
static cf_err age_of(const cf_lock_maker *m, struct timespec touched, double *age_s)
{
    struct stat st;
    if (utimensat(AT_FDCWD, m->draft, NULL, 0) != 0 || stat(m->draft, &st) != 0)
        return cf_fail_errno(CF_E_DISK, "%s: touch", m->draft);
    *age_s = (double)(st.st_mtim.tv_sec - touched.tv_sec) +
             1e-9 * (double)(st.st_mtim.tv_nsec - touched.tv_nsec);
    return CF_OK;
}

static cf_err judge(const cf_lock_maker *m, const sighting *s, cf_owner_state *state, char *why,
                    size_t n)
{
    double age_s = 0, stale_s = 1e-9 * (double)m->stale_ns;
    CF_TRY(age_of(m, s->touched, &age_s));
    if (s->known) {
        *state = cf_lock_owner_judge(&s->owner, &m->self, age_s, stale_s, why, n);
        return CF_OK;
    }
    /* Not whole: being written this moment, where there are no links, or for ever. */
    snprintf(why, n, "it is not whole and %.0f s old", age_s);
    *state = age_s >= stale_s ? CF_OWNER_GONE : CF_OWNER_LEAVING;
    return CF_OK;
}

/* ---- creating and removing --------------------------------------------------------------------
 */

/* For file systems without links: the text may be seen before it is whole. */
static cf_err create_exclusively(const char *from, const char *path, bool *made)
{
    char *text = NULL;
    size_t n = 0;
    *made = false;
    CF_TRY(cf_file_read(from, CF_LOCK_OWNER_MAX_BYTES, &text, &n));
    cf_err err = CF_OK;
    cf_file f = {.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)};
    snprintf(f.path, sizeof f.path, "%s", path);
    if (f.fd < 0) {
        if (errno != EEXIST) err = cf_disk_fail(path, "create", n);
    } else {
        err = cf_file_write(&f, text, n);
        if (close(f.fd) != 0 && errno != EINTR && err == CF_OK)
            err = cf_disk_fail(path, "close", n);
        if (err != CF_OK) unlink(path);
        *made = err == CF_OK;
    }
    free(text);
    return err;
}

/* The finished file `from` gets the name `path` too, unless that is taken. */
static cf_err publish(const char *from, const char *path, bool *made)
{
    struct stat st;
    *made = link(from, path) == 0;
    if (*made) return CF_OK;
    int number = errno;
    /* A server that was asked twice says that it is there; the count of links knows better. */
    if (number == EEXIST && stat(from, &st) == 0 && st.st_nlink >= 2) {
        struct stat other;
        *made = stat(path, &other) == 0 && other.st_ino == st.st_ino && other.st_dev == st.st_dev;
        return CF_OK;
    }
    if (number == EEXIST) return CF_OK;
    if (number == EPERM || number == ENOTSUP || number == EOPNOTSUPP || number == ENOSYS ||
        number == EMLINK)
        return create_exclusively(from, path, made);
    errno = number;
    return cf_disk_fail(path, "create", 0);
}

/* Removes the lock at `path` if it is the one that was seen: it is renamed away, which one process
 * alone can do, and looked at there. Another one goes back to its place. */
static cf_err take_away(cf_lock_maker *m, const char *path, const sighting *seen)
{
    char name[64], aside[CF_PATH_MAX];
    sighting in_hand;
    snprintf(name, sizeof name, DRAFT_HEAD "%016" PRIx64 "-%d", m->self.token, m->n_aside++);
    CF_TRY(path_of(m, name, aside));
    if (rename(path, aside) != 0) {
        if (errno == ENOENT || errno == ESTALE) return CF_OK;
        return cf_disk_fail(path, "rename", 0);
    }
    cf_err err = look_at(aside, &in_hand);
    bool same = in_hand.known == seen->known && in_hand.owner.token == seen->owner.token;
    bool back = false;
    if (err == CF_OK && !same) err = publish(aside, path, &back);
    unlink(aside);
    return err;
}

/* What a killed owner left beside its lock. */
static void remove_draft_of(const cf_lock_maker *m, const cf_lock_owner *owner)
{
    char name[64], path[CF_PATH_MAX];
    snprintf(name, sizeof name, DRAFT_HEAD "%016" PRIx64, owner->token);
    if (path_of(m, name, path) == CF_OK) unlink(path);
}

/* CF_OK when `path` is free now; CF_E_BUSY with its owner named. */
static cf_err clear(cf_lock_maker *m, const char *path, bool *leaving)
{
    sighting s;
    cf_owner_state state = CF_OWNER_ALIVE;
    char owner[512], why[160] = "";
    CF_TRY(look_at(path, &s));
    if (!s.there) return CF_OK;
    CF_TRY(judge(m, &s, &state, why, sizeof why));
    if (s.known)
        cf_lock_owner_describe(&s.owner, owner, sizeof owner);
    else
        snprintf(owner, sizeof owner, "an owner that is not named");
    if (state != CF_OWNER_GONE) {
        *leaving = state == CF_OWNER_LEAVING;
        return cf_fail(CF_E_BUSY, "%s: the run folder is in use by another job: %s", path, owner);
    }
    cf_log_warn("%s: left by %s: %s; taken over", path, owner, why);
    CF_TRY(take_away(m, path, &s));
    if (s.known) remove_draft_of(m, &s.owner);
    return CF_OK;
}

cf_err cf_lock_claim(cf_lock_maker *m, const char *name, bool *leaving)
{
    char path[CF_PATH_MAX];
    *leaving = false;
    CF_TRY(path_of(m, name, path));
    for (int i = 0; i < MAX_CLAIMS; i++) {
        bool made = false;
        CF_TRY(publish(m->draft, path, &made));
        if (made) return CF_OK;
        CF_TRY(clear(m, path, leaving));
    }
    return cf_fail(CF_E_BUSY, "%s: other jobs take and leave it all the time", path);
}

cf_err cf_lock_expect_free(cf_lock_maker *m, const char *name, bool *leaving)
{
    char path[CF_PATH_MAX];
    CF_TRY(path_of(m, name, path));
    return clear(m, path, leaving);
}

cf_err cf_lock_is_ours(const cf_lock_maker *m, const char *name, bool *ours, bool *there)
{
    char path[CF_PATH_MAX];
    sighting s;
    *ours = *there = false;
    CF_TRY(path_of(m, name, path));
    CF_TRY(look_at(path, &s));
    *there = s.there;
    *ours = s.there && s.known && s.owner.token == m->self.token;
    return CF_OK;
}

void cf_lock_touch(const cf_lock_maker *m, const char *name)
{
    char path[CF_PATH_MAX];
    if (path_of(m, name, path) != CF_OK || utimensat(AT_FDCWD, path, NULL, 0) != 0)
        cf_log_debug("%s/%s: not touched (errno %d)", m->dir, name, errno);
}

void cf_lock_remove(cf_lock_maker *m, const char *name)
{
    char path[CF_PATH_MAX];
    sighting s;
    if (path_of(m, name, path) != CF_OK || look_at(path, &s) != CF_OK || !s.known ||
        s.owner.token != m->self.token)
        return;
    if (take_away(m, path, &s) != CF_OK) cf_log_warn("lock not removed: %s", cf_err_text());
}

void cf_lock_sweep(const cf_lock_maker *m)
{
    cf_strings names = {0};
    if (cf_dir_list(m->dir, &names) != CF_OK) return;
    for (size_t i = 0; i < names.n; i++) {
        char path[CF_PATH_MAX];
        struct stat st;
        double age_s = 0;
        if (strncmp(names.items[i], DRAFT_HEAD, sizeof DRAFT_HEAD - 1) != 0) continue;
        if (path_of(m, names.items[i], path) != CF_OK || lstat(path, &st) != 0) continue;
        if (age_of(m, st.st_mtim, &age_s) == CF_OK && age_s >= 1e-9 * (double)m->stale_ns)
            unlink(path);
    }
    cf_strings_fini(&names);
}
