#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker/group.h"

/* Seats from "host:device" texts; ranks of the job from 1 on, as behind a coordinator. */
static int seat_all(const char *const *texts, cf_seat *seats)
{
    int n = 0;
    for (; texts[n] != NULL; n++) {
        memset(&seats[n], 0, sizeof seats[n]);
        const char *colon = strchr(texts[n], ':');
        snprintf(seats[n].host, sizeof seats[n].host, "%.*s", (int)(colon - texts[n]), texts[n]);
        snprintf(seats[n].device, sizeof seats[n].device, "%s", colon + 1);
        seats[n].rank = n + 1;
    }
    return n;
}

static const char *const own_devices[] = {"a:0000:01", "a:0000:02", "b:0000:01", NULL};
static const char *const shared_device[] = {"a:0000:01", "b:0000:07", "a:0000:02", "b:0000:07",
                                            NULL};
static const char *const no_devices[] = {"a:", "a:", "b:", NULL};
static const char *const mixed[] = {"a:0000:01", "b:", NULL};
static const char *const alone[] = {"a:0000:01", NULL};

typedef struct choice {
    const char *const *seats;
    enum cf_run_comm wanted;
    bool has_nccl;
    cf_err err;
    cf_transport transport;
} choice;

static void the_transport_follows_the_seats(void **state)
{
    (void)state;
    static const choice choices[] = {
        {own_devices, CF_RUN_COMM_AUTO, true, CF_OK, CF_TRANSPORT_NCCL},
        {own_devices, CF_RUN_COMM_AUTO, false, CF_OK, CF_TRANSPORT_STAGED},
        {own_devices, CF_RUN_COMM_MPI, true, CF_OK, CF_TRANSPORT_STAGED},
        {own_devices, CF_RUN_COMM_NCCL, true, CF_OK, CF_TRANSPORT_NCCL},
        {own_devices, CF_RUN_COMM_NCCL, false, CF_E_DEVICE, CF_TRANSPORT_HOST},
        {shared_device, CF_RUN_COMM_AUTO, true, CF_OK, CF_TRANSPORT_STAGED},
        {shared_device, CF_RUN_COMM_MPI, true, CF_OK, CF_TRANSPORT_STAGED},
        {shared_device, CF_RUN_COMM_NCCL, true, CF_E_DEVICE, CF_TRANSPORT_HOST},
        {no_devices, CF_RUN_COMM_AUTO, true, CF_OK, CF_TRANSPORT_HOST},
        {no_devices, CF_RUN_COMM_MPI, true, CF_OK, CF_TRANSPORT_HOST},
        {no_devices, CF_RUN_COMM_NCCL, true, CF_E_DEVICE, CF_TRANSPORT_HOST},
        {mixed, CF_RUN_COMM_AUTO, true, CF_E_DEVICE, CF_TRANSPORT_HOST},
        {mixed, CF_RUN_COMM_MPI, true, CF_E_DEVICE, CF_TRANSPORT_HOST},
        {alone, CF_RUN_COMM_AUTO, true, CF_OK, CF_TRANSPORT_HOST},
        {alone, CF_RUN_COMM_MPI, true, CF_OK, CF_TRANSPORT_HOST},
        {alone, CF_RUN_COMM_NCCL, true, CF_OK, CF_TRANSPORT_NCCL},
    };
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        const choice *c = &choices[i];
        cf_seat seats[4];
        cf_transport transport = CF_TRANSPORT_STAGED;
        int n = seat_all(c->seats, seats);
        cf_err err = cf_group_choose(seats, n, c->wanted, c->has_nccl, &transport);
        if (err != c->err || (err == CF_OK && transport != c->transport))
            fail_msg("choice %zu: error %d, transport %d; expected %d, %d", i, (int)err,
                     (int)transport, (int)c->err, (int)c->transport);
    }
}

static void nccl_on_a_shared_device_names_ranks_device_and_host(void **state)
{
    (void)state;
    cf_seat seats[4];
    cf_transport transport;
    int n = seat_all(shared_device, seats);
    assert_int_equal(cf_group_choose(seats, n, CF_RUN_COMM_NCCL, true, &transport), CF_E_DEVICE);
    static const char *const parts[] = {"ranks 2 and 4", "0000:07", "host b", "run.comm"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(cf_err_text(), parts[i]) == NULL)
            fail_msg("no \"%s\" in: %s", parts[i], cf_err_text());
}

static void a_mixed_group_names_who_has_what(void **state)
{
    (void)state;
    cf_seat seats[4];
    cf_transport transport;
    int n = seat_all(mixed, seats);
    assert_int_equal(cf_group_choose(seats, n, CF_RUN_COMM_AUTO, true, &transport), CF_E_DEVICE);
    assert_non_null(strstr(cf_err_text(), "rank 1 on host a trains on a GPU"));
    assert_non_null(strstr(cf_err_text(), "rank 2 on host b on the CPU"));
}

static void workers_of_one_device_take_turns(void **state)
{
    (void)state;
    static const char *const texts[] = {"a:1", "a:2", "a:1", "b:1", "a:1", NULL};
    static const int sharers[] = {3, 1, 3, 1, 3}, turns[] = {0, 0, 1, 0, 2};
    cf_seat seats[5];
    int n = seat_all(texts, seats);
    for (int i = 0; i < n; i++) {
        assert_int_equal(cf_seat_sharers(seats, n, i), sharers[i]);
        assert_int_equal(cf_seat_turn(seats, n, i), turns[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_transport_follows_the_seats),
        cmocka_unit_test(nccl_on_a_shared_device_names_ranks_device_and_host),
        cmocka_unit_test(a_mixed_group_names_who_has_what),
        cmocka_unit_test(workers_of_one_device_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
