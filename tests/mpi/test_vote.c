/* Votes on 1, 2 and 3 ranks (ctest runs this under mpirun). Every verdict is agreed on by all ranks
 * before it is asserted, so that no rank leaves a test alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/base/log.h"
#include "kernels/comm/job.h"
#include "kernels/comm/vote.h"

static void assert_on_all(const cf_job *job, bool mine)
{
    int ok = mine, all = 0;
    MPI_Allreduce(&ok, &all, 1, MPI_INT, MPI_MIN, job->data);
    if (!mine) print_error("rank %d: %s\n", job->rank, cf_err_text());
    assert_int_equal(all, 1);
}

static cf_vote *vote_of(const cf_job *job)
{
    cf_vote *v = NULL;
    assert_on_all(job, cf_vote_create(job->data, 0, job->rank, &v) == CF_OK && v != NULL);
    return v;
}

static void every_rank_learns_the_highest_of_each_value(void **state)
{
    const cf_job *job = *state;
    cf_vote *v = vote_of(job);
    int64_t last = job->size - 1, got[CF_VOTE_VALUES];
    const int64_t mine[CF_VOTE_VALUES] = {job->rank, -job->rank, job->rank == last, INT64_MIN};
    bool ok = cf_vote_start(v, 0, mine) == CF_OK && cf_vote_finish(v, 0, got) == CF_OK;
    assert_on_all(job, ok && got[0] == last && got[1] == 0 && got[2] == 1 && got[3] == INT64_MIN);
    cf_vote_destroy(v);
}

/* Two steps are under way in a worker: the second vote starts before the first is finished. */
static void votes_under_way_do_not_mix(void **state)
{
    const cf_job *job = *state;
    cf_vote *v = vote_of(job);
    bool ok = true;
    const int64_t first[CF_VOTE_VALUES] = {1000 + job->rank};
    ok = cf_vote_start(v, 0, first) == CF_OK;
    for (int step = 1; step < 200; step++) {
        const int64_t mine[CF_VOTE_VALUES] = {1000 * (step + 1) + job->rank};
        int64_t got[CF_VOTE_VALUES];
        ok = ok && cf_vote_start(v, step % 2, mine) == CF_OK;
        ok = ok && cf_vote_finish(v, (step - 1) % 2, got) == CF_OK;
        ok = ok && got[0] == 1000 * step + job->size - 1;
    }
    int64_t got[CF_VOTE_VALUES];
    ok = ok && cf_vote_finish(v, 1, got) == CF_OK && got[0] == 200000 + job->size - 1;
    assert_on_all(job, ok);
    cf_vote_destroy(v);
}

static void groups_vote_apart(void **state)
{
    const cf_job *job = *state;
    cf_vote *v = NULL;
    int color = job->rank % 2;
    int64_t got[CF_VOTE_VALUES];
    const int64_t mine[CF_VOTE_VALUES] = {10 * color + 1};
    bool ok = cf_vote_create(job->data, color, job->rank, &v) == CF_OK;
    ok = ok && cf_vote_start(v, 2, mine) == CF_OK && cf_vote_finish(v, 2, got) == CF_OK;
    assert_on_all(job, ok && got[0] == 10 * color + 1);
    cf_vote_destroy(v);
}

static void a_slot_holds_one_vote(void **state)
{
    const cf_job *job = *state;
    cf_vote *v = vote_of(job);
    const int64_t mine[CF_VOTE_VALUES] = {0};
    int64_t got[CF_VOTE_VALUES];
    bool ok = cf_vote_start(v, 0, mine) == CF_OK;
    ok = ok && cf_vote_start(v, 0, mine) == CF_E_UNEXPECTED;
    ok = ok && cf_vote_finish(v, 1, got) == CF_E_UNEXPECTED;
    ok = ok && cf_vote_start(v, CF_VOTE_SLOTS, mine) == CF_E_UNEXPECTED;
    ok = ok && cf_vote_finish(v, 0, got) == CF_OK;
    assert_on_all(job, ok);
    cf_vote_destroy(v);
}

static void numbers_are_gathered_in_rank_order(void **state)
{
    const cf_job *job = *state;
    cf_vote *v = vote_of(job);
    int64_t all[64];
    assert_true(job->size <= 64);
    bool ok = cf_vote_gather(v, 7 * job->rank - 3, all) == CF_OK;
    for (int r = 0; r < job->size; r++) ok = ok && all[r] == 7 * r - 3;
    assert_on_all(job, ok);
    cf_vote_destroy(v);
}

int main(void)
{
    cf_job job;
    if (cf_job_init(&job) != CF_OK) {
        cf_log_error("%s", cf_err_text());
        return 1;
    }
    void *state = &job;
#define CASE(f) cmocka_unit_test_prestate(f, state)
    const struct CMUnitTest tests[] = {
        CASE(every_rank_learns_the_highest_of_each_value),
        CASE(votes_under_way_do_not_mix),
        CASE(groups_vote_apart),
        CASE(a_slot_holds_one_vote),
        CASE(numbers_are_gathered_in_rank_order),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (cf_job_fini(&job) != CF_OK) failed++;
    return failed;
}
