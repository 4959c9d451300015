#include "kernels/base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/log.h"

enum { POLL_MS = 100 };

extern char **environ;

static int spawn(const cf_command *c, int out, pid_t *child)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    if (c->errors == CF_COMMAND_ERRORS_READ)
        posix_spawn_file_actions_adddup2(&files, out, STDERR_FILENO);
    else if (c->errors == CF_COMMAND_ERRORS_DROPPED)
        posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_setsigmask(&attributes, &none); /* our threads have all of them blocked */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int number = posix_spawnp(child, c->words[0], &files, &attributes, (char **)(uintptr_t)c->words,
                              environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return number;
}

/* To the end of the answer; false when that does not come in time. */
static bool read_answer(const cf_command *c, int fd, char *text, size_t room)
{
    int64_t deadline = c->patience_ns > 0 ? cf_clock_ns() + c->patience_ns : INT64_MAX;
    size_t n = 0;
    while (cf_clock_ns() < deadline && (c->give_up == NULL || !c->give_up(c->context))) {
        char block[512];
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, POLL_MS) <= 0) continue;
        ssize_t got = read(fd, block, sizeof block);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got == 0;
        for (ssize_t i = 0; i < got && n + 1 < room; i++) text[n++] = block[i];
        text[n] = '\0';
    }
    return false;
}

cf_err cf_command_run(const cf_command *c, char *text, size_t room, int *code)
{
    int ends[2], status = 0;
    pid_t child = 0;
    text[0] = '\0';
    *code = -1;
    if (pipe2(ends, O_CLOEXEC) != 0) return cf_fail_errno(CF_E_UNEXPECTED, "pipe");
    int number = spawn(c, ends[1], &child);
    close(ends[1]);
    bool whole = number == 0 && read_answer(c, ends[0], text, room);
    close(ends[0]);
    if (number != 0) {
        errno = number;
        return cf_fail_errno(CF_E_UNEXPECTED, "cannot start %s", c->words[0]);
    }
    if (!whole) kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return cf_fail_errno(CF_E_UNEXPECTED, "%s", c->words[0]);
    if (whole) *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return CF_OK;
}
