/* Room for a job: what is needed beside what is there, and the estimate of a checkpoint's size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "coordinator/space.h"
#include "tests/support/scratch.h"

static char folder[CF_PATH_MAX];

static void put(const char *fold, const char *name, size_t n)
{
    char path[CF_PATH_MAX], dir[CF_PATH_MAX];
    char *bytes = calloc(n, 1);
    assert_non_null(bytes);
    assert_int_equal(cf_path_join(dir, sizeof dir, folder, fold), CF_OK);
    assert_int_equal(cf_dir_make(dir), CF_OK);
    assert_int_equal(cf_path_join(path, sizeof path, dir, name), CF_OK);
    assert_int_equal(cf_file_save(path, bytes, n), CF_OK);
    free(bytes);
}

static int64_t needed(const cf_space *s)
{
    int64_t bytes = 0;
    assert_int_equal(cf_space_needed(s, &bytes), CF_OK);
    return bytes;
}

static void room_is_needed_for_what_is_not_there_yet(void **state)
{
    (void)state;
    enum { SIZE = 1000000 };
    cf_space s = {.dir = folder, .n_folds = 3, .only_fold = -1, .checkpoint_bytes = SIZE};
    int64_t rest = needed(&(cf_space){.dir = folder, .n_folds = 3, .only_fold = -1});
    assert_int_equal(needed(&s) - rest, 9 * SIZE); /* two kept and a new one, of each fold */
    s.at_rest = true;
    assert_int_equal(needed(&s) - rest, 6 * SIZE);
    s.at_rest = false;
    put("fold-0", "checkpoint-5.ckpt", SIZE);
    put("fold-0", "checkpoint-9.ckpt", SIZE);
    put("fold-1", "checkpoint-5.ckpt", SIZE);
    put("fold-1", "other", SIZE);
    assert_int_equal(needed(&s) - rest, 6 * SIZE);
    put("fold-1", "predictions.csv", 10); /* finished */
    assert_int_equal(needed(&s) - rest, 4 * SIZE);
    s.only_fold = 0;
    int64_t one = needed(&(cf_space){.dir = folder, .n_folds = 3, .only_fold = 0});
    assert_int_equal(needed(&s) - one, 1 * SIZE);
    s.n_images = 171374;
    s.n_nodes = 21;
    assert_true(needed(&s) - one > SIZE + 171374 * (20 + 21 * 20)); /* a line: id and 21 figures */
}

static void job_that_does_not_fit_is_refused_with_both_figures(void **state)
{
    (void)state;
    cf_space s = {.dir = folder, .n_folds = 5, .only_fold = -1, .checkpoint_bytes = 1000};
    assert_int_equal(cf_space_check(&s), CF_OK);
    s.checkpoint_bytes = (int64_t)1 << 55;
    assert_int_equal(cf_space_check(&s), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), folder));
    assert_non_null(strstr(cf_err_text(), "needs 540431955"));
    assert_non_null(strstr(cf_err_text(), "bytes are free"));
    s.dir = "/no/such/folder";
    assert_int_equal(cf_space_check(&s), CF_E_DISK);
}

static int make_folder(void **state)
{
    (void)state;
    return scratch_make(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        CASE(room_is_needed_for_what_is_not_there_yet),
        CASE(job_that_does_not_fit_is_refused_with_both_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
