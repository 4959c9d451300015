/* Which program starts ranks of the MPI that this program is linked with, and in which words: Open
 * MPI 4, Open MPI 5, MPICH and its descendants each have their own. Threads: main only. Read first:
 * cf_launcher_find. */
#ifndef CF_LAUNCH_LAUNCHER_H
#define CF_LAUNCH_LAUNCHER_H

#include "kernels/base/err.h"
#include "kernels/base/file.h"

enum { CF_LAUNCHER_MAX_OPTIONS = 8 };

typedef struct cf_launcher_family {
    const char *name;    /* "Open MPI 5", for messages */
    const char *version; /* how MPI_Get_library_version begins; "" fits any */
    const char *program; /* "mpirun" */
    const char *package; /* what brings it, for messages */
    /* Come before "-n N": more ranks than cores is our normal case (the coordinator sleeps), and
     * threads place themselves. NULL ends the list. */
    const char *options[CF_LAUNCHER_MAX_OPTIONS];
} cf_launcher_family;

typedef struct cf_launcher {
    const cf_launcher_family *family; /* static */
    char program[CF_PATH_MAX];        /* a path, or a name to be looked up in PATH */
} cf_launcher;

/* The family of a text of MPI_Get_library_version; never NULL. */
const cf_launcher_family *cf_launcher_family_of(const char *version);
/* The launcher of the MPI in use: CYTOFOLD_MPIRUN where the environment has it, else the one of the
 * folder that the MPI library was loaded from (lib/libmpi.so: bin/mpirun), so that another MPI in
 * front of PATH does no harm, else the family's name. Needs no MPI_Init. CF_E_USAGE for a
 * CYTOFOLD_MPIRUN that cannot be run. */
CF_CHECKED cf_err cf_launcher_find(cf_launcher *launcher);

#endif
