/* Staging: one verified copy a node, kept for the next job, never a reason to fail. The copy does
 * not care what is in a file, so these are bytes of no meaning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/err.h"
#include "tests/support/scratch.h"
#include "worker/stage.h"
#include "worker/stage_folder.h"

enum { N_BYTES = (20 << 20) + 12345 }; /* several chunks, the last one not whole */

static char folder[CF_PATH_MAX], source[CF_PATH_MAX], where[CF_PATH_MAX], own[CF_PATH_MAX];

static int set_up(void **state)
{
    (void)state;
    uint8_t *bytes = malloc(N_BYTES);
    char name[32];
    scratch_make(folder);
    snprintf(name, sizeof name, "cytofold-%u", (unsigned)geteuid());
    if (cf_path_join(source, sizeof source, folder, "shared.cells") != CF_OK ||
        cf_path_join(where, sizeof where, folder, "node") != CF_OK ||
        cf_path_join(own, sizeof own, where, name) != CF_OK || cf_dir_make(where) != CF_OK)
        return -1;
    for (uint32_t i = 0; i < N_BYTES; i++) bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    cf_err err = cf_file_save(source, bytes, N_BYTES);
    free(bytes);
    return err == CF_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static cf_stage stage_of(uint64_t content)
{
    return (cf_stage){.path = source, .where = where, .content_hash = content};
}

static void assert_same_bytes(const char *path)
{
    cf_map a, b;
    assert_int_equal(cf_map_open(source, &a), CF_OK);
    assert_int_equal(cf_map_open(path, &b), CF_OK);
    assert_int_equal(a.n_bytes, b.n_bytes);
    assert_memory_equal(a.bytes, b.bytes, a.n_bytes);
    cf_map_close(&b);
    cf_map_close(&a);
}

static ino_t inode(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static size_t count_files(const char *ending)
{
    cf_strings names = {0};
    size_t n = 0;
    assert_int_equal(cf_dir_list(own, &names), CF_OK);
    for (size_t i = 0; i < names.n; i++) n += strstr(names.items[i], ending) != NULL;
    cf_strings_fini(&names);
    return n;
}

static cf_err count_move(void *context)
{
    ++*(int *)context;
    return CF_OK;
}

/* A stop that comes when so many chunks are left to move. */
static cf_err stop_later(void *context)
{
    return --*(int *)context >= 0 ? CF_OK : cf_fail(CF_E_REQUEUE, "stopped");
}

static void copies_and_keeps_it_for_the_next_job(void **state)
{
    (void)state;
    char first[CF_PATH_MAX], second[CF_PATH_MAX];
    struct stat st;
    int moves = 0;
    cf_stage s = stage_of(7);
    s.moved = count_move;
    s.context = &moves;
    assert_int_equal(cf_stage_copy(&s, first), CF_OK);
    assert_same_bytes(first);
    assert_true(moves >= 6); /* three chunks, written and read again */
    assert_string_not_equal(first, source);
    ino_t made = inode(first);
    assert_int_equal(cf_stage_copy(&s, second), CF_OK);
    assert_string_equal(first, second);
    assert_true(inode(second) == made);
    assert_int_equal(stat(own, &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    assert_int_equal(count_files(".tmp-"), 0);
}

static void a_stop_ends_the_copy_and_leaves_nothing(void **state)
{
    (void)state;
    char path[CF_PATH_MAX];
    for (int later = 0; later < 5; later++) { /* chunks are written three times, then read */
        int left = later;
        cf_stage s = stage_of(7);
        s.moved = stop_later;
        s.context = &left;
        assert_int_equal(cf_stage_copy(&s, path), CF_E_REQUEUE);
        assert_int_equal(count_files(".tmp-"), 0);
        assert_int_equal(count_files(".hash"), 0);
    }
    cf_stage s = stage_of(7);
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    ino_t made = inode(path);
    int left = 1;
    s.moved = stop_later;
    s.context = &left;
    assert_int_equal(cf_stage_copy(&s, path), CF_E_REQUEUE); /* while the kept copy is looked at */
    s.moved = NULL;
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    assert_true(inode(path) == made);
    assert_same_bytes(path);
}

static void a_process_reads_a_copy_once(void **state)
{
    (void)state;
    char path[CF_PATH_MAX], other[CF_PATH_MAX];
    int moves = 0;
    cf_stage_seen seen = {0};
    cf_stage s = stage_of(7);
    s.moved = count_move;
    s.context = &moves;
    s.seen = &seen;
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    moves = 0;
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    assert_int_equal(moves, 0);
    cf_stage t = stage_of(8); /* another file's copy */
    t.moved = count_move;
    t.context = &moves;
    t.seen = &seen;
    assert_int_equal(cf_stage_copy(&t, other), CF_OK);
    assert_true(moves > 0);
    moves = 0;
    assert_int_equal(cf_stage_copy(&s, path), CF_OK); /* no longer the last one */
    assert_true(moves > 0);
    cf_stage by_another = stage_of(7); /* process, while the old copy still has its number */
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(cf_stage_copy(&by_another, path), CF_OK);
    moves = 0;
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    assert_true(moves > 0);
    close(fd);
    assert_same_bytes(path);
}

static void makes_a_damaged_copy_again(void **state)
{
    (void)state;
    char path[CF_PATH_MAX];
    cf_stage s = stage_of(7);
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "!!", 2, N_BYTES - 5000), 2);
    close(fd);
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    assert_same_bytes(path);
    assert_int_equal(truncate(path, N_BYTES - 1), 0);
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    assert_same_bytes(path);
    char hash[CF_PATH_MAX + 8];
    snprintf(hash, sizeof hash, "%s.hash", path);
    assert_int_equal(unlink(hash), 0); /* killed between the copy and its hash */
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    assert_same_bytes(path);
}

/* Tasks of an array that start together on one node. */
static void one_of_several_processes_copies(void **state)
{
    (void)state;
    enum { N = 4 };
    char path[CF_PATH_MAX];
    pid_t children[N];
    cf_stage s = stage_of(7);
    for (int i = 0; i < N; i++) {
        children[i] = fork();
        if (children[i] != 0) continue;
        /* the inode tells whose copy this is: all must have the same */
        bool good = cf_stage_copy(&s, path) == CF_OK;
        _exit(good ? (int)(inode(path) & 0x7f) : 255);
    }
    int codes[N];
    for (int i = 0; i < N; i++) waitpid(children[i], &codes[i], 0);
    assert_int_equal(cf_stage_copy(&s, path), CF_OK);
    for (int i = 0; i < N; i++) assert_int_equal(WEXITSTATUS(codes[i]), inode(path) & 0x7f);
    assert_same_bytes(path);
    assert_int_equal(count_files(".tmp-"), 0);
}

static void refuses_a_folder_that_others_can_enter(void **state)
{
    (void)state;
    char path[CF_PATH_MAX];
    cf_stage s = stage_of(7);
    assert_int_equal(mkdir(own, 0700), 0);
    assert_int_equal(chmod(own, 0755), 0);
    assert_int_equal(cf_stage_copy(&s, path), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "an open one"));
    assert_int_equal(rmdir(own), 0);
    assert_int_equal(symlink(folder, own), 0);
    assert_int_equal(cf_stage_copy(&s, path), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "no folder"));
}

static void names_a_folder_that_is_not_there(void **state)
{
    (void)state;
    char path[CF_PATH_MAX];
    cf_stage s = stage_of(7);
    s.where = "/nowhere/at/all";
    assert_int_equal(cf_stage_copy(&s, path), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "/nowhere/at/all"));
    s = stage_of(7);
    s.path = "/nowhere/x.cells";
    assert_int_equal(cf_stage_copy(&s, path), CF_E_DATA);
}

static void makes_room_from_copies_of_other_runs(void **state)
{
    (void)state;
    char old[CF_PATH_MAX], kept[CF_PATH_MAX];
    cf_stage s = stage_of(1);
    assert_int_equal(cf_stage_copy(&s, old), CF_OK);
    s = stage_of(2);
    assert_int_equal(cf_stage_copy(&s, kept), CF_OK);
    assert_int_equal(cf_stage_make_room(own, 1, strrchr(kept, '/') + 1), CF_OK);
    assert_true(cf_path_exists(old)); /* there was room enough */
    assert_int_equal(cf_stage_make_room(own, 1ULL << 60, strrchr(kept, '/') + 1), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "1152921504606846976 bytes"));
    assert_false(cf_path_exists(old));
    assert_true(cf_path_exists(kept));
}

static void auto_passes_over_memory_and_the_files_own_disk(void **state)
{
    (void)state;
    struct statfs fs;
    char path[CF_PATH_MAX] = "", before[CF_PATH_MAX];
    const char *base = getenv("TMPDIR");
    snprintf(before, sizeof before, "%s", base != NULL ? base : "");
    setenv("TMPDIR", folder, 1);
    setenv("SLURM_TMPDIR", "/nowhere", 1);
    cf_err err = cf_stage_folder("auto", source, path);
    assert_true(err != CF_OK || strncmp(path, folder, strlen(folder)) != 0);
    if (statfs("/dev/shm", &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
        setenv("SLURM_TMPDIR", "/dev/shm", 1);
        err = cf_stage_folder("auto", source, path);
        assert_true(err != CF_OK || strncmp(path, "/dev/shm", 8) != 0);
    }
    unsetenv("SLURM_TMPDIR");
    if (err == CF_OK) (void)rmdir(path); /* the folder it chose, if nothing was there before */
    if (base != NULL)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_stop_ends_the_copy_and_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(copies_and_keeps_it_for_the_next_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_process_reads_a_copy_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(makes_a_damaged_copy_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_of_several_processes_copies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_a_folder_that_others_can_enter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_a_folder_that_is_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(makes_room_from_copies_of_other_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(auto_passes_over_memory_and_the_files_own_disk, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
