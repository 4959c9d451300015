#include "coordinator/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MAX_THREADS = 64 };

typedef struct job {
    atomic_int next;
    int n;
    void (*work)(void *argument, int i, int thread);
    void *argument;
} job;

typedef struct helper {
    job *job;
    int thread;
    pthread_t id;
} helper;

static void *run(void *argument)
{
    const helper *h = argument;
    for (int i; (i = atomic_fetch_add(&h->job->next, 1)) < h->job->n;)
        h->job->work(h->job->argument, i, h->thread);
    return NULL;
}

int cf_parallel_threads(int n, int n_threads)
{
    cpu_set_t cores;
    if (n_threads <= 0)
        n_threads = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    if (n_threads > n) n_threads = n;
    return n_threads < 1 ? 1 : n_threads;
}

void cf_parallel_for(int n, int n_threads, void (*work)(void *argument, int i, int thread),
                     void *argument)
{
    job j = {.n = n, .work = work, .argument = argument};
    helper helpers[MAX_THREADS];
    int wanted = cf_parallel_threads(n, n_threads), started = 1;
    for (int t = 0; t < wanted; t++) helpers[t] = (helper){.job = &j, .thread = t};
    while (started < wanted &&
           pthread_create(&helpers[started].id, NULL, run, &helpers[started]) == 0)
        started++;
    run(&helpers[0]);
    for (int t = 1; t < started; t++) pthread_join(helpers[t].id, NULL);
}
