#include "launch/plan_sweep.h"

#include <inttypes.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "launch/estimate.h"
#include "worker/memory.h"

cf_err cf_plan_sweep_deal(cf_plan_sweep *p, int n_workers, int groups)
{
    cf_grid_cost *costs = NULL;
    int n = p->sweep.n_points;
    CF_TRY(cf_new(&costs, (size_t)n, sizeof *costs));
    for (int i = 0; i < n; i++) costs[i] = p->points[i].cost;
    cf_err err = cf_lanes_plan(costs, n, n_workers, groups, 0, &p->lanes);
    free(costs);
    return err;
}

static int workers_of(const cf_lanes *l, int lane, int *first)
{
    int n = 0;
    cf_lanes_workers(l->n_workers, l->n_lanes, lane, first, &n);
    return n;
}

cf_err cf_plan_sweep_most_folds(const cf_plan_sweep *p, int point, int groups, int *most)
{
    int folds_of[CF_GRID_MAX_FOLDS] = {0}, first = 0;
    cf_grid grid;
    *most = 0;
    int n = workers_of(&p->lanes, p->lanes.lane_of[point], &first);
    CF_TRY(cf_grid_plan(&p->points[point].cost, n, groups, &grid));
    for (int fold = 0; fold < grid.n_folds; fold++) {
        int held = ++folds_of[grid.group_of_fold[fold]];
        *most = held > *most ? held : *most;
    }
    cf_grid_fini(&grid);
    return CF_OK;
}

/* The point of this lane that begins next after `point` (-1: the first); -1: none. */
static int next_of(const cf_lanes *l, int lane, int point)
{
    bool passed = point < 0;
    for (int i = 0; i < l->n_points; i++) { /* in the order of taking */
        int other = l->order[i];
        if (l->lane_of[other] != lane) continue;
        if (passed) return other;
        passed = other == point;
    }
    return -1;
}

static void write_lane(const cf_plan_sweep *p, int lane, cf_buf *out)
{
    int first = 0, n = workers_of(&p->lanes, lane, &first);
    cf_buf_printf(out, n == 1 ? "lane %-7d worker %d" : "lane %-7d workers %d", lane, first);
    if (n > 1) cf_buf_printf(out, "-%d", first + n - 1);
    const char *comma = ": ";
    for (int point = next_of(&p->lanes, lane, -1); point >= 0;
         point = next_of(&p->lanes, lane, point)) {
        char name[32];
        cf_sweep_name(point, name);
        cf_buf_printf(out, "%s%s", comma, name);
        comma = ", ";
    }
    cf_buf_printf(out, "\n");
}

static void write_point(const cf_plan_sweep *p, int point, cf_buf *out)
{
    const cf_plan_point *one = &p->points[point];
    char name[32];
    cf_sweep_name(point, name);
    cf_buf_printf(out, "%-12s ", name);
    cf_sweep_describe(&p->sweep, point, out);
    cf_buf_printf(out, ": ");
    cf_print_seconds(out, p->lanes.end[point] - p->lanes.begin[point]);
    cf_buf_printf(out, ", %" PRId64 " steps a fold, %" PRId64 " parameters\n",
                  one->cost.steps_per_fold, one->n_weights);
}

void cf_plan_sweep_write(const cf_plan_sweep *p, cf_buf *out)
{
    const cf_lanes *l = &p->lanes;
    int64_t memory = 0;
    cf_buf_printf(out, "plan of %s for %d worker%s: %d points in %d lane%s\n\n", p->config_path,
                  l->n_workers, l->n_workers == 1 ? "" : "s", l->n_points, l->n_lanes,
                  l->n_lanes == 1 ? "" : "s");
    for (int lane = 0; lane < l->n_lanes; lane++) write_lane(p, lane, out);
    for (int point = 0; point < l->n_points; point++) {
        write_point(p, point, out);
        if (p->points[point].memory_bytes > memory) memory = p->points[point].memory_bytes;
    }
    cf_buf_printf(out, "images       %" PRId64 ", by %s\n", p->n_images, p->images_source);
    cf_buf_printf(out, "training     ");
    cf_print_seconds(out, l->seconds);
    cf_buf_printf(out, " (");
    cf_print_seconds(out, l->ideal_seconds);
    cf_buf_printf(out, " without waiting and talking: %.0f %%), %.4g worker-hours; times %s\n",
                  100 * l->ideal_seconds / l->seconds, l->seconds * l->n_workers / 3600,
                  p->micro_source);
    cf_buf_printf(out, "memory       ");
    cf_print_bytes(out, (double)memory);
    cf_buf_printf(out, " of a worker at the point that needs most, on the host's cores; libraries "
                       "and the mapped\n             cells file apart\n");
}

void cf_plan_sweep_write_json(const cf_plan_sweep *p, cf_buf *out)
{
    const cf_lanes *l = &p->lanes;
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "config", p->config_path);
    cf_json_integer(&j, "workers", l->n_workers);
    cf_json_array(&j, "points");
    for (int point = 0; point < l->n_points; point++) {
        char name[32];
        cf_sweep_name(point, name);
        cf_json_object(&j, NULL);
        cf_json_string(&j, "point", name);
        cf_json_object(&j, "values");
        for (int i = 0; i < p->sweep.n_axes; i++)
            cf_json_string(&j, p->sweep.axes[i].path, cf_sweep_value(&p->sweep, point, i));
        cf_json_end_object(&j);
        cf_json_integer(&j, "lane", l->lane_of[point]);
        cf_json_number(&j, "begin_s", l->begin[point]);
        cf_json_number(&j, "end_s", l->end[point]);
        cf_json_integer(&j, "parameters", p->points[point].n_weights);
        cf_json_integer(&j, "steps_per_fold", p->points[point].cost.steps_per_fold);
        cf_json_integer(&j, "memory_bytes", p->points[point].memory_bytes);
        cf_json_end_object(&j);
    }
    cf_json_end_array(&j);
    cf_json_array(&j, "lanes");
    for (int lane = 0; lane < l->n_lanes; lane++) {
        int first = 0, n = workers_of(l, lane, &first);
        cf_json_array(&j, NULL);
        for (int i = 0; i < n; i++) cf_json_integer(&j, NULL, first + i);
        cf_json_end_array(&j);
    }
    cf_json_end_array(&j);
    cf_json_number(&j, "seconds", l->seconds);
    cf_json_number(&j, "ideal_seconds", l->ideal_seconds);
    cf_json_number(&j, "worker_hours", l->seconds * l->n_workers / 3600);
    cf_json_integer(&j, "images", p->n_images);
    cf_json_string(&j, "images_source", p->images_source);
    cf_json_string(&j, "micro_seconds_source", p->micro_source);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}

void cf_plan_sweep_fini(cf_plan_sweep *p)
{
    free(p->points);
    cf_lanes_fini(&p->lanes);
    cf_sweep_fini(&p->sweep);
    *p = (cf_plan_sweep){0};
}
