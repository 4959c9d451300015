#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

static void message_is_set_and_replaced(void **state)
{
    (void)state;
    assert_int_equal(cf_fail(CF_E_DATA, "image %d: expected %s", 7, "PNG"), CF_E_DATA);
    assert_string_equal(cf_err_text(), "image 7: expected PNG");
    assert_int_equal(cf_fail(CF_E_DISK, "other"), CF_E_DISK);
    assert_string_equal(cf_err_text(), "other");
}

static void where_goes_before_the_message(void **state)
{
    (void)state;
    cf_err err = cf_fail(CF_E_DATA, "bad");
    err = cf_where(err, "row %d", 3);
    err = cf_where(err, "a.csv");
    assert_int_equal(err, CF_E_DATA);
    assert_string_equal(cf_err_text(), "a.csv: row 3: bad");
}

static void errno_is_put_into_words(void **state)
{
    (void)state;
    errno = ENOENT;
    assert_int_equal(cf_fail_errno(CF_E_DATA, "x.png"), CF_E_DATA);
    assert_string_equal(cf_err_text(), "x.png: No such file or directory");
}

static void message_can_be_made_from_itself(void **state)
{
    (void)state;
    assert_int_equal(cf_fail(CF_E_DATA, "inner"), CF_E_DATA);
    assert_int_equal(cf_fail(CF_E_HANG, "outer of (%s)", cf_err_text()), CF_E_HANG);
    assert_string_equal(cf_err_text(), "outer of (inner)");
}

static void endless_text_is_cut_not_overrun(void **state)
{
    (void)state;
    char long_text[5000];
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    cf_err err = cf_fail(CF_E_DATA, "%s", long_text);
    err = cf_where(err, "%s", long_text);
    errno = EIO;
    assert_int_equal(cf_fail_errno(err, "%s", long_text), CF_E_DATA);
    assert_in_range(strlen(cf_err_text()), 1000, sizeof long_text - 1);
}

static void *fail_elsewhere(void *arg)
{
    (void)arg;
    cf_err err = cf_fail(CF_E_HANG, "another thread's");
    return err == CF_E_HANG && strcmp(cf_err_text(), "another thread's") == 0 ? arg : NULL;
}

static void each_thread_has_its_own_message(void **state)
{
    (void)state;
    pthread_t thread;
    int token = 0;
    void *result = NULL;
    assert_int_equal(cf_fail(CF_E_DATA, "mine"), CF_E_DATA);
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &token), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &token);
    assert_string_equal(cf_err_text(), "mine");
}

static void every_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    const cf_err codes[] = {CF_OK,     CF_E_UNEXPECTED, CF_E_USAGE,  CF_E_DATA,
                            CF_E_DISK, CF_E_CHECKPOINT, CF_E_DEVICE, CF_E_NUMERIC,
                            CF_E_HANG, CF_E_BUSY,       CF_E_REQUEUE};
    const size_t n = sizeof codes / sizeof *codes;
    for (size_t i = 0; i < n; i++) {
        assert_string_not_equal(cf_err_name(codes[i]), "unknown");
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(cf_err_name(codes[i]), cf_err_name(codes[k]));
        }
    }
}

static void overflowing_size_is_refused(void **state)
{
    (void)state;
    char *block = (char *)state;
    size_t product = 0;
    assert_false(cf_size_mul(SIZE_MAX / 2, 3, &product));
    assert_true(cf_size_mul(3, 4, &product));
    assert_int_equal(product, 12);
    assert_int_equal(cf_new(&block, SIZE_MAX / 2, 3), CF_E_UNEXPECTED);
    assert_null(block);
    assert_int_equal(cf_new_aligned(&block, SIZE_MAX, 1), CF_E_UNEXPECTED);
    assert_null(block);
}

static void blocks_are_zeroed_and_aligned(void **state)
{
    (void)state;
    uint8_t *block = NULL;
    assert_int_equal(cf_new_aligned(&block, 1001, 1), CF_OK);
    assert_int_equal((uintptr_t)block % 64, 0);
    for (int i = 0; i < 1001; i++) assert_int_equal(block[i], 0);
    free(block);
    assert_int_equal(cf_new(&block, 0, 8), CF_OK);
    assert_non_null(block);
    free(block);
}

static void resize_keeps_content_also_when_it_fails(void **state)
{
    (void)state;
    int *items = NULL;
    assert_int_equal(cf_resize(&items, 4, sizeof *items), CF_OK);
    for (int i = 0; i < 4; i++) items[i] = i;
    assert_int_equal(cf_resize(&items, 4000, sizeof *items), CF_OK);
    assert_int_equal(cf_resize(&items, SIZE_MAX / 2, sizeof *items), CF_E_UNEXPECTED);
    for (int i = 0; i < 4; i++) assert_int_equal(items[i], i);
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_is_set_and_replaced),
        cmocka_unit_test(where_goes_before_the_message),
        cmocka_unit_test(errno_is_put_into_words),
        cmocka_unit_test(message_can_be_made_from_itself),
        cmocka_unit_test(endless_text_is_cut_not_overrun),
        cmocka_unit_test(each_thread_has_its_own_message),
        cmocka_unit_test(every_code_has_a_name_of_its_own),
        cmocka_unit_test(overflowing_size_is_refused),
        cmocka_unit_test(blocks_are_zeroed_and_aligned),
        cmocka_unit_test(resize_keeps_content_also_when_it_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
