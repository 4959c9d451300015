#include "coordinator/walltime.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/base/command.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

#define NEVER_NS     INT64_MAX
#define ASK_EVERY_NS (300LL * 1000000000)
#define PATIENCE_NS  (20LL * 1000000000) /* for one answer: a busy controller may take long */

struct cf_walltime {
    pthread_t thread;
    bool asking; /* there is a thread */
    int64_t ask_every_ns;
    int64_t limit_ns; /* of the configuration, as end_ns */
    char job[64];     /* for squeue; "": not under Slurm */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    bool stopping;
    int64_t end_ns; /* by the batch system, on cf_clock_ns, or NEVER_NS */
};

/* ---- squeue -----------------------------------------------------------------------------------
 */

bool cf_walltime_parse_left(const char *text, int64_t *seconds)
{
    int64_t days = 0, part[3] = {0};
    int n = 0;
    const char *at = text;
    for (;;) {
        char *end = NULL;
        if (*at < '0' || *at > '9' || n == 3) return false;
        part[n++] = strtoll(at, &end, 10);
        at = end + 1;
        if (*end == '-' && n == 1 && days == 0) {
            days = part[0];
            n = 0;
        } else if (*end != ':') {
            at = end;
            break;
        }
    }
    if ((*at != '\0' && *at != '\n') || n < 2 || part[0] > 1000000 || days > 100000) return false;
    if (part[1] > 59 || (n == 3 && part[2] > 59)) return false;
    *seconds =
        days * 86400 + (n == 3 ? part[0] * 3600 + part[1] * 60 + part[2] : part[0] * 60 + part[1]);
    return true;
}

static bool is_stopping(void *context)
{
    cf_walltime *w = context;
    pthread_mutex_lock(&w->lock);
    bool stopping = w->stopping;
    pthread_mutex_unlock(&w->lock);
    return stopping;
}

/* The answer of one squeue; false where it says nothing of use. */
static bool ask(cf_walltime *w, int64_t *seconds)
{
    char text[128];
    int code = 0;
    const char *const words[] = {"squeue", "-h", "-o", "%L", "-j", w->job, NULL};
    const cf_command squeue = {.words = words,
                               .errors = CF_COMMAND_ERRORS_DROPPED,
                               .patience_ns = PATIENCE_NS,
                               .give_up = is_stopping,
                               .context = w};
    if (cf_command_run(&squeue, text, sizeof text, &code) != CF_OK) {
        cf_log_debug("%s", cf_err_text());
        return false;
    }
    return code == 0 && cf_walltime_parse_left(text, seconds);
}

/* ---- the thread -------------------------------------------------------------------------------
 */

static void wait_for_turn(cf_walltime *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t at = (int64_t)until.tv_sec * 1000000000 + until.tv_nsec + w->ask_every_ns;
    until = (struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
    pthread_mutex_lock(&w->lock);
    int number = 0;
    while (!w->stopping && number == 0)
        number = pthread_cond_timedwait(&w->changed, &w->lock, &until);
    pthread_mutex_unlock(&w->lock);
}

static void *ask_now_and_then(void *argument)
{
    cf_walltime *w = argument;
    while (!is_stopping(w)) {
        int64_t seconds = 0, asked_ns = cf_clock_ns();
        if (ask(w, &seconds)) {
            pthread_mutex_lock(&w->lock);
            w->end_ns = asked_ns + seconds * 1000000000;
            pthread_mutex_unlock(&w->lock);
        }
        wait_for_turn(w);
    }
    return NULL;
}

static cf_err start_thread(cf_walltime *w)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (w->job[0] == '\0') return CF_OK;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&w->thread, NULL, ask_now_and_then, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number != 0) return cf_fail(CF_E_UNEXPECTED, "thread for squeue: %s", strerror(number));
    w->asking = true;
    return CF_OK;
}

/* ---- what is known at the start ---------------------------------------------------------------
 */

/* Slurm's clock and this host's may differ by a day: an end that lies behind us is none. */
static int64_t end_from_environment(void)
{
    const char *text = getenv("SLURM_JOB_END_TIME");
    char *end = NULL;
    if (text == NULL || *text < '0' || *text > '9') return NEVER_NS;
    long long seconds = strtoll(text, &end, 10), left = seconds - (long long)time(NULL);
    if (*end != '\0' || seconds > INT32_MAX * 1000LL) return NEVER_NS;
    if (left > 0) return cf_clock_ns() + left * 1000000000;
    cf_log_warn("SLURM_JOB_END_TIME %s is past by this host's clock: not heeded", text);
    return NEVER_NS;
}

/* One task of a job array has the number of the whole array, for which squeue answers with all its
 * tasks: it is asked for by both its numbers. */
static void name_job(char *job, size_t n)
{
    const char *id = getenv("SLURM_JOB_ID"), *array = getenv("SLURM_ARRAY_JOB_ID"),
               *task = getenv("SLURM_ARRAY_TASK_ID");
    bool one_of_many = array != NULL && *array != '\0' && task != NULL && *task != '\0';
    if (id == NULL || *id == '\0')
        job[0] = '\0';
    else if (one_of_many)
        snprintf(job, n, "%s_%s", array, task);
    else
        snprintf(job, n, "%s", id);
}

cf_err cf_walltime_start(int64_t limit_seconds, int64_t start_ns, int64_t ask_every_ns,
                         cf_walltime **out)
{
    cf_walltime *w = NULL;
    *out = NULL;
    CF_TRY(cf_new(&w, 1, sizeof *w));
    name_job(w->job, sizeof w->job);
    w->ask_every_ns = ask_every_ns > 0 ? ask_every_ns : ASK_EVERY_NS;
    w->end_ns = end_from_environment();
    w->limit_ns = limit_seconds > 0 ? start_ns + limit_seconds * 1000000000 : NEVER_NS;
    cf_err err = start_thread(w);
    if (err != CF_OK) {
        cf_walltime_stop(w);
        return err;
    }
    *out = w;
    return CF_OK;
}

double cf_walltime_left(cf_walltime *w)
{
    if (w == NULL) return 1e30;
    pthread_mutex_lock(&w->lock);
    int64_t end_ns = w->end_ns;
    pthread_mutex_unlock(&w->lock);
    if (w->limit_ns < end_ns) end_ns = w->limit_ns;
    return end_ns == NEVER_NS ? 1e30 : (double)(end_ns - cf_clock_ns()) * 1e-9;
}

void cf_walltime_stop(cf_walltime *w)
{
    if (w == NULL) return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (w->asking) pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
