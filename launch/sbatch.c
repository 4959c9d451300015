#include "launch/sbatch.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/command.h"

bool cf_sbatch_is_there(void)
{
    char path[PATH_MAX];
    const char *p = getenv("PATH");
    while (p != NULL && *p != '\0') {
        size_t n = strcspn(p, ":");
        int length = snprintf(path, sizeof path, "%.*s/sbatch", (int)n, p);
        if (length > 0 && (size_t)length < sizeof path && access(path, X_OK) == 0) return true;
        p += n + (p[n] == ':');
    }
    return false;
}

/* "Submitted batch job 12", maybe with "on cluster a" behind it. */
static cf_err find_number(cf_sbatch_answer *answer)
{
    const char *p = answer->text + strcspn(answer->text, "0123456789");
    size_t n = strspn(p, "0123456789");
    if (n == 0 || n >= sizeof answer->job)
        return cf_fail(CF_E_UNEXPECTED, "sbatch: expected the number of a job, found '%s'",
                       answer->text);
    snprintf(answer->job, sizeof answer->job, "%.*s", (int)n, p);
    return CF_OK;
}

cf_err cf_sbatch(const char *script, const char *option, cf_sbatch_answer *answer)
{
    const char *const words[] = {"sbatch", option != NULL ? option : script,
                                 option != NULL ? script : NULL, NULL};
    const cf_command sbatch = {.words = words, .errors = CF_COMMAND_ERRORS_SHOWN};
    int code = 0;
    CF_TRY(cf_command_run(&sbatch, answer->text, sizeof answer->text, &code));
    if (code != 0)
        return cf_fail(CF_E_USAGE, "%s: sbatch did not take it (exit code %d), see its message",
                       script, code);
    return find_number(answer);
}
