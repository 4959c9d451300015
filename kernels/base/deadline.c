#include "kernels/base/deadline.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"

#define LOOK_NS (5LL * 1000000)

typedef struct begin {
    void *(*run)(void *);
    void *argument;
    char context[CF_LOG_CONTEXT_MAX];
} begin;

static void *run_begun(void *argument)
{
    begin b = *(begin *)argument;
    free(argument);
    cf_log_about(b.context);
    return b.run(b.argument);
}

cf_err cf_thread_detached(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    sigset_t all, before;
    begin *b = NULL;
    CF_TRY(cf_new(&b, 1, sizeof *b));
    *b = (begin){.run = run, .argument = argument};
    strcpy(b->context, cf_log_context());
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited: signals are the main thread's */
    int code = pthread_create(&thread, NULL, run_begun, b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        free(b);
        return cf_fail(CF_E_UNEXPECTED, "cannot start a thread (error %d)", code);
    }
    pthread_detach(thread);
    return CF_OK;
}

/* Two know of it; the last to leave releases it. */
typedef struct errand {
    void (*run)(void *);
    void *argument;
    atomic_bool done;
    atomic_int n_left;
} errand;

static void leave(errand *e)
{
    if (atomic_fetch_sub(&e->n_left, 1) == 1) free(e);
}

static void *run_errand(void *argument)
{
    errand *e = argument;
    e->run(e->argument);
    atomic_store(&e->done, true);
    leave(e);
    return NULL;
}

bool cf_run_within(void (*run)(void *), void *argument, int64_t ns)
{
    errand *e = NULL;
    int64_t end_ns = cf_clock_ns() + ns;
    cf_err err = cf_new(&e, 1, sizeof *e);
    if (err == CF_OK) {
        *e = (errand){.run = run, .argument = argument};
        atomic_init(&e->n_left, 2);
        err = cf_thread_detached(run_errand, e);
        if (err != CF_OK) free(e);
    }
    if (err != CF_OK) {
        run(argument);
        return true;
    }
    while (!atomic_load(&e->done) && cf_clock_ns() < end_ns) cf_sleep_ns(LOOK_NS);
    bool done = atomic_load(&e->done);
    leave(e);
    return done;
}
