#include "launch/sweep_train.h"

#include <stdlib.h>

#include "coordinator/lanes.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/idle.h"
#include "launch/signals.h"
#include "launch/sweep_lanes.h"
#include "worker/group.h"
#include "worker/stage.h"
#include "worker/worker.h"

/* Rank 0 looks at all points before it says anything. */
#define FIRST_WORD_NS (600LL * 1000000000)
/* After an error rank 0 has the words and ends the job, when the other lanes have saved. */
#define ABORT_GRACE_NS (150LL * 1000000000)

typedef struct lane {
    int first, n;     /* workers */
    MPI_Comm control; /* owned: rank 0 and the lane's workers */
} lane;

typedef struct sweep_train {
    const cf_sweep_train_job *job;
    int n_lanes, n_workers;
    lane *lanes; /* owned, [n_lanes]; elsewhere than on rank 0 only its own has a communicator */
    cf_sweep_lanes *whole; /* owned: rank 0's */
    bool started;          /* its threads were, which use it until they are joined */
} sweep_train;

/* World rank of a worker. */
static int rank_of_worker(const sweep_train *s, int worker)
{
    return worker + (s->job->beside ? 0 : 1);
}

/* Whether rank 0 is a worker of this lane, and the first of its communicator in both roles. */
static bool has_rank_0(const sweep_train *s, const lane *l)
{
    return s->job->beside && l->first == 0;
}

/* From ranks of the lane's communicator to those of the job. */
static int rank_offset(const sweep_train *s, const lane *l)
{
    return rank_of_worker(s, l->first) - (has_rank_0(s, l) ? 0 : 1);
}

/* Collective over the job: rank 0's word. Waits without spinning, since it may take minutes; at
 * most limit_ns, where that is not 0. */
static cf_err share(const sweep_train *s, int64_t limit_ns, int *word)
{
    MPI_Request request;
    cf_idle idle = {0};
    int done = 0;
    int64_t start_ns = cf_clock_ns();
    CF_TRY(
        cf_mpi_check(MPI_Ibcast(word, 1, MPI_INT, 0, s->job->job->data, &request), "MPI_Ibcast"));
    for (;;) {
        CF_TRY(cf_mpi_check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (done) return CF_OK;
        if (limit_ns > 0 && cf_clock_ns() - start_ns > limit_ns)
            return cf_fail(CF_E_HANG, "no word from rank 0 for %lld s",
                           (long long)(limit_ns / 1000000000));
        cf_idle_patiently(&idle, 10000000);
    }
}

/* Collective over rank 0 and the lane's workers. */
static cf_err make_control(const sweep_train *s, lane *l, int number)
{
    const cf_job *job = s->job->job;
    MPI_Group all = MPI_GROUP_NULL, mine = MPI_GROUP_NULL;
    int *ranks = NULL, n = 0;
    CF_TRY(cf_new(&ranks, (size_t)l->n + 1, sizeof *ranks));
    if (!has_rank_0(s, l)) ranks[n++] = 0;
    for (int i = 0; i < l->n; i++) ranks[n++] = rank_of_worker(s, l->first + i);
    MPI_Comm_group(job->control, &all);
    cf_err err = cf_mpi_check(MPI_Group_incl(all, n, ranks, &mine), "MPI_Group_incl");
    if (err == CF_OK)
        err = cf_mpi_check(MPI_Comm_create_group(job->control, mine, number, &l->control),
                           "MPI_Comm_create_group");
    if (mine != MPI_GROUP_NULL) MPI_Group_free(&mine);
    MPI_Group_free(&all);
    free(ranks);
    return err;
}

/* The lane that this rank works in; NULL for a rank that only coordinates. */
static lane *find_own(const sweep_train *s)
{
    int me = s->job->job->rank - (s->job->beside ? 0 : 1);
    for (int i = 0; i < s->n_lanes; i++)
        if (me >= s->lanes[i].first && me < s->lanes[i].first + s->lanes[i].n) return &s->lanes[i];
    return NULL;
}

/* Collective over the job. */
static cf_err make_lanes(sweep_train *s)
{
    CF_TRY(cf_new(&s->lanes, (size_t)s->n_lanes, sizeof *s->lanes));
    for (int i = 0; i < s->n_lanes; i++) {
        lane *l = &s->lanes[i];
        *l = (lane){.control = MPI_COMM_NULL};
        cf_lanes_workers(s->n_workers, s->n_lanes, i, &l->first, &l->n);
    }
    const lane *own = find_own(s);
    for (int i = 0; i < s->n_lanes; i++)
        if (s->job->job->rank == 0 || own == &s->lanes[i]) CF_TRY(make_control(s, &s->lanes[i], i));
    return CF_OK;
}

/* Devices and cores are shared with the other lanes' workers of this host. */
static cf_err find_host_mates(const sweep_train *s, cf_worker_job *w)
{
    MPI_Comm local = MPI_COMM_NULL;
    CF_TRY(cf_mpi_check(
        MPI_Comm_split_type(s->job->workers, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
        "MPI_Comm_split_type"));
    MPI_Comm_size(local, &w->local_workers);
    MPI_Comm_rank(local, &w->local_index);
    return cf_mpi_check(MPI_Comm_free(&local), "MPI_Comm_free");
}

/* Collective over the workers: lanes that share a card know of each other by number alone. */
static cf_err count_strangers(const sweep_train *s, const lane *own, cf_worker_job *w)
{
    int me = 0;
    cf_seat *seats = NULL;
    CF_TRY(cf_new(&seats, (size_t)s->n_workers, sizeof *seats));
    MPI_Comm_rank(s->job->workers, &me);
    /* A device that is not there is cf_engine_open's news: only its lane's coordinator can name it.
     */
    if (cf_seat_find(s->job->device, w->local_index, s->job->job->rank, &seats[me]) != CF_OK)
        seats[me] = (cf_seat){0};
    cf_err err = cf_mpi_check(MPI_Allgather(MPI_IN_PLACE, 0, MPI_BYTE, seats, (int)sizeof *seats,
                                            MPI_BYTE, s->job->workers),
                              "MPI_Allgather");
    if (err == CF_OK)
        w->strangers = cf_seat_sharers(seats, s->n_workers, me) -
                       cf_seat_sharers(seats + own->first, own->n, me - own->first);
    free(seats);
    return err;
}

/* Point after point. Only OK and REQUEUE return. */
static cf_err work(const sweep_train *s, const lane *own)
{
    cf_stage_seen seen = {0};
    cf_worker_job w = {.control = own->control,
                       .coordinator_rank = 0,
                       .signal_caught = cf_signals_caught,
                       .rank_offset = rank_offset(s, own),
                       .seen = &seen,
                       .lane = true};
    bool more = true;
    CF_TRY(find_host_mates(s, &w));
    CF_TRY(count_strangers(s, own, &w));
    CF_TRY(cf_mpi_check(MPI_Comm_split(s->job->workers, own->first, s->job->job->rank, &w.workers),
                        "MPI_Comm_split"));
    cf_err err = CF_OK;
    while (err == CF_OK && more) err = cf_worker_run(&w, &more);
    if (err != CF_OK && err != CF_E_REQUEUE) {
        cf_sleep_ns(ABORT_GRACE_NS); /* the coordinator has the message and ends the job */
        cf_sweep_die(s->job->job->size, err, cf_err_text());
    }
    cf_log_about("");
    MPI_Comm_free(&w.workers);
    return err;
}

static cf_err start_lanes(sweep_train *s)
{
    cf_sweep_place *places = NULL;
    CF_TRY(cf_new(&places, (size_t)s->n_lanes, sizeof *places));
    for (int i = 0; i < s->n_lanes; i++) {
        const lane *l = &s->lanes[i];
        places[i] = (cf_sweep_place){.control = l->control,
                                     .first_worker = has_rank_0(s, l) ? 0 : 1,
                                     .n_workers = l->n,
                                     .rank_offset = rank_offset(s, l)};
    }
    cf_err err = cf_sweep_lanes_start(s->whole, places);
    free(places);
    return err;
}

static cf_err run(sweep_train *s)
{
    const cf_job *job = s->job->job;
    bool first = job->rank == 0;
    int code = 0;
    s->n_workers = job->size - (s->job->beside ? 0 : 1);
    if (first)
        CF_TRY(
            cf_sweep_lanes_open(s->job->wishes, s->n_workers, job->size, &s->whole, &s->n_lanes));
    CF_TRY(share(s, FIRST_WORD_NS, &s->n_lanes));
    CF_TRY(make_lanes(s));
    s->started = first && s->n_lanes > 0;
    if (first) CF_TRY(start_lanes(s));
    const lane *own = find_own(s);
    cf_err err = CF_OK;
    if (own != NULL) err = work(s, own);
    if (err != CF_OK && err != CF_E_REQUEUE) return err;
    if (first) {
        err = cf_sweep_lanes_finish(s->whole);
        if (err != CF_OK && err != CF_E_REQUEUE) return err;
        code = (int)err;
    }
    CF_TRY(share(s, 0, &code)); /* lanes end together; without any rank 0 writes the report */
    return code == CF_OK ? CF_OK : cf_fail((cf_err)code, "stopped");
}

cf_err cf_sweep_train(const cf_sweep_train_job *job)
{
    sweep_train s = {.job = job};
    cf_err err = run(&s);
    bool orderly = err == CF_OK || err == CF_E_REQUEUE;
    /* Coordinators that still run need all that is there. */
    if (!orderly && s.started) cf_sweep_die(job->job->size, err, cf_err_text());
    for (int i = 0; i < s.n_lanes && s.lanes != NULL && orderly; i++)
        if (s.lanes[i].control != MPI_COMM_NULL) MPI_Comm_free(&s.lanes[i].control);
    free(s.lanes);
    cf_sweep_lanes_destroy(s.whole);
    if (!orderly) cf_sweep_die(job->job->size, err, cf_err_text());
    return err;
}
