/* Heartbeats: the datagrams between a worker's beat thread and the coordinator's watch thread, and
 * the words for what a rank is doing.
 *
 * A datagram has a fixed size and no pointers; whatever has not every field in range, or another
 * job's token, is not ours and is passed over in silence. Nothing here enters a result. Threads:
 * any. Read first: cf_beat. */
#ifndef CF_PROTO_BEAT_H
#define CF_PROTO_BEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CF_BEAT_BYTES = 48, CF_BEAT_MAX_FOLDS = 255 };

/* What the thread that matters is doing: a worker's step loop, or the coordinator's event loop. */
typedef enum cf_doing {
    CF_DOING_AWAIT_PLAN,
    CF_DOING_SET_UP,
    CF_DOING_AWAIT_SET_UP,
    CF_DOING_FIRST_DATA,
    CF_DOING_DATA,
    CF_DOING_COMPUTE,
    CF_DOING_SUMS,
    CF_DOING_SAVE,
    CF_DOING_TEST,
    CF_DOING_AWAIT_BYE,
    CF_DOING_LEAVE,
    CF_DOING_LISTEN, /* the coordinator's, from here on */
    CF_DOING_WRITE,
    CF_DOING_N
} cf_doing;

/* For whom a rank waits that does so, as opposed to one that has work of its own. */
typedef enum cf_waits { CF_WAITS_NOT, CF_WAITS_GROUP, CF_WAITS_ALL, CF_WAITS_LAST } cf_waits;

typedef struct cf_doing_row {
    const char *words; /* "is ..." */
    int allowance;     /* how many run.hang_timeout it may take without a move */
    cf_waits waits;    /* LAST: for the coordinator; alone no sign of trouble */
} cf_doing_row;
const cf_doing_row *cf_doing_find(cf_doing doing);

typedef enum cf_beat_kind {
    CF_BEAT_ALIVE = 1, /* worker: I am, and my step loop does this */
    CF_BEAT_PULSE,     /* coordinator: heard */
    CF_BEAT_END        /* coordinator: the job has hung, leave at once */
} cf_beat_kind;

typedef struct cf_beat {
    cf_beat_kind kind;
    uint64_t token; /* of the job */
    int worker;     /* 0-based */
    uint8_t route;  /* which of the coordinator's addresses; a pulse gives it back */
    cf_doing doing;
    int fold; /* -1: none */
    int64_t step;
    int64_t still_ns; /* since the step loop last moved */
} cf_beat;

/* Between two heartbeats: a fifth of run.hang_timeout, at most a second. One that has not come for
 * CF_BEATS_LATE of them is late: lost, or no more sent. */
int64_t cf_beat_interval_ns(int64_t timeout_ns);
enum { CF_BEATS_LATE = 3 };

void cf_beat_pack(const cf_beat *b, uint8_t bytes[CF_BEAT_BYTES]);
/* False for bytes that are no heartbeat of the job with this token. */
bool cf_beat_unpack(const void *bytes, size_t n, uint64_t token, cf_beat *b);

#endif
