/* Starting mpirun when no launcher has started us. Threads: main only. */
#ifndef CF_LAUNCH_MPIRUN_H
#define CF_LAUNCH_MPIRUN_H

#include <stdbool.h>

#include "proto/stop_rules.h"

/* True when mpirun, srun or another PMI launcher has given this process a rank. The variables of a
 * batch script alone (SLURM_PROCID is also set there) do not count. */
bool cf_launcher_present(void);
/* CF_E_USAGE when several tasks were started but do not know of each other (srun without a PMI that
 * this MPI speaks): each would run the whole job. size: of MPI's world; 0 before MPI was started.
 */
CF_CHECKED cf_err cf_launcher_check(int size);
/* Runs `mpirun -n n_ranks <this program> argv...` as a child (child.h) until its end; *code is what
 * to exit with. CF_E_DEVICE, telling what to install or run, when it cannot be started. */
CF_CHECKED cf_err cf_mpirun_run(int n_ranks, int argc, char **argv, const cf_save_on *wishes,
                                int *code);

#endif
