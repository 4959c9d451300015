#include "launch/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "launch/children.h"

/* Ranks take what comes within 0.3 s of the first signal for the same wish (signals.h), and so do
 * we: timeout(1) sends one to its child, and at once another to the child's group. */
#define SAME_WISH_NS    (300LL * 1000000)
#define SECOND_AFTER_NS (500LL * 1000000)
#define START_NS        (5LL * 1000000000) /* ranks hear signals after that, whatever the machine */
#define LOOK_NS         (20LL * 1000000)   /* between looks for ranks that hear */
#define TICK_NS         (1000LL * 1000000) /* between looks at how the launcher is */
#define STUCK_NS        (10LL * 1000000000)

typedef struct child {
    pid_t pid;
    int n_ranks;
    sigset_t heard; /* what asks us, and SIGCHLD */
    int64_t start_ns, first_ns;
    int n_asked, last; /* signals so far, and the last of them */
    bool waiting;      /* the first is not passed on yet */
    bool had_ranks;
    int64_t unheeded_ns; /* since when its ranks are gone and it has not noticed; 0: all is well */
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
    if (c->n_asked > 0 && now - c->first_ns < SAME_WISH_NS) return;
    c->last = number;
    c->n_asked++;
    if (c->n_asked == 1) {
        char storage[32];
        cf_log_info("signal %s: the ranks are asked to save and to stop, by USR1",
                    cf_signal_name(number, storage));
        c->first_ns = now;
        c->waiting = true;
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

/* mpirun forgets a signal that comes while it still starts its ranks, so they get it from us as
 * soon as all of them hear. Those of other hosts we cannot see: after START_NS it is for mpirun. */
static void pass_on(child *c)
{
    cf_children ranks;
    bool hear = cf_children_look(c->pid, SIGUSR1, &ranks) && ranks.n_hearing >= c->n_ranks;
    if (!hear && cf_clock_ns() - c->start_ns < START_NS) return;
    c->waiting = false;
    if (hear)
        cf_children_signal(c->pid, SIGUSR1);
    else
        kill(c->pid, SIGUSR1);
}

/* Open MPI 4.1 can lock itself up when a rank dies while it connects: the ranks are gone, mpirun
 * never notices. */
static bool is_stuck(child *c)
{
    cf_children ranks;
    int64_t now = cf_clock_ns();
    if (!cf_children_look(c->pid, SIGUSR1, &ranks)) return false;
    c->had_ranks = c->had_ranks || ranks.n_alive > 0;
    bool well = ranks.n_unheeded == 0 && (ranks.n_alive > 0 || !c->had_ranks);
    if (well || c->unheeded_ns == 0) c->unheeded_ns = well ? 0 : now;
    return !well && now - c->unheeded_ns > STUCK_NS;
}

static int end_stuck(const child *c, const char *name)
{
    cf_log_error("%s does not notice that ranks have ended; it is killed", name);
    kill(-c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    return CF_E_DEVICE;
}

static struct timespec time_to_wait(const child *c)
{
    bool starting = cf_clock_ns() - c->start_ns < START_NS;
    int64_t ns = c->waiting ? LOOK_NS : starting ? TICK_NS / 10 : TICK_NS;
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static int await(child *c, const char *name)
{
    int status = 0;
    for (;;) {
        const struct timespec wait = time_to_wait(c);
        int number = sigtimedwait(&c->heard, NULL, &wait), why = errno;
        if (number == SIGCHLD) {
            if (waitpid(c->pid, &status, WNOHANG) == c->pid) return exit_code(c, status);
        } else if (number > 0) {
            take_signal(c, number);
        } else if (why == EAGAIN && is_stuck(c)) {
            return end_stuck(c, name);
        } else if (why != EAGAIN && why != EINTR) {
            kill(-c->pid, SIGKILL);
            return CF_E_UNEXPECTED;
        }
        if (c->waiting) pass_on(c);
    }
}

cf_err cf_child_run(char *const words[], int n_ranks, const cf_save_on *wishes, int *code)
{
    child c = {.n_ranks = n_ranks, .start_ns = cf_clock_ns()};
    sigset_t before;
    sigemptyset(&c.heard);
    for (int i = 0; i < wishes->n; i++) add_unless_ignored(&c.heard, wishes->numbers[i]);
    if (wishes->n > 0) add_unless_ignored(&c.heard, SIGHUP);
    sigaddset(&c.heard, SIGCHLD);
    signal(SIGCHLD, SIG_DFL); /* a parent that ignores it would make waitpid fail */
    setenv(CF_CHILD_MARK, "1", 1);
    sigprocmask(SIG_BLOCK, &c.heard, &before);
    cf_err err = start(&c, words, &before);
    if (err == CF_OK) *code = await(&c, words[0]);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (err == CF_OK && c.n_asked > 1) {
        signal(c.last, SIG_DFL);
        raise(c.last);
    }
    return err;
}
