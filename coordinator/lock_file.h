/* One lock file: exclusive create, a look at its owner, taking a stale one away. What a lock is for
 * is the caller's business (run_lock.h). Threads: one caller for each cf_lock_maker. Read first:
 * cf_lock_claim. */
#ifndef CF_COORDINATOR_LOCK_FILE_H
#define CF_COORDINATOR_LOCK_FILE_H

#include "coordinator/lock_owner.h"
#include "kernels/base/file.h"

/* Makes locks of one folder in this process's name. */
typedef struct cf_lock_maker {
    char dir[CF_PATH_MAX];
    char draft[CF_PATH_MAX]; /* finished lock file under a name of its own; also tells the time */
    cf_lock_owner self;
    int64_t stale_ns;
    int guard;   /* descriptor of DIR/.lock; -1: none open */
    int n_aside; /* stale locks renamed away, for their names */
} cf_lock_maker;

/* The folder must be there. Release with fini in any case. */
CF_CHECKED cf_err cf_lock_maker_init(cf_lock_maker *m, const char *dir, int64_t stale_ns);
void cf_lock_maker_fini(cf_lock_maker *m);

/* One process at a time is between enter and leave, where the file system has byte-range locks
 * (fcntl(2), "open file description locks"; freed by the kernel when their process dies). CF_E_BUSY
 * when the turn does not come in 60 s. */
CF_CHECKED cf_err cf_lock_guard_enter(cf_lock_maker *m);
void cf_lock_guard_leave(cf_lock_maker *m);

/* Creates DIR/name as ours; a dead owner's is taken over with a warning. CF_E_BUSY when it is held:
 * *leaving tells that its owner is on its way out. */
CF_CHECKED cf_err cf_lock_claim(cf_lock_maker *m, const char *name, bool *leaving);
/* CF_E_BUSY when DIR/name is held by a living owner; a stale one is removed with a warning. */
CF_CHECKED cf_err cf_lock_expect_free(cf_lock_maker *m, const char *name, bool *leaving);
/* Whether DIR/name is there and ours; CF_E_DISK where that cannot be told. *there: any is. */
CF_CHECKED cf_err cf_lock_is_ours(const cf_lock_maker *m, const char *name, bool *ours,
                                  bool *there);
/* Tells others that the owner lives: the file system's time becomes the lock's. */
void cf_lock_touch(const cf_lock_maker *m, const char *name);
/* Removes DIR/name if it is ours. */
void cf_lock_remove(cf_lock_maker *m, const char *name);
/* Removes what starts that were killed left behind: drafts older than stale_ns. */
void cf_lock_sweep(const cf_lock_maker *m);

#endif
