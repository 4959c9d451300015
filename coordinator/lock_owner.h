/* Who holds a lock on a run folder, as its file says, and whether that owner still lives.
 *
 * Judging asks the machine where it is ours (process number, start time, boot id), else Slurm, else
 * the age of the lock's last touch; never the time of day. Threads: any. Read first:
 * cf_lock_owner_judge. */
#ifndef CF_COORDINATOR_LOCK_OWNER_H
#define CF_COORDINATOR_LOCK_OWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { CF_LOCK_OWNER_MAX_BYTES = 2048 };

typedef struct cf_lock_owner {
    char host[256];
    char scheduler[16]; /* "slurm", "pbs", "lsf" or "none" */
    char job[64];       /* its number there; "" with "none" */
    char cluster[64];   /* of Slurm; "" where it has no name */
    int64_t restarts;   /* how often Slurm has requeued the job */
    int64_t pid, parent;
    uint64_t start; /* of the process, clock ticks after boot */
    char boot[64];  /* the kernel's boot id; "": not known */
    uint64_t space; /* of process numbers: containers have their own; 0: not known */
    char since[40]; /* time of day, for people only */
    uint64_t token; /* random: no two locks are alike */
} cf_lock_owner;

/* This process, with a token of its own. CF_E_UNEXPECTED where there are no random numbers. */
CF_CHECKED cf_err cf_lock_owner_self(cf_lock_owner *o);
/* Writes `o` as lines of "key value", the token last; returns the length, at most
 * CF_LOCK_OWNER_MAX_BYTES - 1. */
size_t cf_lock_owner_write(const cf_lock_owner *o, char text[CF_LOCK_OWNER_MAX_BYTES]);
/* False for a text that is not whole (the owner died while writing, or the disk is full). */
bool cf_lock_owner_parse(const char *text, cf_lock_owner *o);
/* "host a, Slurm job 12, pid 34, since 2026-11-22 03:04:05 UTC"; without control characters. */
void cf_lock_owner_describe(const cf_lock_owner *o, char *text, size_t n);

typedef enum cf_owner_state {
    CF_OWNER_ALIVE,
    CF_OWNER_LEAVING, /* alive, but without the launcher it had, or of our own job: soon gone */
    CF_OWNER_GONE
} cf_owner_state;
/* Whether the owner of a lock last touched age_s seconds ago lives. `why` receives the reason for
 * CF_OWNER_GONE. May ask squeue, for at most 10 s. stale_s: the age at which a lock is given up
 * that nothing else is known of. */
cf_owner_state cf_lock_owner_judge(const cf_lock_owner *o, const cf_lock_owner *self, double age_s,
                                   double stale_s, char *why, size_t n);

#endif
