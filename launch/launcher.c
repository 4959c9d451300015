#include "launch/launcher.h"

#include <dlfcn.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the order of search: the first whose version fits. Open MPI 5 has no --quiet; Intel's and
 * Cray's MPI descend from MPICH and start with its launcher, whose -bind-to not all of them know.
 */
static const cf_launcher_family families[] = {
    {"Open MPI 5",
     "Open MPI v5",
     "mpirun",
     "openmpi-bin",
     {"--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"}},
    {"Open MPI",
     "Open MPI",
     "mpirun",
     "openmpi-bin",
     {"--quiet", "--oversubscribe", "--bind-to", "none"}},
    {"MPICH", "MPICH", "mpiexec.hydra", "mpich", {"-bind-to", "none"}},
    {"this MPI", "", "mpiexec", "that of its launcher", {NULL}},
};

const cf_launcher_family *cf_launcher_family_of(const char *version)
{
    const cf_launcher_family *f = families;
    while (strncmp(version, f->version, strlen(f->version)) != 0) f++;
    return f;
}

/* path = bin/NAME of the prefix whose lib/ or lib64/ holds the MPI library; false where there is
 * none. */
static bool beside_library(const char *name, char path[CF_PATH_MAX])
{
    Dl_info info;
    char library[CF_PATH_MAX];
    void *symbol = dlsym(RTLD_DEFAULT, "MPI_Get_library_version");
    if (symbol == NULL || dladdr(symbol, &info) == 0 || info.dli_fname == NULL) return false;
    char *real = realpath(info.dli_fname, NULL);
    if (real == NULL) return false;
    int n = snprintf(library, sizeof library, "%s", real);
    free(real);
    if (n >= (int)sizeof library) return false;
    for (int up = 0; up < 2; up++) { /* the file, then lib */
        char *slash = strrchr(library, '/');
        if (slash == NULL) return false;
        *slash = '\0';
    }
    n = snprintf(path, CF_PATH_MAX, "%s/bin/%s", library, name);
    return n < CF_PATH_MAX && access(path, X_OK) == 0;
}

cf_err cf_launcher_find(cf_launcher *launcher)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int n = 0;
    if (MPI_Get_library_version(version, &n) != MPI_SUCCESS) version[0] = '\0';
    launcher->family = cf_launcher_family_of(version);
    const char *own = getenv("CYTOFOLD_MPIRUN"), *name = launcher->family->program;
    bool given = own != NULL && *own != '\0';
    if (given && strchr(own, '/') != NULL && access(own, X_OK) != 0)
        return cf_fail_errno(CF_E_USAGE, "CYTOFOLD_MPIRUN: %s", own);
    if (!given && beside_library(name, launcher->program)) return CF_OK;
    n = snprintf(launcher->program, sizeof launcher->program, "%s", given ? own : name);
    if (n >= (int)sizeof launcher->program)
        return cf_fail(CF_E_USAGE, "CYTOFOLD_MPIRUN: a path of %d bytes is too long", n);
    return CF_OK;
}
