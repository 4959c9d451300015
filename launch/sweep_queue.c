#include "launch/sweep_queue.h"

#include <stdlib.h>

#include "coordinator/lanes.h"
#include "coordinator/space.h"
#include "coordinator/sweep_folder.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

/* What may go wrong again must not keep the others from their turn: points whose last job hung or
 * was killed come behind the rest, and those that failed behind them. */
enum { FRESH, BROKEN_OFF, FAILED, N_TURNS };

static cf_err find_turn(const cf_sweep_queue *q, int point, int *turn)
{
    cf_buf text = {0};
    bool broken_off = false;
    cf_err err = cf_sweep_folder_error(q->sweep.dir, point, &text);
    if (err == CF_OK) err = cf_sweep_folder_broken_off(q->sweep.jobs[point].run_dir, &broken_off);
    *turn = text.len > 0 ? FAILED : broken_off ? BROKEN_OFF : FRESH;
    cf_buf_fini(&text);
    return err;
}

/* Longest first of each turn. */
static cf_err order(cf_sweep_queue *q, const int32_t *points, const cf_lanes *lanes)
{
    int n = 0;
    for (int turn = 0; turn < N_TURNS; turn++)
        for (int i = 0; i < q->n_todo; i++) {
            int point = points[lanes->order[i]], its = FRESH;
            CF_TRY(find_turn(q, point, &its));
            if (its == turn) q->todo[n++] = point;
        }
    return CF_OK;
}

/* Points that are to be trained, and how many lanes are best for them. */
static cf_err plan(cf_sweep_queue *q, int n_workers)
{
    const cf_train_sweep *sweep = &q->sweep;
    cf_grid_cost *costs = NULL;
    int32_t *points = NULL;
    cf_lanes lanes = {0};
    cf_err err = CF_OK;
    size_t n = (size_t)sweep->sweep.n_points;
    int groups = (int)sweep->jobs[0].config.run_groups;
    CF_TRY(cf_new(&q->todo, n, sizeof *q->todo));
    CF_TRY(cf_new(&costs, n, sizeof *costs));
    CF_TRY_GOTO(cf_new(&points, n, sizeof *points), out);
    for (int p = 0; p < sweep->sweep.n_points; p++) {
        if (sweep->done[p]) continue;
        costs[q->n_todo] = sweep->jobs[p].cost;
        points[q->n_todo++] = p;
    }
    if (q->n_todo == 0) goto out;
    CF_TRY_GOTO(cf_lanes_plan(costs, q->n_todo, n_workers, groups, 0, &lanes), out);
    CF_TRY_GOTO(order(q, points, &lanes), out);
    q->n_lanes = lanes.n_lanes;
out:
    cf_lanes_fini(&lanes);
    free(points);
    free(costs);
    return err;
}

/* All points together: each lane's own check (coordinator.c) does not know of the others. The
 * sweep's own report is little beside what is reckoned for theirs. */
static cf_err check_space(const cf_sweep_queue *q)
{
    const cf_train_sweep *s = &q->sweep;
    if (q->n_todo == 0) return CF_OK;
    return cf_space_expect(s->dir, s->bytes_left + q->n_lanes * s->bytes_under_way);
}

cf_err cf_sweep_queue_open(const cf_train_wishes *wishes, int n_workers, cf_sweep_queue *q)
{
    cf_run_lock_times times = cf_run_lock_times_default();
    CF_TRY(cf_train_sweep_prepare(wishes, &q->sweep));
    CF_TRY(cf_run_lock_take(q->sweep.dir, -1, &times, &q->lock));
    CF_TRY(cf_train_sweep_look(&q->sweep));
    CF_TRY(plan(q, n_workers));
    CF_TRY(check_space(q));
    cf_log_info("sweep of %d points, %d done; %d worker%s in %d lane%s; folder %s",
                q->sweep.sweep.n_points, q->sweep.n_done, n_workers, n_workers == 1 ? "" : "s",
                q->n_lanes, q->n_lanes == 1 ? "" : "s", q->sweep.dir);
    return CF_OK;
}

cf_err cf_sweep_queue_take(cf_sweep_queue *q, int *point)
{
    *point = -1;
    CF_TRY(cf_run_lock_check(q->lock));
    if (q->n_taken < q->n_todo) *point = q->todo[q->n_taken++];
    return CF_OK;
}

void cf_sweep_queue_close(cf_sweep_queue *q)
{
    cf_run_lock_release(q->lock);
    cf_train_sweep_fini(&q->sweep);
    free(q->todo);
    *q = (cf_sweep_queue){0};
}
