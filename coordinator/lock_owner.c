#include "coordinator/lock_owner.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/slurm_job.h"

/* ---- processes --------------------------------------------------------------------------------
 */

typedef struct process {
    char state;
    long long parent, threads;
    unsigned long long start;
} process;

/* /proc/PID/stat, proc(5): the name may hold anything, hence from its last ')' on: state (3),
 * parent (4), number of threads (20), start (22). */
static bool read_process(int64_t pid, process *p)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL) return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *rest = strrchr(text, ')');
    return rest != NULL && sscanf(rest + 1,
                                  " %c %lld %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                                  "%*s %*s %lld %*s %llu",
                                  &p->state, &p->parent, &p->threads, &p->start) == 4;
}

static void read_word(const char *path, char *word, size_t n)
{
    word[0] = '\0';
    FILE *f = fopen(path, "re");
    if (f == NULL) return;
    if (fgets(word, (int)n, f) == NULL) word[0] = '\0';
    word[strcspn(word, "\n")] = '\0';
    fclose(f);
}

/* ---- ourselves --------------------------------------------------------------------------------
 */

/* What goes into a line of the lock: one word of harmless characters. */
static void copy_word(const char *from, char *to, size_t n)
{
    size_t i = 0;
    for (; from != NULL && from[i] > ' ' && from[i] < 127 && i + 1 < n; i++) to[i] = from[i];
    to[i] = '\0';
}

static void find_job(cf_lock_owner *o)
{
    static const char *const known[][2] = {
        {"slurm", "SLURM_JOB_ID"}, {"pbs", "PBS_JOBID"}, {"lsf", "LSB_JOBID"}};
    strcpy(o->scheduler, "none");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        copy_word(getenv(known[i][1]), o->job, sizeof o->job);
        if (o->job[0] == '\0') continue;
        strcpy(o->scheduler, known[i][0]);
        break;
    }
    const char *restarts = getenv("SLURM_RESTART_COUNT");
    o->restarts = restarts != NULL ? strtol(restarts, NULL, 10) : 0;
    copy_word(getenv("SLURM_CLUSTER_NAME"), o->cluster, sizeof o->cluster);
}

cf_err cf_lock_owner_self(cf_lock_owner *o)
{
    struct stat space;
    char host[256] = "";
    process me = {0};
    memset(o, 0, sizeof *o);
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    copy_word(host, o->host, sizeof o->host);
    find_job(o);
    o->pid = getpid();
    o->parent = getppid();
    if (read_process(o->pid, &me)) o->start = me.start;
    read_word("/proc/sys/kernel/random/boot_id", o->boot, sizeof o->boot);
    if (stat("/proc/self/ns/pid", &space) == 0) o->space = (uint64_t)space.st_ino;
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL)
        strftime(o->since, sizeof o->since, "%Y-%m-%d %H:%M:%S UTC", &utc);
    if (getrandom(&o->token, sizeof o->token, 0) != (ssize_t)sizeof o->token)
        return cf_fail_errno(CF_E_UNEXPECTED, "random number for the run folder's lock");
    return CF_OK;
}

/* ---- text -------------------------------------------------------------------------------------
 */

size_t cf_lock_owner_write(const cf_lock_owner *o, char text[CF_LOCK_OWNER_MAX_BYTES])
{
    int n = snprintf(text, CF_LOCK_OWNER_MAX_BYTES,
                     "host %s\nscheduler %s\njob %s\ncluster %s\nrestarts %" PRId64 "\npid %" PRId64
                     "\nparent %" PRId64 "\nstart %" PRIu64 "\nboot %s\nspace %" PRIu64
                     "\nsince %s\ntoken %016" PRIx64 "\n",
                     o->host, o->scheduler, o->job, o->cluster, o->restarts, o->pid, o->parent,
                     o->start, o->boot, o->space, o->since, o->token);
    return n < CF_LOCK_OWNER_MAX_BYTES ? (size_t)n : CF_LOCK_OWNER_MAX_BYTES - 1;
}

/* The value of a key, up to the end of its line; "" where it has none. False without such a line.
 */
static bool find_value(const char *text, const char *key, char *value, size_t n)
{
    size_t length = strlen(key);
    for (const char *line = text; *line != '\0'; line++) {
        size_t end = strcspn(line, "\n");
        if (line[end] == '\0') return false; /* cut short */
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            size_t have = end - length - 1;
            if (have >= n) have = n - 1;
            memcpy(value, line + length + 1, have);
            value[have] = '\0';
            return true;
        }
        line += end;
    }
    return false;
}

static bool find_number(const char *text, const char *key, int base, uint64_t *number)
{
    char value[32], *end = NULL;
    if (!find_value(text, key, value, sizeof value) || value[0] < '0') return false;
    errno = 0;
    *number = strtoull(value, &end, base);
    return errno == 0 && *end == '\0';
}

bool cf_lock_owner_parse(const char *text, cf_lock_owner *o)
{
    uint64_t pid = 0, parent = 0, restarts = 0;
    memset(o, 0, sizeof *o);
    if (!find_value(text, "host", o->host, sizeof o->host) ||
        !find_value(text, "scheduler", o->scheduler, sizeof o->scheduler) ||
        !find_value(text, "job", o->job, sizeof o->job) ||
        !find_value(text, "cluster", o->cluster, sizeof o->cluster) ||
        !find_value(text, "boot", o->boot, sizeof o->boot) ||
        !find_value(text, "since", o->since, sizeof o->since) ||
        !find_number(text, "restarts", 10, &restarts) || !find_number(text, "pid", 10, &pid) ||
        !find_number(text, "parent", 10, &parent) || !find_number(text, "start", 10, &o->start) ||
        !find_number(text, "space", 10, &o->space) || !find_number(text, "token", 16, &o->token))
        return false;
    if (pid < 1 || pid > INT32_MAX || parent > INT32_MAX || restarts > INT32_MAX) return false;
    o->pid = (int64_t)pid;
    o->parent = (int64_t)parent;
    o->restarts = (int64_t)restarts;
    return true;
}

void cf_lock_owner_describe(const cf_lock_owner *o, char *text, size_t n)
{
    const char *name = strcmp(o->scheduler, "slurm") == 0 ? "Slurm job "
                       : strcmp(o->scheduler, "pbs") == 0 ? "PBS job "
                       : strcmp(o->scheduler, "lsf") == 0 ? "LSF job "
                                                          : "job ";
    snprintf(text, n, "host %s, %s%s, pid %lld, since %s", o->host, name,
             o->job[0] != '\0' ? o->job : "none", (long long)o->pid, o->since);
    for (char *c = text; *c != '\0'; c++)
        if (*c < ' ' || *c == 127) *c = '?';
}

/* ---- judging ----------------------------------------------------------------------------------
 */

/* The owner's process numbers are ours: /proc tells. */
static cf_owner_state judge_process(const cf_lock_owner *o, char *why, size_t n)
{
    process p = {0};
    if (kill((pid_t)o->pid, 0) != 0 && errno == ESRCH) {
        snprintf(why, n, "its process is gone");
        return CF_OWNER_GONE;
    }
    /* There, but hidden from us (/proc with hidepid): it may well be the owner. */
    if (!read_process(o->pid, &p)) return CF_OWNER_ALIVE;
    if (o->start != 0 && p.start != o->start) {
        snprintf(why, n, "its process is gone, another one has its number now");
        return CF_OWNER_GONE;
    }
    /* Dead and not yet waited for. With threads left it is only on its way there. */
    if (p.state == 'X' || (p.state == 'Z' && p.threads <= 1)) {
        snprintf(why, n, "its process is gone");
        return CF_OWNER_GONE;
    }
    return p.state == 'Z' || p.parent != o->parent ? CF_OWNER_LEAVING : CF_OWNER_ALIVE;
}

/* A host name that means one machine. */
static bool is_host_name(const char *name)
{
    return name[0] != '\0' && name[0] != '(' && strncmp(name, "localhost", 9) != 0;
}

static bool same_job(const cf_lock_owner *o, const cf_lock_owner *self)
{
    return self->job[0] != '\0' && strcmp(o->job, self->job) == 0 &&
           strcmp(o->scheduler, self->scheduler) == 0 && strcmp(o->cluster, self->cluster) == 0;
}

/* The owner was on another machine, or in another container of this one. */
static cf_owner_state judge_far(const cf_lock_owner *o, const cf_lock_owner *self, double age_s,
                                double stale_s, char *why, size_t n)
{
    if (o->boot[0] != '\0' && self->boot[0] != '\0' && strcmp(o->boot, self->boot) != 0 &&
        is_host_name(o->host) && strcmp(o->host, self->host) == 0) {
        snprintf(why, n, "its machine was started anew since");
        return CF_OWNER_GONE;
    }
    if (age_s >= stale_s) {
        snprintf(why, n, "it was not heard of for %.0f s", age_s);
        return CF_OWNER_GONE;
    }
    if (same_job(o, self)) return CF_OWNER_LEAVING;
    if (strcmp(o->scheduler, "slurm") != 0 || strcmp(o->cluster, self->cluster) != 0)
        return CF_OWNER_ALIVE;
    cf_slurm_job job = cf_slurm_job_find(o->job);
    if (job == CF_SLURM_JOB_GONE) snprintf(why, n, "Slurm has no job %s any more", o->job);
    return job == CF_SLURM_JOB_GONE     ? CF_OWNER_GONE
           : job == CF_SLURM_JOB_ENDING ? CF_OWNER_LEAVING
                                        : CF_OWNER_ALIVE;
}

cf_owner_state cf_lock_owner_judge(const cf_lock_owner *o, const cf_lock_owner *self, double age_s,
                                   double stale_s, char *why, size_t n)
{
    why[0] = '\0';
    bool same_machine = o->boot[0] != '\0' && strcmp(o->boot, self->boot) == 0 && o->space != 0 &&
                        o->space == self->space;
    /* Slurm starts a job again only when all of its processes have ended. */
    if (same_job(o, self) && strcmp(o->scheduler, "slurm") == 0 && o->restarts < self->restarts) {
        snprintf(why, n, "Slurm has requeued its job since");
        return CF_OWNER_GONE;
    }
    if (!same_machine) return judge_far(o, self, age_s, stale_s, why, n);
    cf_owner_state state = judge_process(o, why, n);
    return state == CF_OWNER_ALIVE && same_job(o, self) ? CF_OWNER_LEAVING : state;
}
