#include "launch/sbatch.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

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

/* Starts sbatch with its output in a pipe; *fd is the pipe's end to read from. */
static cf_err start(const char *script, const char *option, pid_t *child, int *fd)
{
    const char *words[] = {"sbatch", option != NULL ? option : script,
                           option != NULL ? script : NULL, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];
    if (pipe(ends) != 0) return cf_fail_errno(CF_E_UNEXPECTED, "pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    int code = posix_spawnp(child, "sbatch", &actions, NULL, (char **)(uintptr_t)words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *fd = ends[0];
    if (code == 0) return CF_OK;
    close(ends[0]);
    errno = code;
    return cf_fail_errno(CF_E_UNEXPECTED, "cannot start sbatch");
}

/* To the end of the pipe; what does not fit is dropped. */
static void read_answer(int fd, char *text, size_t room)
{
    size_t n = 0;
    char byte;
    for (;;) {
        ssize_t got = read(fd, &byte, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        if (n + 1 < room) text[n++] = byte;
    }
    text[n] = '\0';
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
    pid_t child = 0;
    int fd = -1, status = 0;
    CF_TRY(start(script, option, &child, &fd));
    read_answer(fd, answer->text, sizeof answer->text);
    close(fd);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return cf_fail_errno(CF_E_UNEXPECTED, "sbatch");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return cf_fail(CF_E_USAGE, "%s: sbatch did not take it (exit code %d), see its message",
                       script, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return find_number(answer);
}
