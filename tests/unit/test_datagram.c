/* Datagrams between two sockets of this host, by every address it calls its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/comm/datagram.h"

static const int64_t patience_ns = 20LL * 1000000000;

static void a_datagram_arrives_by_every_address_and_finds_its_way_back(void **state)
{
    (void)state;
    cf_datagram a, b;
    uint8_t addresses[CF_ADDRESSES_MAX][CF_ADDRESS_BYTES];
    char text[8];
    size_t n = 0;
    cf_peer from, back;
    assert_int_equal(cf_datagram_open(&a), CF_OK);
    assert_int_equal(cf_datagram_open(&b), CF_OK);
    assert_int_not_equal(a.port, b.port);
    int n_addresses = cf_datagram_addresses(addresses);
    assert_in_range(n_addresses, 1, CF_ADDRESSES_MAX);
    for (int i = 0; i < n_addresses; i++) {
        cf_peer to = {.port = b.port};
        memcpy(to.address, addresses[i], sizeof to.address);
        cf_datagram_send(&a, &to, "tick", 4);
        assert_true(cf_datagram_receive(&b, patience_ns, text, sizeof text, &n, &from));
        assert_int_equal(n, 4);
        assert_memory_equal(text, "tick", 4);
        assert_int_equal(from.port, a.port);
        cf_datagram_send(&b, &from, "tock!", 5);
        assert_true(cf_datagram_receive(&a, patience_ns, text, sizeof text, &n, &back));
        assert_int_equal(n, 5);
        assert_int_equal(back.port, b.port);
    }
    cf_datagram_close(&b);
    cf_datagram_close(&a);
}

static void too_long_a_datagram_is_told_apart(void **state)
{
    (void)state;
    cf_datagram a;
    uint8_t addresses[CF_ADDRESSES_MAX][CF_ADDRESS_BYTES];
    char text[4];
    size_t n = 0;
    cf_peer from;
    assert_int_equal(cf_datagram_open(&a), CF_OK);
    cf_peer to = {.port = a.port};
    memcpy(to.address, addresses[cf_datagram_addresses(addresses) - 1], sizeof to.address);
    cf_datagram_send(&a, &to, "12345", 5);
    assert_true(cf_datagram_receive(&a, patience_ns, text, sizeof text, &n, &from));
    assert_int_equal(n, sizeof text + 1);
    cf_datagram_close(&a);
}

static void nothing_comes_from_silence_or_a_closed_socket(void **state)
{
    (void)state;
    cf_datagram a;
    char text[4];
    size_t n = 0;
    cf_peer from;
    assert_int_equal(cf_datagram_open(&a), CF_OK);
    assert_false(cf_datagram_receive(&a, 1000000, text, sizeof text, &n, &from));
    cf_datagram_close(&a);
    int64_t start_ns = cf_clock_ns();
    assert_false(cf_datagram_receive(&a, 3000000, text, sizeof text, &n, &from));
    assert_true(cf_clock_ns() - start_ns >= 3000000);
    cf_datagram_send(&a, &(cf_peer){.port = 9}, "x", 1);
    cf_datagram_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_datagram_arrives_by_every_address_and_finds_its_way_back),
        cmocka_unit_test(too_long_a_datagram_is_told_apart),
        cmocka_unit_test(nothing_comes_from_silence_or_a_closed_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
