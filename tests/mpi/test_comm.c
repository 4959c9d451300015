/* Sums, agreement and the control channel on 1, 2, 3 and 4 ranks (ctest runs this under mpirun).
 * Every verdict is agreed on by all ranks before it is asserted, so that no rank leaves a test
 * alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/log.h"
#include "kernels/comm/channel.h"
#include "kernels/comm/job.h"
#include "kernels/math/philox.h"

enum { SEED = 20240611, N_PARTS = 12 /* divisible by 1, 2, 3 and 4 */ };
static const int64_t patience_ns = 60LL * 1000000000;

/* The job, handed to every test through cmocka's state. */
static const cf_job *job_of(void **state)
{
    return *state;
}

static void assert_on_all(const cf_job *job, bool mine)
{
    int ok = mine, all = 0;
    MPI_Allreduce(&ok, &all, 1, MPI_INT, MPI_MIN, job->data);
    if (!mine) print_error("rank %d: %s\n", job->rank, cf_err_text());
    assert_int_equal(all, 1);
}

static cf_comm *comm_of(const cf_job *job)
{
    cf_comm *c = NULL;
    assert_on_all(job, cf_comm_mpi_create(job->data, 0, job->rank, &c) == CF_OK && c);
    return c;
}

/* Part p of a sum that has N_PARTS parts whatever the rank count; values of both signs that only
 * fit 64 bits when carries cross the halves. */
static int64_t part_value(int p, int64_t i)
{
    cf_rng r = cf_rng_at(SEED, 0, (uint32_t)p, (uint32_t)i, CF_PURPOSE_TEST);
    uint64_t high = cf_rng_u32(&r), low = cf_rng_u32(&r);
    return (int64_t)(high << 32 | low) / 64;
}

/* What one rank holds before the sum: its share of the parts. */
static void fill_parts(int64_t *buf, int64_t n, int rank, int size)
{
    for (int64_t i = 0; i < n; i++) {
        buf[i] = 0;
        for (int p = rank; p < N_PARTS; p += size) buf[i] += part_value(p, i);
    }
}

static bool is_total(const int64_t *buf, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t total = 0;
        for (int p = 0; p < N_PARTS; p++) total += part_value(p, i);
        if (buf[i] != total) return false;
    }
    return true;
}

/* Sizes below, at and above the rank count, not divisible by it, and one that MPI sends in pieces.
 */
static void exact_sum_is_the_same_on_any_rank_count(void **state)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 5, 1000, 100003};
    const cf_job *job = job_of(state);
    cf_comm *c = comm_of(job);
    int64_t *buf = calloc(100003, sizeof *buf);
    print_message("seed %d\n", SEED);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int ticket = -1;
        fill_parts(buf, sizes[k], c->rank, c->size);
        bool ok = c->ops->sum_start(c, buf, sizes[k], CF_SUM_I64, &ticket) == CF_OK &&
                  c->ops->wait(c, ticket) == CF_OK;
        assert_on_all(job, ok && is_total(buf, sizes[k]));
    }
    free(buf);
    c->ops->destroy(c);
}

/* Sixteen sums at once, waited for in another order on every rank. */
static void pending_sums_do_not_mix(void **state)
{
    enum { N = 4099 };
    const cf_job *job = job_of(state);
    cf_comm *c = comm_of(job);
    int64_t *buf = calloc((size_t)N * CF_COMM_MAX_PENDING, sizeof *buf);
    int tickets[CF_COMM_MAX_PENDING];
    bool ok = true;
    for (int round = 0; round < 3; round++) {
        for (int k = 0; k < CF_COMM_MAX_PENDING; k++) {
            fill_parts(buf + (size_t)N * (size_t)k, N - k, c->rank, c->size);
            ok = ok && c->ops->sum_start(c, buf + (size_t)N * (size_t)k, N - k, CF_SUM_I64,
                                         &tickets[k]) == CF_OK;
            ok = ok && c->ops->progress(c) == CF_OK;
        }
        for (int k = 0; k < CF_COMM_MAX_PENDING; k++) {
            int which = (k * 5 + c->rank * 3) % CF_COMM_MAX_PENDING;
            ok = ok && c->ops->wait(c, tickets[which]) == CF_OK;
            ok = ok && is_total(buf + (size_t)N * (size_t)which, N - which);
        }
        assert_on_all(job, ok);
    }
    free(buf);
    c->ops->destroy(c);
}

/* Else a wait for the first would wait for the second too: for ever, where a rank has left between
 * the two. */
static void a_sum_that_is_done_keeps_its_ticket_until_its_wait(void **state)
{
    const cf_job *job = job_of(state);
    cf_comm *c = comm_of(job);
    int64_t first = 1, second = 2;
    int tickets[2] = {-1, -1};
    bool ok = c->ops->sum_start(c, &first, 1, CF_SUM_I64, &tickets[0]) == CF_OK;
    for (int i = 0; i < 20; i++) /* enough for both rounds on every rank */
        ok = ok && c->ops->progress(c) == CF_OK && c->ops->barrier(c) == CF_OK;
    ok = ok && c->ops->sum_start(c, &second, 1, CF_SUM_I64, &tickets[1]) == CF_OK;
    ok = ok && (c->size == 1 || tickets[0] != tickets[1]);
    for (int k = 0; k < 2; k++) ok = ok && c->ops->wait(c, tickets[k]) == CF_OK;
    assert_on_all(job, ok && first == c->size && second == 2 * c->size);
    c->ops->destroy(c);
}

static void one_sum_too_many_is_refused(void **state)
{
    const cf_job *job = job_of(state);
    cf_comm *c = comm_of(job);
    int64_t values[CF_COMM_MAX_PENDING + 1] = {0};
    int tickets[CF_COMM_MAX_PENDING + 1];
    bool ok = true;
    /* Sums of more than one rank cannot end before every rank has started them and gone on: without
     * progress calls, all of them stay under way. */
    for (int k = 0; k < CF_COMM_MAX_PENDING; k++) {
        ok = ok && c->ops->sum_start(c, &values[k], 1, CF_SUM_I64, &tickets[k]) == CF_OK;
    }
    cf_err last = c->ops->sum_start(c, &values[CF_COMM_MAX_PENDING], 1, CF_SUM_I64,
                                    &tickets[CF_COMM_MAX_PENDING]);
    ok = ok && last == (c->size > 1 ? CF_E_UNEXPECTED : CF_OK);
    for (int k = 0; k < CF_COMM_MAX_PENDING; k++) ok = ok && c->ops->wait(c, tickets[k]) == CF_OK;
    assert_on_all(job, ok);
    c->ops->destroy(c);
}

/* Small integers are exact in float, so any order gives the same value: no tolerance. */
static void float_sum_adds_every_rank_once(void **state)
{
    enum { N = 12345 };
    const cf_job *job = job_of(state);
    cf_comm *c = comm_of(job);
    float *buf = calloc(N, sizeof *buf);
    for (int i = 0; i < N; i++) buf[i] = (float)((c->rank + 1) * (i % 1000));
    int ticket = -1;
    bool ok = c->ops->sum_start(c, buf, N, CF_SUM_F32, &ticket) == CF_OK &&
              c->ops->wait(c, ticket) == CF_OK;
    int factor = c->size * (c->size + 1) / 2;
    for (int i = 0; i < N; i++) ok = ok && buf[i] == (float)(factor * (i % 1000));
    assert_on_all(job, ok);
    free(buf);
    c->ops->destroy(c);
}

/* Rounding depends on the order of additions: every rank must end with the same bits, each time. */
static void float_sum_has_the_same_bits_on_every_rank_and_run(void **state)
{
    enum { N = 54321 };
    const cf_job *job = job_of(state);
    cf_comm *c = comm_of(job);
    float *buf = calloc(N, sizeof *buf);
    uint64_t first = 0;
    bool ok = true;
    for (int run = 0; run < 5; run++) {
        cf_rng r = cf_rng_at(SEED, 1, 0, (uint32_t)c->rank, CF_PURPOSE_TEST);
        for (int i = 0; i < N; i++) buf[i] = cf_rng_uniform(&r) - 0.5f;
        int ticket = -1;
        ok = ok && c->ops->sum_start(c, buf, N, CF_SUM_F32, &ticket) == CF_OK;
        ok = ok && c->ops->wait(c, ticket) == CF_OK;
        uint64_t hash = cf_hash64(buf, N * sizeof *buf), root = hash;
        ok = ok && c->ops->broadcast(c, &root, sizeof root, 0) == CF_OK && root == hash;
        if (run == 0) first = hash;
        ok = ok && hash == first;
    }
    assert_on_all(job, ok);
    free(buf);
    c->ops->destroy(c);
}

static void comm_of_one_rank_leaves_its_buffers_alone(void **state)
{
    const cf_job *job = job_of(state);
    cf_comm *c = NULL;
    int64_t values[] = {3, -4};
    int ticket = -1;
    bool ok = cf_comm_self_create(&c) == CF_OK;
    assert_on_all(job, ok);
    ok = c->ops->sum_start(c, values, 2, CF_SUM_I64, &ticket) == CF_OK &&
         c->ops->progress(c) == CF_OK && c->ops->wait(c, ticket) == CF_OK &&
         c->ops->broadcast(c, values, sizeof values, 0) == CF_OK && c->ops->barrier(c) == CF_OK;
    ok = ok && values[0] == 3 && values[1] == -4 && c->size == 1 && c->rank == 0;
    ok = ok && cf_comm_agree(c, cf_fail(CF_E_DATA, "mine")) == CF_E_DATA;
    assert_on_all(job,
                  ok && strcmp(cf_err_text(), "mine") == 0 && cf_comm_agree(c, CF_OK) == CF_OK);
    c->ops->destroy(c);
}

static void groups_sum_apart(void **state)
{
    const cf_job *job = job_of(state);
    cf_comm *c = NULL;
    int64_t value = (int64_t)1 << (8 * job->rank), expected = 0;
    int ticket = -1, color = job->rank % 2;
    bool ok = cf_comm_mpi_create(job->data, color, -job->rank, &c) == CF_OK;
    assert_on_all(job, ok && c);
    ok = c->ops->sum_start(c, &value, 1, CF_SUM_I64, &ticket) == CF_OK;
    ok = ok && c->ops->wait(c, ticket) == CF_OK;
    for (int r = color; r < job->size; r += 2) expected += (int64_t)1 << (8 * r);
    int last =
        job->size - 1 - (job->size - 1 - color) % 2; /* highest rank comes first by the key */
    ok = ok && value == expected && c->rank == (last - job->rank) / 2;
    assert_on_all(job, ok);
    c->ops->destroy(c);
}

static void rank_without_a_group_gets_none(void **state)
{
    const cf_job *job = job_of(state);
    cf_comm *c = NULL;
    int color = job->rank == 0 ? MPI_UNDEFINED : 7;
    bool ok = cf_comm_mpi_create(job->data, color, 0, &c) == CF_OK;
    assert_on_all(job, ok && (job->rank == 0 ? c == NULL : c && c->size == job->size - 1));
    if (c) c->ops->destroy(c);
}

static void broadcast_reaches_all_from_every_root(void **state)
{
    enum { N = 300001 };
    const cf_job *job = job_of(state);
    cf_comm *c = comm_of(job);
    uint8_t *buf = malloc(N);
    for (int root = 0; root < c->size; root++) {
        memset(buf, c->rank == root ? root + 1 : 0, N);
        bool ok = c->ops->broadcast(c, buf, N, root) == CF_OK;
        for (int i = 0; i < N; i++) ok = ok && buf[i] == root + 1;
        assert_on_all(job, ok && c->ops->barrier(c) == CF_OK);
    }
    free(buf);
    c->ops->destroy(c);
}

static void agree_gives_the_highest_code_and_names_its_rank(void **state)
{
    const cf_job *job = job_of(state);
    cf_comm *c = comm_of(job);
    assert_on_all(job, cf_comm_agree(c, CF_OK) == CF_OK);
    for (int bad = 0; bad < c->size; bad++) {
        char expected[64];
        cf_err mine = c->rank == bad ? cf_fail(CF_E_DISK, "disk of rank %d", bad) : CF_OK;
        cf_err all = cf_comm_agree(c, mine);
        snprintf(expected, sizeof expected, c->rank == bad ? "disk of rank %d" : "rank %d failed",
                 bad);
        assert_on_all(job, all == CF_E_DISK && strcmp(cf_err_text(), expected) == 0);
    }
    cf_err mine = c->rank == 0 ? cf_fail(CF_E_DATA, "x") : cf_fail(CF_E_NUMERIC, "y");
    assert_on_all(job, cf_comm_agree(c, mine) == (c->size > 1 ? CF_E_NUMERIC : CF_E_DATA));
    c->ops->destroy(c);
}

/* ---- control channel --------------------------------------------------------------------------
 */

enum { N_MESSAGES = 40 };

/* Message k of a worker: its length and bytes follow from (rank, k); the longest is past the size
 * up to which MPI sends at once. */
static size_t message_bytes(int k)
{
    return k == 7 ? 3000000 : (size_t)(k * k);
}

static bool is_message(const uint8_t *bytes, size_t n, int rank, int k)
{
    if (n != message_bytes(k)) return false;
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != (uint8_t)(rank * 31 + k)) return false;
    }
    return true;
}

/* Sends all messages, then waits for the coordinator's answer, which is one byte: its own rank. */
static bool talk_as_worker(MPI_Comm comm, int rank, int coordinator)
{
    cf_channel *c = NULL;
    void *answer = NULL;
    size_t n = 0;
    int from = -1;
    bool got = false;
    uint8_t *bytes = malloc(3000000);
    bool ok = cf_channel_create(comm, coordinator, CF_CHANNEL_TO_COORDINATOR, &c) == CF_OK;
    for (int k = 0; ok && k < N_MESSAGES; k++) {
        memset(bytes, rank * 31 + k, message_bytes(k));
        ok = cf_channel_send(c, 0, bytes, message_bytes(k)) == CF_OK;
    }
    memset(bytes, 0, 3000000); /* the channel has its own copies */
    ok = ok && cf_channel_receive(c, patience_ns, &got, &from, &answer, &n) == CF_OK;
    ok = ok && got && from == coordinator && n == 1 && *(uint8_t *)answer == rank;
    free(answer);
    free(bytes);
    return cf_channel_destroy(c) == CF_OK && ok;
}

/* Hears all messages of n_workers, in order for each worker, and answers each when it is through.
 */
static bool talk_as_coordinator(MPI_Comm comm, int me, int n_workers)
{
    cf_channel *c = NULL;
    int heard[8] = {0};
    bool ok = cf_channel_create(comm, me, CF_CHANNEL_TO_WORKERS, &c) == CF_OK;
    for (int i = 0; ok && i < n_workers * N_MESSAGES; i++) {
        void *bytes = NULL;
        size_t n = 0;
        int from = -1;
        bool got = false;
        ok = cf_channel_receive(c, patience_ns, &got, &from, &bytes, &n) == CF_OK && got;
        ok = ok && from >= 0 && from < 8 && is_message(bytes, n, from, heard[from]);
        free(bytes);
        if (!ok || ++heard[from] < N_MESSAGES) continue;
        uint8_t answer = (uint8_t)from;
        ok = cf_channel_send(c, from, &answer, 1) == CF_OK;
    }
    return cf_channel_destroy(c) == CF_OK && ok;
}

static void channel_carries_messages_to_a_coordinator_of_its_own_rank(void **state)
{
    const cf_job *job = job_of(state);
    if (job->size == 1) skip(); /* no rank left for a worker */
    int coordinator = job->size - 1;
    bool ok = job->rank == coordinator
                  ? talk_as_coordinator(job->control, coordinator, job->size - 1)
                  : talk_as_worker(job->control, job->rank, coordinator);
    assert_on_all(job, ok);
}

static void *coordinator_thread(void *arg)
{
    const cf_job *job = arg;
    return (void *)(intptr_t)talk_as_coordinator(job->control, 0, job->size);
}

/* Rank 0 is coordinator (a thread) and worker at once, while its worker also sums with the others.
 */
static void channel_carries_messages_to_a_coordinator_thread(void **state)
{
    const cf_job *job = job_of(state);
    cf_comm *c = comm_of(job);
    pthread_t thread;
    void *result = (void *)1;
    bool ok = true;
    if (job->rank == 0) {
        ok = pthread_create(&thread, NULL, coordinator_thread, (void *)(uintptr_t)job) == 0;
    }
    assert_on_all(job, ok);
    int64_t *buf = calloc(50000, sizeof *buf);
    int ticket = -1;
    fill_parts(buf, 50000, c->rank, c->size);
    ok = c->ops->sum_start(c, buf, 50000, CF_SUM_I64, &ticket) == CF_OK;
    ok = talk_as_worker(job->control, job->rank, 0) && ok;
    ok = ok && c->ops->wait(c, ticket) == CF_OK && is_total(buf, 50000);
    if (job->rank == 0) pthread_join(thread, &result);
    assert_on_all(job, ok && result);
    free(buf);
    c->ops->destroy(c);
}

static void receive_gives_up_after_its_time(void **state)
{
    const cf_job *job = job_of(state);
    cf_channel *c = NULL;
    void *bytes = NULL;
    size_t n = 0;
    int from = -1;
    bool got = true;
    bool ok = cf_channel_create(job->control, 0, CF_CHANNEL_TO_COORDINATOR, &c) == CF_OK;
    ok = ok && cf_channel_receive(c, 2000000, &got, &from, &bytes, &n) == CF_OK && !got && !bytes;
    ok = cf_channel_destroy(c) == CF_OK && ok;
    assert_on_all(job, ok);
}

static void mpi_errors_come_back_as_device_errors(void **state)
{
    const cf_job *job = job_of(state);
    cf_channel *c = NULL;
    uint8_t byte = 0;
    bool ok = cf_channel_create(job->control, 0, CF_CHANNEL_TO_WORKERS, &c) == CF_OK;
    ok = ok && cf_channel_send(c, job->size + 5, &byte, 1) == CF_E_DEVICE;
    ok = ok && strstr(cf_err_text(), "message to rank ") && strstr(cf_err_text(), "MPI_Isend");
    ok = cf_channel_destroy(c) == CF_OK && ok;
    assert_on_all(job, ok);
}

static void job_knows_its_host(void **state)
{
    const cf_job *job = job_of(state);
    /* Tests run on one machine: all ranks share it. */
    assert_on_all(job,
                  job->local_rank == job->rank && job->local_size == job->size && job->host[0]);
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
        CASE(exact_sum_is_the_same_on_any_rank_count),
        CASE(pending_sums_do_not_mix),
        CASE(a_sum_that_is_done_keeps_its_ticket_until_its_wait),
        CASE(one_sum_too_many_is_refused),
        CASE(float_sum_adds_every_rank_once),
        CASE(float_sum_has_the_same_bits_on_every_rank_and_run),
        CASE(comm_of_one_rank_leaves_its_buffers_alone),
        CASE(groups_sum_apart),
        CASE(rank_without_a_group_gets_none),
        CASE(broadcast_reaches_all_from_every_root),
        CASE(agree_gives_the_highest_code_and_names_its_rank),
        CASE(channel_carries_messages_to_a_coordinator_of_its_own_rank),
        CASE(channel_carries_messages_to_a_coordinator_thread),
        CASE(receive_gives_up_after_its_time),
        CASE(mpi_errors_come_back_as_device_errors),
        CASE(job_knows_its_host),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (cf_job_fini(&job) != CF_OK) failed++;
    return failed;
}
