/* How long threads of a loop wait for each other without giving up their core. Threads: main only,
 * before others start. Read first: cf_spin_briefly. */
#ifndef CF_LAUNCH_SPIN_H
#define CF_LAUNCH_SPIN_H

/* GNU's OpenMP lets a thread that is done spin 300,000 times, some milliseconds, before it sleeps,
 * but 1,000 times where it knows of more threads than cores. It does not know of those that load
 * images, nor of other people's programs: on two busy cores three of four processor seconds of
 * `predict` were waited away. It reads the environment as it is loaded, so the program starts
 * itself again with GOMP_SPINCOUNT=1000, as the same process; returns where the user has said what
 * he wants (OMP_WAIT_POLICY, GOMP_SPINCOUNT), and where that fails, as threads then only wait
 * dearly. argv: main's. No result depends on it. */
void cf_spin_briefly(char **argv);

#endif
