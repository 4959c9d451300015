#include "launch/mpirun.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "launch/child.h"
#include "launch/launcher.h"

bool cf_launcher_present(void)
{
    static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK",
                                        "PMI_SIZE"};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (getenv(marks[i]) != NULL) return true;
    return false;
}

cf_err cf_launcher_check(int size)
{
    static const char *const counts[] = {"SLURM_STEP_NUM_TASKS", "PMI_SIZE",
                                         "OMPI_COMM_WORLD_SIZE"};
    if (size > 1 || (size == 0 && cf_launcher_present())) return CF_OK;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const char *text = getenv(counts[i]);
        if (text == NULL || atoi(text) < 2) continue;
        return cf_fail(CF_E_USAGE,
                       "%s is %s, but the tasks do not know of each other: try srun --mpi=pmix, or "
                       "mpirun",
                       counts[i], text);
    }
    return CF_OK;
}

cf_err cf_mpirun_run(int n_ranks, int argc, char **argv, const cf_save_on *wishes, int *code)
{
    cf_launcher launcher;
    char program[PATH_MAX], ranks[16];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0) return cf_fail_errno(CF_E_UNEXPECTED, "/proc/self/exe");
    program[length] = '\0';
    snprintf(ranks, sizeof ranks, "%d", n_ranks);
    CF_TRY(cf_launcher_find(&launcher));
    char **words = NULL;
    CF_TRY(cf_new(&words, (size_t)argc + CF_LAUNCHER_MAX_OPTIONS + 5, sizeof *words));
    const char *const *options = launcher.family->options;
    int n = 0;
    words[n++] = launcher.program;
    for (int i = 0; options[i] != NULL; i++) words[n++] = (char *)(uintptr_t)options[i];
    words[n++] = (char *)(uintptr_t) "-n";
    words[n++] = ranks;
    words[n++] = program;
    for (int i = 0; i < argc; i++) words[n++] = argv[i];
    /* Open MPI asks root to confirm twice; containers run as root. */
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    if (isatty(STDERR_FILENO) != 0) setenv("CYTOFOLD_TERMINAL", "1", 1);
    cf_err err = cf_child_run(words, n_ranks, wishes, code);
    free(words);
    return cf_where(err, "%s (Debian's package is %s)", launcher.family->name,
                    launcher.family->package);
}
