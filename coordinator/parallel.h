/* Independent pieces of work on the cores there are. Threads: the caller's and those that it
 * starts. Read first: cf_parallel_for. */
#ifndef CF_COORDINATOR_PARALLEL_H
#define CF_COORDINATOR_PARALLEL_H

/* Calls work(argument, i, thread) once for each i in 0..n-1, in any order, on at most n_threads
 * threads (0: the cores that this process may use); thread is from 0 to cf_parallel_threads() - 1
 * and may name the thread's scratch memory. Returns when all calls have. Where no thread can be
 * started the caller does the work alone, so this cannot fail. */
void cf_parallel_for(int n, int n_threads, void (*work)(void *argument, int i, int thread),
                     void *argument);
/* How many threads cf_parallel_for(n, n_threads, ...) uses at most; 1 or more. */
int cf_parallel_threads(int n, int n_threads);

#endif
