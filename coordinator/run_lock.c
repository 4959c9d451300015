#include "coordinator/run_lock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/lock_file.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

#define WHOLE_JOB "run.lock"
#define SECTION   "folder.lock"
#define RETRY_NS  (50LL * 1000000)

struct cf_run_lock {
    cf_lock_maker maker;
    cf_run_lock_times times;
    char name[32];
    int fold; /* -1: a whole job */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex; /* of all below, and of the maker while the thread runs */
    pthread_cond_t changed;
    bool stopping, in_section;
    bool lost; /* the lock is another job's */
    char lost_text[1024];
};

cf_run_lock_times cf_run_lock_times_default(void)
{
    const int64_t second = 1000000000;
    return (cf_run_lock_times){.touch_ns = 20 * second,
                               .stale_ns = 300 * second,
                               .leaving_ns = 30 * second,
                               .section_ns = 600 * second};
}

/* ---- the lock's thread ------------------------------------------------------------------------
 */

/* A lock that is gone was removed by hand, or is in the hand of a start that was killed while it
 * looked at it: it is made again. Another one in its place is another job's: this one was out of
 * reach for so long that it was given up. An error of the disk decides nothing. */
static void look_after(cf_run_lock *l)
{
    bool ours = false, there = false, leaving = false;
    if (cf_lock_is_ours(&l->maker, l->name, &ours, &there) != CF_OK) return;
    if (!there) {
        cf_log_warn("%s/%s was removed; made again", l->maker.dir, l->name);
        cf_err err = cf_lock_claim(&l->maker, l->name, &leaving);
        if (err != CF_OK && err != CF_E_BUSY) return;
        ours = err == CF_OK;
    }
    if (ours) {
        cf_lock_touch(&l->maker, l->name);
        if (l->in_section) cf_lock_touch(&l->maker, SECTION);
        return;
    }
    l->lost = true;
    snprintf(l->lost_text, sizeof l->lost_text,
             "%s/%s: another job has taken the run folder over, this one was not heard of",
             l->maker.dir, l->name);
}

static void *thread_main(void *argument)
{
    cf_run_lock *l = argument;
    pthread_mutex_lock(&l->mutex);
    while (!l->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t ns = until.tv_nsec + l->times.touch_ns;
        until.tv_sec += (time_t)(ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
        int status = pthread_cond_timedwait(&l->changed, &l->mutex, &until);
        if (status == ETIMEDOUT && !l->stopping && !l->lost) look_after(l);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

static cf_err start_thread(cf_run_lock *l)
{
    sigset_t all, before;
    sigfillset(&all); /* signals belong to the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&l->thread, NULL, thread_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    l->has_thread = status == 0;
    errno = status;
    return status == 0 ? CF_OK : cf_fail_errno(CF_E_UNEXPECTED, "thread of the run folder's lock");
}

/* ---- taking -----------------------------------------------------------------------------------
 */

/* The fold of "fold-K.lock"; -1 for another name. */
static int fold_of_name(const char *name)
{
    int fold = -1, length = 0;
    if (sscanf(name, "fold-%9d.lock%n", &fold, &length) != 1 || name[length] != '\0') return -1;
    return length > 0 ? fold : -1;
}

/* Locks that ours does not go with: a whole job's beside a fold's, every fold's beside a whole
 * job's. */
static cf_err expect_no_rivals(cf_run_lock *l, bool *leaving)
{
    cf_strings names = {0};
    if (l->fold >= 0) return cf_lock_expect_free(&l->maker, WHOLE_JOB, leaving);
    CF_TRY(cf_dir_list(l->maker.dir, &names));
    cf_err err = CF_OK;
    for (size_t i = 0; err == CF_OK && i < names.n; i++)
        if (fold_of_name(names.items[i]) >= 0)
            err = cf_lock_expect_free(&l->maker, names.items[i], leaving);
    cf_strings_fini(&names);
    return err;
}

/* Our own lock first, then a look at the others': two that come together cannot both pass, with or
 * without the guard. */
static cf_err try_once(cf_run_lock *l, bool *leaving)
{
    bool ours = false, there = false;
    CF_TRY(cf_lock_claim(&l->maker, l->name, leaving));
    cf_err err = expect_no_rivals(l, leaving);
    if (err == CF_OK) err = cf_lock_is_ours(&l->maker, l->name, &ours, &there);
    if (err == CF_OK && !ours)
        err = cf_fail(CF_E_BUSY, "%s/%s: another job took it at the same moment", l->maker.dir,
                      l->name);
    if (err != CF_OK) cf_lock_remove(&l->maker, l->name);
    return err;
}

/* One try at a time under the guard, until it is not an owner on its way out that is met. */
static cf_err take(cf_run_lock *l)
{
    int64_t deadline = cf_clock_ns() + l->times.leaving_ns;
    for (bool said = false;; said = true) {
        bool leaving = false;
        CF_TRY(cf_lock_guard_enter(&l->maker));
        cf_err err = try_once(l, &leaving);
        cf_lock_guard_leave(&l->maker);
        if (err != CF_E_BUSY || !leaving || cf_clock_ns() >= deadline) return err;
        if (!said) cf_log_info("%s; it is on its way out and waited for", cf_err_text());
        cf_sleep_ns(RETRY_NS);
    }
}

static void init_waiting(cf_run_lock *l)
{
    pthread_condattr_t attributes;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* not moved when clocks are set */
    pthread_cond_init(&l->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

cf_err cf_run_lock_take(const char *dir, int only_fold, const cf_run_lock_times *times,
                        cf_run_lock **out)
{
    *out = NULL;
    cf_run_lock *l = NULL;
    CF_TRY(cf_dir_make(dir));
    CF_TRY(cf_new(&l, 1, sizeof *l));
    l->times = *times;
    l->fold = only_fold;
    if (only_fold < 0)
        strcpy(l->name, WHOLE_JOB);
    else
        snprintf(l->name, sizeof l->name, "fold-%d.lock", only_fold);
    init_waiting(l);
    bool taken = false;
    cf_err err = cf_lock_maker_init(&l->maker, dir, times->stale_ns);
    if (err == CF_OK) err = take(l);
    taken = err == CF_OK;
    if (err == CF_OK) err = start_thread(l);
    if (err == CF_OK) {
        cf_lock_sweep(&l->maker);
        *out = l;
        return CF_OK;
    }
    if (taken) cf_lock_remove(&l->maker, l->name);
    cf_lock_maker_fini(&l->maker);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mutex);
    free(l);
    return err;
}

static cf_err expect_no_lock(cf_lock_maker *maker, bool *leaving)
{
    cf_strings names = {0};
    CF_TRY(cf_dir_list(maker->dir, &names));
    cf_err err = CF_OK;
    for (size_t i = 0; err == CF_OK && i < names.n; i++)
        if (strcmp(names.items[i], WHOLE_JOB) == 0 || fold_of_name(names.items[i]) >= 0)
            err = cf_lock_expect_free(maker, names.items[i], leaving);
    cf_strings_fini(&names);
    return err;
}

cf_err cf_run_lock_look(const char *dir, const cf_run_lock_times *times)
{
    cf_lock_maker maker;
    if (!cf_path_is_dir(dir)) return CF_OK;
    cf_err err = cf_lock_maker_init(&maker, dir, times->stale_ns);
    int64_t deadline = cf_clock_ns() + times->leaving_ns;
    while (err == CF_OK) {
        bool leaving = false;
        err = cf_lock_guard_enter(&maker);
        if (err != CF_OK) break;
        err = expect_no_lock(&maker, &leaving);
        cf_lock_guard_leave(&maker);
        if (err != CF_E_BUSY || !leaving || cf_clock_ns() >= deadline) break;
        cf_sleep_ns(RETRY_NS);
        err = CF_OK;
    }
    cf_lock_maker_fini(&maker);
    return err;
}

void cf_run_lock_release(cf_run_lock *l)
{
    if (l == NULL) return;
    pthread_mutex_lock(&l->mutex);
    l->stopping = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
    if (l->has_thread) pthread_join(l->thread, NULL);
    if (l->in_section) cf_lock_remove(&l->maker, SECTION);
    cf_lock_remove(&l->maker, l->name);
    cf_lock_maker_fini(&l->maker);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

/* Never waits: the thread may be held up by a file system that does not answer. */
cf_err cf_run_lock_check(cf_run_lock *l)
{
    cf_err err = CF_OK;
    if (pthread_mutex_trylock(&l->mutex) != 0) return CF_OK;
    if (l->lost) err = cf_fail(CF_E_BUSY, "%s", l->lost_text);
    pthread_mutex_unlock(&l->mutex);
    return err;
}

/* ---- the section ------------------------------------------------------------------------------
 */

static cf_err look_for_others(cf_run_lock *l, bool *others)
{
    cf_strings names = {0};
    *others = false;
    CF_TRY(cf_dir_list(l->maker.dir, &names));
    for (size_t i = 0; i < names.n && !*others; i++) {
        bool leaving = false;
        int fold = fold_of_name(names.items[i]);
        if (fold < 0 || fold == l->fold) continue;
        *others = cf_lock_expect_free(&l->maker, names.items[i], &leaving) != CF_OK;
    }
    cf_strings_fini(&names);
    return CF_OK;
}

static cf_err enter_once(cf_run_lock *l, bool *others)
{
    bool leaving = false;
    CF_TRY(cf_lock_guard_enter(&l->maker));
    cf_err err = cf_lock_claim(&l->maker, SECTION, &leaving);
    l->in_section = err == CF_OK;
    if (err == CF_OK) err = look_for_others(l, others);
    cf_lock_guard_leave(&l->maker);
    return err;
}

cf_err cf_run_lock_enter(cf_run_lock *l, bool *others)
{
    *others = false;
    if (l->fold < 0) return CF_OK;
    int64_t deadline = cf_clock_ns() + l->times.section_ns;
    for (;;) {
        pthread_mutex_lock(&l->mutex);
        cf_err err = enter_once(l, others);
        pthread_mutex_unlock(&l->mutex);
        if (err != CF_E_BUSY || cf_clock_ns() >= deadline) return err;
        cf_sleep_ns(RETRY_NS);
    }
}

void cf_run_lock_leave(cf_run_lock *l)
{
    if (l->fold < 0) return;
    pthread_mutex_lock(&l->mutex);
    if (l->in_section) cf_lock_remove(&l->maker, SECTION);
    l->in_section = false;
    pthread_mutex_unlock(&l->mutex);
}
