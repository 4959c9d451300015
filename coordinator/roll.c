#include "coordinator/roll.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

/* Without heartbeats little is known: twice the time, and in set-up, which sends no messages, what
 * set-up may take. */
enum { MUTED_FACTOR = 2, SHOWN_MAX = 8 };

cf_err cf_roll_init(cf_roll *r, int n_workers, int first_worker, const int32_t *groups,
                    int64_t timeout_ns)
{
    *r = (cf_roll){.n_workers = n_workers, .timeout_ns = timeout_ns};
    r->beat_ns = cf_beat_interval_ns(timeout_ns);
    CF_TRY(cf_new(&r->rows, (size_t)n_workers + 1, sizeof *r->rows));
    for (int i = 0; i < n_workers; i++) {
        r->rows[i].rank = first_worker + i;
        r->rows[i].group = groups[i];
        r->rows[i].fold = -1;
    }
    r->rows[n_workers].group = r->rows[n_workers].fold = -1;
    return CF_OK;
}

void cf_roll_fini(cf_roll *r)
{
    free(r->rows);
    memset(r, 0, sizeof *r);
}

void cf_roll_meet(cf_roll *r, int row, const char *host, int64_t pid, int64_t now_ns)
{
    cf_roll_row *w = &r->rows[row];
    size_t n = strnlen(host, sizeof w->host - 1);
    memcpy(w->host, host, n);
    w->host[n] = '\0';
    w->pid = pid;
    w->met = true;
    w->met_ns = w->heard_ns = now_ns;
}

void cf_roll_beat(cf_roll *r, const cf_beat *b, int64_t now_ns)
{
    if (b->worker >= r->n_workers) return;
    cf_roll_row *w = &r->rows[b->worker];
    w->beats = true;
    w->heard_ns = now_ns;
    w->doing = b->doing;
    w->fold = b->fold;
    w->step = b->step;
    w->still_ns = b->still_ns;
}

void cf_roll_message(cf_roll *r, int row, cf_doing doing, int fold, int64_t step, int64_t now_ns)
{
    cf_roll_row *w = &r->rows[row];
    w->spoke = true;
    w->heard_ns = now_ns;
    w->doing = doing;
    w->fold = fold;
    w->step = step;
    w->still_ns = 0;
}

void cf_roll_own(cf_roll *r, cf_doing doing, int fold, int64_t still_ns, int64_t now_ns)
{
    cf_roll_row *w = &r->rows[r->n_workers];
    w->heard_ns = now_ns;
    w->doing = doing;
    w->fold = fold;
    w->still_ns = still_ns;
}

int cf_roll_muted(const cf_roll *r, int64_t now_ns)
{
    for (int i = 0; i < r->n_workers; i++) {
        const cf_roll_row *w = &r->rows[i];
        if (w->met && w->spoke && !w->beats && now_ns - w->met_ns > 2 * CF_BEATS_LATE * r->beat_ns)
            return i;
    }
    return -1;
}

/* ---- rules ------------------------------------------------------------------------------------
 */

static bool is_coordinator(const cf_roll *r, int row)
{
    return row == r->n_workers;
}

/* Heartbeats of another rank of the same host arrive: so would this one's. */
static bool host_is_heard(const cf_roll *r, const cf_roll_row *w)
{
    for (int i = 0; i < r->n_workers; i++)
        if (r->rows[i].beats && strcmp(r->rows[i].host, w->host) == 0) return true;
    return false;
}

/* How long a rank may be silent; 0: for ever. */
static int64_t silence_limit(const cf_roll *r, const cf_roll_row *w)
{
    if (w->beats) return r->timeout_ns;
    if (w->spoke && w->doing == CF_DOING_AWAIT_BYE) return 0; /* it has nothing more to say */
    if (w->spoke) return MUTED_FACTOR * r->timeout_ns;
    if (host_is_heard(r, w)) return r->timeout_ns;
    return MUTED_FACTOR * cf_doing_find(CF_DOING_SET_UP)->allowance * r->timeout_ns;
}

static cf_verdict find_silent(const cf_roll *r, int64_t now_ns)
{
    cf_verdict v = {CF_BLAME_NOBODY, -1, 0};
    for (int i = 0; i < r->n_workers; i++) {
        const cf_roll_row *w = &r->rows[i];
        int64_t silent_ns = now_ns - w->heard_ns, limit_ns = silence_limit(r, w);
        if (!w->met || limit_ns == 0 || silent_ns <= limit_ns || silent_ns <= v.for_ns) continue;
        v = (cf_verdict){CF_BLAME_SILENT, i, silent_ns};
    }
    return v;
}

/* What a rank said of itself when last heard counts: one that was stopped since is silent, not
 * stuck. */
static cf_verdict find_stuck(const cf_roll *r)
{
    cf_verdict v = {CF_BLAME_NOBODY, -1, 0};
    for (int i = 0; i <= r->n_workers; i++) {
        const cf_roll_row *w = &r->rows[i];
        const cf_doing_row *d = cf_doing_find(w->doing);
        if (!w->met || (!w->beats && !is_coordinator(r, i)) || d->waits != CF_WAITS_NOT) continue;
        if (w->still_ns <= d->allowance * r->timeout_ns || w->still_ns <= v.for_ns) continue;
        v = (cf_verdict){CF_BLAME_STUCK, i, w->still_ns};
    }
    return v;
}

/* Among the ranks that `row` waits for, itself included. */
static bool is_awaited(const cf_roll *r, int row, int other)
{
    if (is_coordinator(r, other) || !r->rows[other].met) return false;
    return cf_doing_find(r->rows[row].doing)->waits == CF_WAITS_ALL ||
           r->rows[row].group == r->rows[other].group;
}

/* It works, or moved lately, or is about to be found silent, or says too little to tell. */
static bool excuses_others(const cf_roll *r, const cf_roll_row *w, int64_t now_ns)
{
    return !w->beats || cf_doing_find(w->doing)->waits == CF_WAITS_NOT ||
           w->still_ns <= r->timeout_ns || now_ns - w->heard_ns > CF_BEATS_LATE * r->beat_ns;
}

static bool is_excused(const cf_roll *r, int row, int64_t now_ns)
{
    for (int i = 0; i < r->n_workers; i++)
        if (i != row && is_awaited(r, row, i) && excuses_others(r, &r->rows[i], now_ns))
            return true;
    return false;
}

static bool waits_for_itself(const cf_roll *r, int row)
{
    for (int i = 0; i < r->n_workers; i++)
        if (i != row && is_awaited(r, row, i)) return false;
    return true;
}

/* One that has nobody to wait for is stuck in its own sums (a device that does not answer). */
static cf_verdict find_deadlock(const cf_roll *r, int64_t now_ns)
{
    cf_verdict v = {CF_BLAME_NOBODY, -1, 0};
    for (int i = 0; i <= r->n_workers; i++) {
        const cf_roll_row *w = &r->rows[i];
        cf_waits waits = cf_doing_find(w->doing)->waits;
        if (!w->met || (!w->beats && !is_coordinator(r, i)) || waits == CF_WAITS_NOT ||
            waits == CF_WAITS_LAST || w->still_ns <= r->timeout_ns || w->still_ns <= v.for_ns)
            continue;
        if (is_excused(r, i, now_ns)) continue;
        v = (cf_verdict){waits_for_itself(r, i) ? CF_BLAME_STUCK : CF_BLAME_ALL, i, w->still_ns};
    }
    return v;
}

cf_verdict cf_roll_judge(const cf_roll *r, int64_t now_ns)
{
    cf_verdict v = find_silent(r, now_ns);
    if (v.blame == CF_BLAME_NOBODY) v = find_stuck(r);
    if (v.blame == CF_BLAME_NOBODY) v = find_deadlock(r, now_ns);
    return v;
}

/* ---- words ------------------------------------------------------------------------------------
 */

static double seconds(int64_t ns)
{
    return (double)ns * 1e-9;
}

static void put_name(const cf_roll *r, int row, cf_buf *out)
{
    const cf_roll_row *w = &r->rows[row];
    if (is_coordinator(r, row)) cf_buf_printf(out, "the coordinator, ");
    cf_buf_printf(out, "rank %d on host %s (process %lld)", w->rank, w->host, (long long)w->pid);
}

static void put_place(const cf_roll_row *w, cf_buf *out)
{
    cf_buf_printf(out, "%s", cf_doing_find(w->doing)->words);
    if (w->fold >= 0) cf_buf_printf(out, " at fold %d, step %lld", w->fold, (long long)w->step);
}

/* ALL: the ranks that wait for each other, by name as far as a line has room. */
static void put_waiting(const cf_roll *r, int row, cf_buf *out)
{
    int n = 0;
    for (int i = 0; i < r->n_workers; i++) {
        if (!is_awaited(r, row, i) || n++ >= SHOWN_MAX) continue;
        cf_buf_printf(out, n > 1 ? "; " : "");
        put_name(r, i, out);
        cf_buf_printf(out, " is ");
        put_place(&r->rows[i], out);
    }
    if (n > SHOWN_MAX) cf_buf_printf(out, "; and %d more", n - SHOWN_MAX);
}

/* How many of the others do what. */
static void put_others(const cf_roll *r, int row, cf_buf *out)
{
    int n_doing[CF_DOING_N] = {0}, n = 0;
    for (int i = 0; i < r->n_workers; i++)
        if (i != row && r->rows[i].met) n_doing[r->rows[i].doing]++;
    for (int d = 0; d < CF_DOING_N; d++) {
        if (n_doing[d] == 0) continue;
        cf_buf_printf(out, "%s%d %s %s", n++ == 0 ? "; of the others " : ", ", n_doing[d],
                      n_doing[d] == 1 ? "is" : "are", cf_doing_find((cf_doing)d)->words);
    }
}

void cf_roll_describe(const cf_roll *r, const cf_verdict *v, int64_t now_ns, cf_buf *out)
{
    const cf_roll_row *w = &r->rows[v->row];
    if (v->blame == CF_BLAME_ALL) {
        cf_buf_printf(out, "ranks have waited for each other for %.0f s: ", seconds(v->for_ns));
        put_waiting(r, v->row, out);
        return;
    }
    put_name(r, v->row, out);
    if (v->blame == CF_BLAME_STUCK) {
        cf_buf_printf(out, " is stuck: for %.0f s without a move it is ", seconds(v->for_ns));
        put_place(w, out);
        if (!is_coordinator(r, v->row))
            cf_buf_printf(out, ", last heard %.0f s ago", seconds(now_ns - w->heard_ns));
    } else if (!w->beats && !w->spoke) {
        cf_buf_printf(out, " stopped answering: never heard in the %.0f s since it reported",
                      seconds(v->for_ns));
    } else {
        cf_buf_printf(out, " stopped answering: last heard %.0f s ago, ", seconds(v->for_ns));
        put_place(w, out);
    }
    put_others(r, v->row, out);
}
