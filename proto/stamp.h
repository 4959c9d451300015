/* A stamp: one thread writes what it is doing, another looks whether it still moves.
 *
 * Two stores for the writer, no clock, no lock: it may stand on the step path. The reader compares
 * two looks. Threads: one writer, any readers. Read first: cf_stamp_set. */
#ifndef CF_PROTO_STAMP_H
#define CF_PROTO_STAMP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/beat.h"

typedef struct cf_stamp {
    _Atomic uint64_t word;  /* doing, fold + 1 and step in one, so that no look sees a mixture */
    _Atomic uint64_t moves; /* counts every set, also one that changes nothing */
} cf_stamp;

enum { CF_STAMP_STEP_BITS = 48 };

/* fold: -1 for none, below CF_BEAT_MAX_FOLDS; step: below 2^48. */
static inline void cf_stamp_set(cf_stamp *s, cf_doing doing, int fold, int64_t step)
{
    uint64_t word = (uint64_t)doing << 56 | (uint64_t)(fold + 1) << CF_STAMP_STEP_BITS |
                    ((uint64_t)step & (((uint64_t)1 << CF_STAMP_STEP_BITS) - 1));
    uint64_t moves = atomic_load_explicit(&s->moves, memory_order_relaxed);
    atomic_store_explicit(&s->word, word, memory_order_relaxed);
    atomic_store_explicit(&s->moves, moves + 1, memory_order_release);
}

/* What a reader remembers of a stamp. */
typedef struct cf_stamp_look {
    uint64_t moves;
    int64_t moved_ns; /* the reader's clock at the first look after the last move */
    cf_doing doing;
    int fold;
    int64_t step;
} cf_stamp_look;

/* True when the stamp was set since the last look. */
static inline bool cf_stamp_see(cf_stamp *s, int64_t now_ns, cf_stamp_look *look)
{
    uint64_t moves = atomic_load_explicit(&s->moves, memory_order_acquire);
    if (moves == look->moves) return false;
    uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);
    look->moves = moves;
    look->moved_ns = now_ns;
    look->doing = (cf_doing)(word >> 56);
    look->fold = (int)(word >> CF_STAMP_STEP_BITS & 0xff) - 1;
    look->step = (int64_t)(word & (((uint64_t)1 << CF_STAMP_STEP_BITS) - 1));
    return true;
}

/* Time that this process was awake. A job that is stopped and goes on again (a suspended Slurm job,
 * a sleeping machine) has not hung meanwhile: between two readings no more than `longest` counts.
 */
typedef struct cf_awake {
    int64_t last_ns, awake_ns;
} cf_awake;

static inline int64_t cf_awake_now(cf_awake *a, int64_t clock_ns, int64_t longest_ns)
{
    int64_t gap = a->last_ns == 0 ? 0 : clock_ns - a->last_ns;
    a->last_ns = clock_ns;
    a->awake_ns += gap < longest_ns ? gap : longest_ns;
    return a->awake_ns;
}

#endif
