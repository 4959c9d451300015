/* The launcher (mpirun) as a child of ours, in a process group of its own: a signal that asks the
 * run to save reaches the ranks in the one way that launchers pass on without killing them.
 * Threads: main only, before MPI is started. Read first: cf_child_run. */
#ifndef CF_LAUNCH_CHILD_H
#define CF_LAUNCH_CHILD_H

#include "proto/stop_rules.h"

/* Set for the ranks: USR1 is our word to save then, whatever run.save_on says. */
#define CF_CHILD_MARK "CYTOFOLD_LAUNCHED"

/* Runs words[0] (looked up in PATH), which starts n_ranks of this program, with stdin from
 * /dev/null and waits for its end; it never outlives us. The first of `wishes` (or a hang-up, where
 * there are wishes) goes on as USR1 as soon as its ranks hear it, a second to it as TERM, a
 * third kills its group; what comes within 0.3 s of the first is the same wish; signals that are
 * ignored here stay so. *code: what to exit with: its own
 * code, 128 + n where signal n ended it, CF_E_REQUEUE where a wish met it before its ranks could
 * hear it, CF_E_DEVICE where it did not notice for 10 s that ranks had ended, and was killed. After
 * a second signal the caller dies of that signal, so that a shell sees it. CF_E_DEVICE when it
 * cannot be started. */
CF_CHECKED cf_err cf_child_run(char *const words[], int n_ranks, const cf_save_on *wishes,
                               int *code);

#endif
