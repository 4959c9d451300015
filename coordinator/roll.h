/* The roll: when each rank was last heard, what it was doing, and who is to blame when a job has
 * hung. Rules alone: no socket, no thread, no clock (times are passed in, of one clock).
 *
 * Blame, in this order. A rank that is silent. A rank that has work of its own (it is not waiting
 * for others) and has not moved for its allowance. Then all ranks of a group wait for each other:
 * none of them is named, all are listed. A rank that waits is excused while another that it waits
 * for works. Threads: one caller. Read first: cf_roll_judge. */
#ifndef CF_COORDINATOR_ROLL_H
#define CF_COORDINATOR_ROLL_H

#include "kernels/base/buf.h"
#include "proto/beat.h"

typedef struct cf_roll_row {
    char host[256];
    int64_t pid;
    int rank;         /* in the job, for messages */
    int group;        /* -1: the coordinator */
    bool met;         /* else not watched yet */
    bool beats;       /* a heartbeat has come; else it is judged by its messages over MPI alone */
    bool spoke;       /* a message over MPI came since it was met */
    int64_t met_ns;   /* when */
    int64_t heard_ns; /* last, by either way */
    cf_doing doing;
    int fold; /* -1: none */
    int64_t step;
    int64_t still_ns; /* since its last move, as it said itself when last heard */
} cf_roll_row;

typedef struct cf_roll {
    int n_workers;
    int64_t timeout_ns; /* run.hang_timeout */
    int64_t beat_ns;    /* between heartbeats */
    cf_roll_row *rows;  /* owned, [n_workers + 1]; the last is the coordinator */
} cf_roll;

/* ranks: workers are first_worker, first_worker + 1, ...; groups: [n_workers]. Release with fini in
 * any case. */
CF_CHECKED cf_err cf_roll_init(cf_roll *r, int n_workers, int first_worker, const int32_t *groups,
                               int64_t timeout_ns);
void cf_roll_fini(cf_roll *r);
/* From here on the rank is watched. */
void cf_roll_meet(cf_roll *r, int row, const char *host, int64_t pid, int64_t now_ns);
void cf_roll_beat(cf_roll *r, const cf_beat *b, int64_t now_ns);
/* A message of worker `row` came over MPI, which tells of that much; the next heartbeat tells more.
 */
void cf_roll_message(cf_roll *r, int row, cf_doing doing, int fold, int64_t step, int64_t now_ns);
/* The coordinator's own event loop. */
void cf_roll_own(cf_roll *r, cf_doing doing, int fold, int64_t still_ns, int64_t now_ns);
/* A worker whose messages come and whose heartbeats do not, -1 where there is none. */
int cf_roll_muted(const cf_roll *r, int64_t now_ns);

typedef enum cf_blame { CF_BLAME_NOBODY, CF_BLAME_SILENT, CF_BLAME_STUCK, CF_BLAME_ALL } cf_blame;
typedef struct cf_verdict {
    cf_blame blame;
    int row;        /* who; ALL: one of them */
    int64_t for_ns; /* silent, or without a move */
} cf_verdict;
cf_verdict cf_roll_judge(const cf_roll *r, int64_t now_ns);
/* Appends one sentence: who (rank, host, process), where (fold, step, doing), how long, and what
 * the others do. */
void cf_roll_describe(const cf_roll *r, const cf_verdict *v, int64_t now_ns, cf_buf *out);

#endif
