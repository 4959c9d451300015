#include "coordinator/slurm_job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/log.h"

#define DEADLINE_NS (10LL * 1000000000)

extern char **environ;

/* Starts squeue with both its outputs in a pipe. -1 where there is none. */
static pid_t start(const char *id, int *out)
{
    int ends[2];
    pid_t child = -1;
    posix_spawn_file_actions_t actions;
    char *argv[] = {(char[]){"squeue"},
                    (char[]){"-h"},
                    (char[]){"-j"},
                    (char *)(uintptr_t)id,
                    (char[]){"-o"},
                    (char[]){"%T"},
                    NULL};
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    if (posix_spawn_file_actions_init(&actions) != 0) goto out;
    if (posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO) != 0 ||
        posix_spawnp(&child, "squeue", &actions, NULL, argv, environ) != 0)
        child = -1;
    posix_spawn_file_actions_destroy(&actions);
out:
    close(ends[1]);
    if (child < 0) close(ends[0]);
    *out = ends[0];
    return child;
}

/* Reads until the end of the output, text[n - 1] at most. False at the deadline. */
static bool read_answer(int fd, char *text, size_t n)
{
    int64_t deadline = cf_clock_ns() + DEADLINE_NS;
    size_t have = 0;
    text[0] = '\0';
    for (;;) {
        int64_t left_ms = (deadline - cf_clock_ns()) / 1000000;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0) return false;
        int ready = poll(&p, 1, (int)left_ms);
        if (ready < 0 && errno != EINTR) return false;
        if (ready <= 0) continue;
        char block[512];
        ssize_t got = read(fd, block, sizeof block);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got == 0;
        size_t take = have + (size_t)got < n ? (size_t)got : n - 1 - have;
        memcpy(text + have, block, take);
        have += take;
        text[have] = '\0';
    }
}

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
static cf_slurm_job understand(const char *text, int status)
{
    if (!WIFEXITED(status)) return CF_SLURM_JOB_UNKNOWN;
    if (strstr(text, "Invalid job id") != NULL) return CF_SLURM_JOB_GONE;
    if (WEXITSTATUS(status) != 0) return CF_SLURM_JOB_UNKNOWN;
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
    int out = -1, status = 0;
    if (id[0] == '\0' || strspn(id, "0123456789_") != strlen(id)) return CF_SLURM_JOB_UNKNOWN;
    pid_t child = start(id, &out);
    if (child < 0) return CF_SLURM_JOB_UNKNOWN;
    bool whole = read_answer(out, text, sizeof text);
    close(out);
    if (!whole) kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return CF_SLURM_JOB_UNKNOWN;
    return whole ? understand(text, status) : CF_SLURM_JOB_UNKNOWN;
}
