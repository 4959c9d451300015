#include "worker/data/crew.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

/* Most items taken at once: few enough that all threads end together, many enough that the lock is
 * idle. Fewer where a thread would not come four times. */
enum { BLOCK = 8 };

typedef struct job {
    const cf_crew *crew; /* borrowed */
    cf_crew_item item;
    void *context; /* borrowed */
    int64_t n, at_once;
    pthread_mutex_t lock; /* for what follows */
    int64_t next, done;
    bool stop;
    cf_err err;
    int64_t err_item;
    char *message; /* owned; of the error */
} job;

typedef struct hand {
    job *job; /* borrowed */
    int worker;
} hand;

int cf_crew_size(int threads)
{
    cpu_set_t set;
    if (threads <= 0) threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return threads < CF_CREW_MAX ? threads : CF_CREW_MAX;
}

/* Keeps the error of the lowest item, with its text. */
static void note_error(job *j, cf_err err, int64_t i)
{
    pthread_mutex_lock(&j->lock);
    if (j->err == CF_OK || i < j->err_item) {
        free(j->message);
        j->message = NULL;
        j->err = err;
        j->err_item = i;
        char *copy;
        if (cf_strdup(cf_err_text(), &copy) == CF_OK) j->message = copy;
    }
    j->stop = true;
    pthread_mutex_unlock(&j->lock);
}

static bool take(job *j, int64_t done, int64_t *begin, int64_t *end)
{
    pthread_mutex_lock(&j->lock);
    j->done += done;
    *begin = j->next;
    *end = j->next + j->at_once < j->n ? j->next + j->at_once : j->n;
    bool going = !j->stop && *begin < j->n;
    if (going) j->next = *end;
    pthread_mutex_unlock(&j->lock);
    return going;
}

/* Asks the caller, whose thread this is. */
static void tell(job *j)
{
    const cf_crew *crew = j->crew;
    if (!crew->progress) return;
    pthread_mutex_lock(&j->lock);
    int64_t done = j->done;
    pthread_mutex_unlock(&j->lock);
    if (!crew->progress(crew->progress_context, done, j->n))
        note_error(j, cf_fail(CF_E_UNEXPECTED, "interrupted"), -1);
}

static void *work(void *arg)
{
    const hand *h = arg;
    job *j = h->job;
    int64_t begin = 0, end = 0;
    while (take(j, end - begin, &begin, &end)) {
        for (int64_t i = begin; i < end; i++) {
            cf_err err = j->item(j->context, h->worker, i);
            if (err != CF_OK) note_error(j, err, i);
        }
        if (h->worker == 0) tell(j);
    }
    return NULL;
}

/* Signals go to the caller's thread, which may want to stop on them. */
static int start(pthread_t *threads, hand *hands, int n)
{
    sigset_t all, before;
    int started = 1; /* the caller's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < n && pthread_create(&threads[started], NULL, work, &hands[started]) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started; /* fewer than asked for do the same work */
}

cf_err cf_crew_each(const cf_crew *crew, int64_t n, cf_crew_item item, void *context)
{
    job j = {.crew = crew, .item = item, .context = context, .n = n};
    pthread_t threads[CF_CREW_MAX];
    hand hands[CF_CREW_MAX];
    int wanted = crew->threads < 1 ? 1 : crew->threads < CF_CREW_MAX ? crew->threads : CF_CREW_MAX;
    j.at_once = n / (4 * wanted) < 1 ? 1 : n / (4 * wanted) < BLOCK ? n / (4 * wanted) : BLOCK;
    pthread_mutex_init(&j.lock, NULL);
    for (int w = 0; w < wanted; w++) hands[w] = (hand){.job = &j, .worker = w};
    int started = start(threads, hands, wanted);
    work(&hands[0]);
    for (int w = 1; w < started; w++) pthread_join(threads[w], NULL);
    pthread_mutex_destroy(&j.lock);
    cf_err err = j.err;
    if (err != CF_OK) err = cf_fail(err, "%s", j.message ? j.message : "out of memory");
    free(j.message);
    return err;
}
