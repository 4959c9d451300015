/* Lanes: how the workers of a job share out the points of a sweep.
 *
 * The workers are cut into lanes of as even a size as can be; each lane trains whole points, one
 * after the other, as the grid (grid.h) of a job of its own. A lane that is through takes the next
 * point, longest first. The number of lanes is what minimises the predicted end: many lanes when
 * there are many points, for they need not talk; one lane of all workers when there is one point
 * left. Which lane has which point changes no result. Threads: any. Read first: cf_lanes_plan. */
#ifndef CF_COORDINATOR_LANES_H
#define CF_COORDINATOR_LANES_H

#include "coordinator/grid.h"

typedef struct cf_lanes {
    int n_workers, n_points, n_lanes;
    int32_t *order;       /* owned, [n_points]: points as they are taken, longest first */
    int32_t *lane_of;     /* owned, [n_points]: of each point, as predicted */
    double *begin, *end;  /* owned, [n_points]: of each point, predicted seconds */
    double seconds;       /* until the last lane is through */
    double ideal_seconds; /* all work spread evenly without communication */
} cf_lanes;

/* costs: [n_points], n_points at least 1; groups: of each lane, 0 for the best of each point;
 * n_lanes: 0 for the best. CF_E_USAGE as cf_grid_plan, and for more lanes than points or workers.
 * Release with fini in any case. */
CF_CHECKED cf_err cf_lanes_plan(const cf_grid_cost *costs, int n_points, int n_workers, int groups,
                                int n_lanes, cf_lanes *lanes);
void cf_lanes_fini(cf_lanes *lanes);
/* The workers of a lane: the first and how many. The larger lanes come first. */
void cf_lanes_workers(int n_workers, int n_lanes, int lane, int *first, int *n);

#endif
