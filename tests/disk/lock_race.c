/* Jobs that race for the lock of one run folder (RELIABILITY 19): lock_race DIR ROUNDS SEED.
 *
 * Three kinds of rounds in turn. "together": whole jobs start at one moment, often on a dead
 * owner's lock; one of them wins, all others name it. "mixed": whole jobs and jobs of folds; those
 * that win go with each other. "killed": jobs take and leave the lock while others are killed as
 * they take, hold or take over; no two hold it at once, and what the dead left is no hindrance.
 * Every fourth round does without links, every third without byte-range locks, as some file systems
 * do. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coordinator/run_lock.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"

enum { MOST = 5, TAKES = 6 };
#define DEADLINE_NS (60LL * 1000000000)

typedef struct contender {
    atomic_int holding, done, code;
    int fold; /* -1: whole job */
    atomic_int pid;
    atomic_int still; /* its lock was still there when all had tried */
    char text[1024];
} contender;

/* Shared by all processes of a round. */
typedef struct board {
    atomic_int go, n_done, conflicts;
    contender c[MOST];
} board;

/* What the file system of this round cannot do. */
static bool without_locks, without_links;

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command == F_OFD_SETLK && without_locks) {
        errno = ENOLCK;
        return -1;
    }
    return __real_fcntl(fd, command, argument);
}

int __real_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to)
{
    if (!without_links) return __real_link(from, to);
    errno = EPERM;
    return -1;
}

/* ---- help ------------------------------------------------------------------------------------ */

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (uint32_t)((random_state >> 33) % n);
}

/* Polls until *flag has reached `value`. */
static bool wait_for(atomic_int *flag, int value)
{
    int64_t deadline = cf_clock_ns() + DEADLINE_NS;
    while (atomic_load(flag) < value) {
        if (cf_clock_ns() > deadline) return false;
        cf_sleep_ns(20000);
    }
    return true;
}

/* Takeovers are what is tested here: their warnings are not shown. */
static void hush(void)
{
    if (getenv("CYTOFOLD_VERBOSE") == NULL && freopen("/dev/null", "w", stderr) == NULL) _exit(1);
}

static bool is_dead(int pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) return true;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *rest = strrchr(text, ')');
    return rest == NULL || rest[2] == 'Z' || rest[2] == 'X';
}

static bool go_together(int fold_a, int fold_b)
{
    return fold_a >= 0 && fold_b >= 0 && fold_a != fold_b;
}

/* Others that hold, alive, what ours does not go with. */
static void look_for_conflicts(board *b, int me)
{
    for (int i = 0; i < MOST; i++) {
        contender *other = &b->c[i];
        if (i == me || go_together(other->fold, b->c[me].fold)) continue;
        if (atomic_load(&other->holding) && !is_dead(other->pid) && atomic_load(&other->holding))
            atomic_fetch_add(&b->conflicts, 1);
    }
}

/* ---- contenders ------------------------------------------------------------------------------ */

static cf_err take(const char *dir, int fold, cf_run_lock **lock)
{
    cf_run_lock_times times = cf_run_lock_times_default();
    return cf_run_lock_take(dir, fold, &times, lock);
}

static bool names_our_pid(const char *dir, int fold)
{
    char path[CF_PATH_MAX], mark[64], *text = NULL;
    size_t n = 0;
    if (fold < 0)
        snprintf(path, sizeof path, "%.4000s/run.lock", dir);
    else
        snprintf(path, sizeof path, "%.4000s/fold-%d.lock", dir, fold);
    snprintf(mark, sizeof mark, "\npid %d\n", (int)getpid());
    bool ours = cf_file_read(path, 4096, &text, &n) == CF_OK && strstr(text, mark) != NULL;
    free(text);
    return ours;
}

/* One start; the winner holds until everybody has tried. */
static void start_once(const char *dir, board *b, int me, int n)
{
    contender *c = &b->c[me];
    cf_run_lock *lock = NULL;
    cf_err err = take(dir, c->fold, &lock);
    atomic_store(&c->code, (int)err);
    if (err != CF_OK) snprintf(c->text, sizeof c->text, "%s", cf_err_text());
    atomic_store(&c->holding, err == CF_OK);
    atomic_fetch_add(&b->n_done, 1);
    if (err != CF_OK) return;
    bool all = wait_for(&b->n_done, n);
    atomic_store(&c->still, all && names_our_pid(dir, c->fold));
    atomic_fetch_add(&b->n_done, 1);
    wait_for(&b->n_done, 2 * n); /* the round's end */
    cf_run_lock_release(lock);
}

/* Many starts in a row, some of which the parent kills. */
static void start_often(const char *dir, board *b, int me)
{
    contender *c = &b->c[me];
    int64_t deadline = cf_clock_ns() + DEADLINE_NS;
    for (int takes = 0; takes < TAKES && cf_clock_ns() < deadline;) {
        cf_run_lock *lock = NULL;
        cf_err err = take(dir, c->fold, &lock);
        atomic_store(&c->code, (int)err);
        if (err == CF_E_BUSY) {
            cf_sleep_ns(200000);
            continue;
        }
        if (err != CF_OK) {
            snprintf(c->text, sizeof c->text, "%s", cf_err_text());
            return;
        }
        atomic_store(&c->holding, 1);
        look_for_conflicts(b, me);
        cf_sleep_ns((int64_t)random_below(500000));
        look_for_conflicts(b, me);
        atomic_store(&c->holding, 0);
        cf_run_lock_release(lock);
        takes++;
    }
    atomic_store(&c->done, 1);
}

static pid_t start_contender(const char *dir, board *b, int me, int n)
{
    pid_t pid = fork();
    if (pid != 0) return pid;
    hush();
    b->c[me].pid = (int)getpid();
    random_state += (uint64_t)me;
    if (!wait_for(&b->go, 1)) _exit(1);
    if (n > 0)
        start_once(dir, b, me, n);
    else
        start_often(dir, b, me);
    _exit(0);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static int fail(const char *what, const board *b)
{
    fprintf(stderr, "FAILED: %s\n", what);
    for (int i = 0; i < MOST; i++)
        if (b->c[i].pid != 0)
            fprintf(stderr, "  %d: fold %d, pid %d, holding %d, still %d, code %d, %s\n", i,
                    b->c[i].fold, b->c[i].pid, b->c[i].holding, b->c[i].still, b->c[i].code,
                    b->c[i].text);
    return 1;
}

/* A lock whose owner was killed. */
static bool leave_dead_lock(const char *dir, int fold)
{
    atomic_int *held =
        mmap(NULL, sizeof *held, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (held == MAP_FAILED) return false;
    pid_t pid = fork();
    if (pid == 0) {
        hush();
        cf_run_lock *lock = NULL;
        atomic_store(held, take(dir, fold, &lock) == CF_OK ? 1 : 2);
        for (;;) pause();
    }
    bool ok = pid > 0 && wait_for(held, 1) && atomic_load(held) == 1;
    if (pid > 0) kill(pid, SIGKILL);
    if (pid > 0) waitpid(pid, NULL, 0);
    munmap(held, sizeof *held);
    return ok;
}

/* Every loser's words name a winner's process. */
static bool loser_names_winner(const board *b, int loser, int n)
{
    for (int i = 0; i < n; i++) {
        char mark[64];
        snprintf(mark, sizeof mark, "pid %d,", b->c[i].pid);
        if (b->c[i].code == CF_OK && strstr(b->c[loser].text, mark) != NULL) return true;
    }
    return false;
}

/* n contenders at one moment; all have a fold (-1: a whole job). */
static int race_once(const char *dir, board *b, int n, int *lost)
{
    pid_t pids[MOST];
    int winners = 0, holders = 0;
    for (int i = 0; i < n; i++) pids[i] = start_contender(dir, b, i, n);
    atomic_store(&b->go, 1);
    if (!wait_for(&b->n_done, n)) fail("not all came back", b);
    for (int i = 0; i < n; i++) winners += b->c[i].code == CF_OK;
    if (!wait_for(&b->n_done, n + winners)) fail("a winner did not look", b);
    atomic_store(&b->n_done, 2 * n + winners);
    for (int i = 0; i < n; i++) waitpid(pids[i], NULL, 0);
    for (int i = 0; i < n; i++) {
        if (b->c[i].code != CF_OK && b->c[i].code != CF_E_BUSY) return fail("another code", b);
        holders += b->c[i].still;
        for (int k = 0; k < i; k++)
            if (b->c[i].still && b->c[k].still && !go_together(b->c[i].fold, b->c[k].fold))
                return fail("two hold what does not go together", b);
    }
    *lost += winners - holders;
    if (without_locks) return holders >= 1 || b->c[0].fold >= 0 ? 0 : fail("nobody holds it", b);
    if (winners != holders) return fail("a winner has lost its lock", b);
    if (winners == 0) return fail("nobody won", b);
    for (int i = 0; i < n && !without_links; i++)
        if (b->c[i].code != CF_OK && !loser_names_winner(b, i, n))
            return fail("a loser does not name who won", b);
    return 0;
}

static int round_together(const char *dir, board *b, int *lost)
{
    int n = 2 + (int)random_below(MOST - 1);
    for (int i = 0; i < n; i++) b->c[i].fold = -1;
    bool dead = random_below(2) == 0;
    if (dead && !leave_dead_lock(dir, random_below(3) == 0 ? 1 : -1))
        return fail("no dead owner could be made", b);
    return race_once(dir, b, n, lost);
}

static int round_mixed(const char *dir, board *b, int *lost)
{
    int n = 2 + (int)random_below(MOST - 1);
    for (int i = 0; i < n; i++) b->c[i].fold = (int)random_below(4) - 1;
    if (without_locks) b->c[0].fold = 0; /* all may give way to each other then */
    if (random_below(2) == 0 && !leave_dead_lock(dir, (int)random_below(4) - 1))
        return fail("no dead owner could be made", b);
    return race_once(dir, b, n, lost);
}

/* Two live on, the others are killed at any moment. Without byte-range locks only what is promised
 * there can be asked for, see run_lock.h; the rounds above do so. */
static int round_killed(const char *dir, board *b, int *n_killed)
{
    pid_t pids[MOST];
    without_locks = false;
    for (int i = 0; i < MOST; i++) b->c[i].fold = random_below(3) == 0 ? (int)random_below(2) : -1;
    for (int i = 0; i < MOST; i++) pids[i] = start_contender(dir, b, i, 0);
    atomic_store(&b->go, 1);
    for (int i = 2; i < MOST; i++) {
        cf_sleep_ns((int64_t)random_below(3000000));
        kill(pids[i], SIGKILL);
    }
    for (int i = 0; i < MOST; i++) {
        int status = 0;
        waitpid(pids[i], &status, 0);
        *n_killed += WIFSIGNALED(status);
    }
    if (atomic_load(&b->conflicts) > 0) return fail("two held it at once", b);
    if (!b->c[0].done || !b->c[1].done) return fail("the dead were in the way", b);
    return 0;
}

/* After a whole job, which no dead fold is in the way of, the guard is left, and drafts of the
 * killed. */
static int check_left(const char *dir)
{
    cf_strings names = {0};
    cf_run_lock *lock = NULL;
    if (take(dir, -1, &lock) != CF_OK) {
        fprintf(stderr, "FAILED: %s\n", cf_err_text());
        return 1;
    }
    cf_run_lock_release(lock);
    int bad = cf_dir_list(dir, &names) != CF_OK;
    for (size_t i = 0; i < names.n; i++) bad += names.items[i][0] != '.';
    if (bad > 0) fprintf(stderr, "FAILED: %d locks are left\n", bad);
    cf_strings_fini(&names);
    return bad;
}

static int race(const char *root, int rounds, board *b)
{
    int failed = 0, lost = 0, killed = 0;
    for (int i = 0; i < rounds; i++) {
        char dir[CF_PATH_MAX];
        snprintf(dir, sizeof dir, "%.4000s/run-%d", root, i / 20);
        memset(b, 0, sizeof *b);
        without_locks = i % 3 == 2 && i % 4 != 3;
        without_links = i % 4 == 3;
        /* Without links an owner that is killed while it writes leaves a lock that is not whole: it
         * is in the way for five minutes, too long for a test. */
        int kind = i / 12 % 3;
        if (kind == 2 && without_links) without_links = false;
        int bad = kind == 0   ? round_together(dir, b, &lost)
                  : kind == 1 ? round_mixed(dir, b, &lost)
                              : round_killed(dir, b, &killed);
        if (bad == 0) bad = check_left(dir);
        if (bad > 0) fprintf(stderr, "  round %d, kind %d\n", i, kind);
        failed += bad > 0;
    }
    printf("%d rounds, %d failed; %d contenders killed; %d winners found their lock taken\n",
           rounds, failed, killed, lost);
    return failed > 0;
}

/* DIR, ROUNDS, SEED */
int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: lock_race DIR ROUNDS SEED\n");
        return 2;
    }
    static const char *const jobs[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"};
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) unsetenv(jobs[i]); /* not of one job */
    cf_log_setup(getenv("CYTOFOLD_VERBOSE") != NULL ? CF_LOG_VERBOSE : CF_LOG_QUIET, -1);
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED) return 1;
    setvbuf(stdout, NULL, _IONBF, 0); /* children inherit no text */
    random_state = strtoull(argv[3], NULL, 10);
    printf("seed %s\n", argv[3]);
    return race(argv[1], atoi(argv[2]), b);
}
