#include "launch/sweep_queue.h"

#include <stdlib.h>

#include "coordinator/lanes.h"
#include "coordinator/sweep_folder.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

/* Longest first; behind them what has failed before, which must not keep the others from their
 * turn.
 */
static cf_err order(cf_sweep_queue *q, const int32_t *points, const cf_lanes *lanes)
{
    int n = 0;
    for (int failed = 0; failed < 2; failed++)
        for (int i = 0; i < q->n_todo; i++) {
            cf_buf text = {0};
            int point = points[lanes->order[i]];
            cf_err err = cf_sweep_folder_error(q->sweep.dir, point, &text);
            if ((text.len > 0) == (failed == 1)) q->todo[n++] = point;
            cf_buf_fini(&text);
            CF_TRY(err);
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

cf_err cf_sweep_queue_open(const cf_train_wishes *wishes, int n_workers, cf_sweep_queue *q)
{
    cf_run_lock_times times = cf_run_lock_times_default();
    CF_TRY(cf_train_sweep_prepare(wishes, &q->sweep));
    CF_TRY(cf_run_lock_take(q->sweep.dir, -1, &times, &q->lock));
    CF_TRY(cf_train_sweep_look(&q->sweep));
    CF_TRY(plan(q, n_workers));
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
