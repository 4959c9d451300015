#include "coordinator/slurm_job.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/base/command.h"

#define PATIENCE_NS (10LL * 1000000000)

static bool is_last_state(const char *line)
{
    static const char *const last[] = {"COMPLETED", "CANCELLED",     "FAILED",   "TIMEOUT",
                                       "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"};
    for (size_t i = 0; i < sizeof last / sizeof *last; i++)
        if (strncmp(line, last[i], strlen(last[i])) == 0) return true;
    return false;
}

/* squeue forgets a job some minutes after its end; until then it may show it with a last state. The
 * number of a job array brings one line for each of its tasks: all of them must have ended. */
static cf_slurm_job understand(const char *text, int code)
{
    if (strstr(text, "Invalid job id") != NULL) return CF_SLURM_JOB_GONE;
    if (code != 0) return CF_SLURM_JOB_UNKNOWN;
    bool ending = false;
    for (const char *line = text + strspn(text, " \n"); *line != '\0';) {
        bool completing = strncmp(line, "COMPLETING", 10) == 0;
        if (!completing && !is_last_state(line)) return CF_SLURM_JOB_THERE;
        ending = ending || completing;
        line += strcspn(line, "\n");
        line += strspn(line, " \n");
    }
    return ending ? CF_SLURM_JOB_ENDING : CF_SLURM_JOB_GONE;
}

cf_slurm_job cf_slurm_job_find(const char *id)
{
    char text[512];
    int code = 0;
    const char *const words[] = {"squeue", "-h", "-j", id, "-o", "%T", NULL};
    const cf_command squeue = {
        .words = words, .errors = CF_COMMAND_ERRORS_READ, .patience_ns = PATIENCE_NS};
    if (id[0] == '\0' || strspn(id, "0123456789_") != strlen(id)) return CF_SLURM_JOB_UNKNOWN;
    if (cf_command_run(&squeue, text, sizeof text, &code) != CF_OK || code < 0 || code >= 128)
        return CF_SLURM_JOB_UNKNOWN;
    return understand(text, code);
}
