#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/hash.h"

/* RFC 3720, appendix B.4, and the check value of the CRC catalogue. */
static void crc32c_gives_the_published_values(void **state)
{
    (void)state;
    uint8_t block[32];
    memset(block, 0, sizeof block);
    assert_int_equal(cf_crc32c(0, block, 32), 0x8a9136aau);
    memset(block, 0xff, sizeof block);
    assert_int_equal(cf_crc32c(0, block, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++) block[i] = (uint8_t)i;
    assert_int_equal(cf_crc32c(0, block, 32), 0x46dd794eu);
    for (int i = 0; i < 32; i++) block[i] = (uint8_t)(31 - i);
    assert_int_equal(cf_crc32c(0, block, 32), 0x113fdb5cu);
    assert_int_equal(cf_crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(cf_crc32c_portable(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(cf_crc32c(0, "", 0), 0);
}

static void crc32c_is_the_same_with_and_without_the_instruction(void **state)
{
    (void)state;
    uint8_t bytes[300];
    for (int i = 0; i < 300; i++) bytes[i] = (uint8_t)(i * 37 + i / 7);
    for (size_t start = 0; start < 9; start++) {
        for (size_t n = 0; n + start <= 300; n += n < 40 ? 1 : 53) {
            assert_int_equal(cf_crc32c(7, bytes + start, n),
                             cf_crc32c_portable(7, bytes + start, n));
        }
    }
}

static void crc32c_continues_at_any_cut(void **state)
{
    (void)state;
    uint8_t bytes[64];
    for (int i = 0; i < 64; i++) bytes[i] = (uint8_t)(i * 11);
    uint32_t whole = cf_crc32c(0, bytes, 64);
    for (size_t cut = 0; cut <= 64; cut++) {
        assert_int_equal(cf_crc32c(cf_crc32c(0, bytes, cut), bytes + cut, 64 - cut), whole);
    }
}

/* XXH3's own test values: an identity in a file must not change with the library's version. */
static void hash64_is_xxh3(void **state)
{
    (void)state;
    assert_true(cf_hash64("", 0) == 0x2d06800538d394c2ull);
    assert_true(cf_hash64("a", 1) != cf_hash64("b", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_gives_the_published_values),
        cmocka_unit_test(crc32c_is_the_same_with_and_without_the_instruction),
        cmocka_unit_test(crc32c_continues_at_any_cut),
        cmocka_unit_test(hash64_is_xxh3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
