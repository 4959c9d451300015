#include "launch/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/log.h"

/* Ranks take what comes within 0.3 s of the first signal for the same wish (signals.h). */
#define SECOND_AFTER_NS (500LL * 1000000)
#define START_NS        (5LL * 1000000000) /* ranks hear signals after that, whatever the machine */

typedef struct child {
    pid_t pid;
    sigset_t heard; /* what asks us, and SIGCHLD */
    int64_t start_ns, first_ns;
    int n_asked, last; /* signals so far, and the last of them */
} child;

static void add_unless_ignored(sigset_t *set, int number)
{
    struct sigaction now;
    if (sigaction(number, NULL, &now) == 0 && now.sa_handler != SIG_IGN) sigaddset(set, number);
}

/* In the child, until exec: only what is safe after fork. */
static void become(char *const words[], pid_t parent, const sigset_t *mask, int report_fd)
{
    int in = open("/dev/null", O_RDONLY);
    if (in >= 0) dup2(in, STDIN_FILENO);
    setpgid(0, 0); /* Ctrl-C at the terminal is for us alone */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1); /* it died before that was said */
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(words[0], words);
    int number = errno;
    ssize_t written = write(report_fd, &number, sizeof number);
    _exit(written < 0 ? 2 : 1);
}

/* Forks and learns whether exec worked: the pipe's end closes when it did. */
static cf_err start(child *c, char *const words[], const sigset_t *mask)
{
    int ends[2], number = 0;
    pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0) return cf_fail_errno(CF_E_UNEXPECTED, "pipe");
    c->pid = fork();
    if (c->pid < 0) {
        close(ends[0]);
        close(ends[1]);
        return cf_fail_errno(CF_E_UNEXPECTED, "fork");
    }
    if (c->pid == 0) become(words, parent, mask, ends[1]);
    close(ends[1]);
    ssize_t got = 0;
    while ((got = read(ends[0], &number, sizeof number)) < 0 && errno == EINTR) {}
    close(ends[0]);
    if (got != (ssize_t)sizeof number) return CF_OK;
    waitpid(c->pid, NULL, 0);
    errno = number;
    return cf_fail_errno(CF_E_DEVICE, "cannot start %s", words[0]);
}

static void take_signal(child *c, int number)
{
    int64_t now = cf_clock_ns();
    c->last = number;
    c->n_asked++;
    if (c->n_asked == 1) {
        c->first_ns = now;
        kill(c->pid, SIGUSR1);
    } else if (c->n_asked == 2) {
        cf_sleep_ns(c->first_ns + SECOND_AFTER_NS - now);
        kill(c->pid, SIGTERM);
    } else {
        kill(-c->pid, SIGKILL);
    }
}

/* A wish that came before the ranks could hear it ended them, and they had not begun. */
static bool met_too_early(const child *c, int ended_by)
{
    return c->n_asked == 1 && ended_by == SIGUSR1 && c->first_ns - c->start_ns < START_NS;
}

static int exit_code(const child *c, int status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (!met_too_early(c, code - 128)) return code;
    cf_log_info("stopped before the ranks had begun; the same command starts again");
    return CF_E_REQUEUE;
}

static int await(child *c)
{
    int status = 0;
    for (;;) {
        int number = sigwaitinfo(&c->heard, NULL);
        if (number == SIGCHLD) {
            if (waitpid(c->pid, &status, WNOHANG) == c->pid) return exit_code(c, status);
        } else if (number > 0) {
            take_signal(c, number);
        } else if (errno != EINTR) {
            kill(-c->pid, SIGKILL);
            return CF_E_UNEXPECTED;
        }
    }
}

cf_err cf_child_run(char *const words[], const cf_save_on *wishes, int *code)
{
    child c = {.start_ns = cf_clock_ns()};
    sigset_t before;
    sigemptyset(&c.heard);
    for (int i = 0; i < wishes->n; i++) add_unless_ignored(&c.heard, wishes->numbers[i]);
    if (wishes->n > 0) add_unless_ignored(&c.heard, SIGHUP);
    sigaddset(&c.heard, SIGCHLD);
    signal(SIGCHLD, SIG_DFL); /* a parent that ignores it would make waitpid fail */
    setenv(CF_CHILD_MARK, "1", 1);
    sigprocmask(SIG_BLOCK, &c.heard, &before);
    cf_err err = start(&c, words, &before);
    if (err == CF_OK) *code = await(&c);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (err == CF_OK && c.n_asked > 1) {
        signal(c.last, SIG_DFL);
        raise(c.last);
    }
    return err;
}
