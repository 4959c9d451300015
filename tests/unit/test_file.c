#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/file.h"

static char folder[] = "/tmp/cytofold-test-file-XXXXXX";

/* A path in this test's own folder; two of them may be alive at once. */
static const char *in_folder(const char *name)
{
    static char paths[4][CF_PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    assert_int_equal(cf_path_join(path, CF_PATH_MAX, folder, name), CF_OK);
    return path;
}

static void assert_content(const char *path, const char *expected)
{
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(cf_file_read(path, 1 << 20, &text, &n), CF_OK);
    assert_int_equal(n, strlen(expected));
    assert_string_equal(text, expected);
    free(text);
}

static void assert_no_temporaries(void)
{
    cf_strings names;
    assert_int_equal(cf_dir_list(folder, &names), CF_OK);
    for (size_t i = 0; i < names.n; i++) assert_null(strstr(names.items[i], ".tmp-"));
    cf_strings_fini(&names);
}

static void saved_file_reads_back(void **state)
{
    (void)state;
    const char *path = in_folder("saved");
    assert_int_equal(cf_file_save(path, "first", 5), CF_OK);
    assert_content(path, "first");
    assert_int_equal(cf_file_save(path, "second text", 11), CF_OK);
    assert_content(path, "second text");
    assert_int_equal(cf_file_save(path, "", 0), CF_OK);
    assert_content(path, "");
    assert_no_temporaries();
}

static void reading_names_what_is_not_a_file(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    const char *missing = in_folder("missing"), *fifo = in_folder("fifo");
    assert_int_equal(cf_file_read(missing, 10, &text, &n), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), missing));
    assert_null(text);
    assert_int_equal(cf_file_read(folder, 10, &text, &n), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "found a folder"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(cf_file_read(fifo, 10, &text, &n),
                     CF_E_DATA); /* and does not wait for a writer */
    assert_non_null(strstr(cf_err_text(), fifo));
    cf_map map;
    assert_int_equal(cf_map_open(fifo, &map), CF_E_DATA);
}

static void reading_stops_at_the_limit(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    const char *path = in_folder("ten");
    assert_int_equal(cf_file_save(path, "0123456789", 10), CF_OK);
    assert_int_equal(cf_file_read(path, 10, &text, &n), CF_OK);
    free(text);
    assert_int_equal(cf_file_read(path, 9, &text, &n), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "at most 9 bytes, found 10"));
    assert_null(text);
    /* A file that gives no size beforehand: the limit holds all the same. */
    assert_int_equal(cf_file_read("/proc/self/status", 16, &text, &n), CF_E_DATA);
    assert_int_equal(cf_file_read("/proc/self/status", 1 << 20, &text, &n), CF_OK);
    assert_true(n > 16 && strlen(text) == n);
    free(text);
}

static void mapped_file_has_the_bytes(void **state)
{
    (void)state;
    cf_map map;
    const char *path = in_folder("mapped");
    assert_int_equal(cf_file_save(path, "abc", 3), CF_OK);
    assert_int_equal(cf_map_open(path, &map), CF_OK);
    assert_int_equal(map.n_bytes, 3);
    assert_memory_equal(map.bytes, "abc", 3);
    cf_map_close(&map);
    assert_int_equal(cf_file_save(path, "", 0), CF_OK);
    assert_int_equal(cf_map_open(path, &map), CF_OK);
    assert_null(map.bytes);
    cf_map_close(&map);
}

static void uncommitted_write_leaves_the_old_file(void **state)
{
    (void)state;
    const char *path = in_folder("kept");
    cf_file file;
    assert_int_equal(cf_file_save(path, "old", 3), CF_OK);
    assert_int_equal(cf_file_create(path, &file), CF_OK);
    assert_int_equal(cf_file_write(&file, "new", 3), CF_OK);
    assert_content(path, "old");
    cf_file_abandon(&file);
    cf_file_abandon(&file);
    assert_content(path, "old");
    assert_no_temporaries();
}

static void write_at_changes_what_is_there_only(void **state)
{
    (void)state;
    const char *path = in_folder("patched");
    cf_file file;
    assert_int_equal(cf_file_create(path, &file), CF_OK);
    assert_int_equal(cf_file_write(&file, "____body", 8), CF_OK);
    assert_int_equal(cf_file_write_at(&file, 0, "HEAD", 4), CF_OK);
    assert_int_equal(cf_file_write_at(&file, 6, "xyz", 3), CF_E_UNEXPECTED);
    assert_int_equal(cf_file_write(&file, "!", 1), CF_OK);
    assert_int_equal(file.offset, 9);
    assert_int_equal(cf_file_commit(&file), CF_OK);
    cf_file_abandon(&file);
    assert_content(path, "HEADbody!");
}

/* The size limit gives a short write first and an error then, as a disk that fills up does. */
static void write_cut_short_fails_and_keeps_the_old_file(void **state)
{
    (void)state;
    enum { LIMIT = 4096, WANTED = 10000 };
    static const char zeros[WANTED];
    const char *path = in_folder("limited");
    assert_int_equal(cf_file_save(path, "old", 3), CF_OK);
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){.rlim_cur = LIMIT, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cf_err err = cf_file_save(path, zeros, WANTED);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(err, CF_E_DISK);
    char expected[64];
    snprintf(expected, sizeof expected, "write needs %d bytes", WANTED - LIMIT);
    assert_non_null(strstr(cf_err_text(), expected));
    assert_content(path, "old");
    assert_no_temporaries();
}

static void full_disk_tells_bytes_needed_and_free(void **state)
{
    (void)state;
    if (access("/dev/full", W_OK) != 0) skip();
    assert_int_equal(cf_file_append("/dev/full", "line\n", 5), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "/dev/full"));
    assert_non_null(strstr(cf_err_text(), "needs 5 bytes"));
    assert_non_null(strstr(cf_err_text(), "bytes are free"));
    assert_non_null(strstr(cf_err_text(), "No space left"));
}

static void folder_that_cannot_be_written_is_named(void **state)
{
    (void)state;
    cf_file file;
    assert_int_equal(cf_file_create("/proc/cytofold-x", &file), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "/proc/cytofold-x"));
    assert_int_equal(file.fd, -1);
    const char *lost = in_folder("no/such/folder");
    assert_int_equal(cf_file_save(lost, "x", 1), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), lost));
    assert_int_equal(cf_dir_make("/proc/cytofold-x/y"), CF_E_DISK);
}

static void failed_rename_removes_the_temporary(void **state)
{
    (void)state;
    const char *path = in_folder("taken");
    assert_int_equal(cf_dir_make(in_folder("taken/inside")), CF_OK);
    assert_int_equal(cf_file_save(path, "x", 1), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "rename"));
    assert_true(cf_path_is_dir(path));
    assert_no_temporaries();
}

typedef struct hammer {
    int fd;
    pthread_t writer;
    atomic_bool done;
    size_t received;
    unsigned sum;
} hammer;

static void do_nothing(int signal_number)
{
    (void)signal_number;
}

/* Drains the pipe, interrupting the writer before each read. */
static void *drain(void *arg)
{
    hammer *h = arg;
    unsigned char chunk[777];
    for (;;) {
        if (!atomic_load(&h->done)) pthread_kill(h->writer, SIGUSR1);
        ssize_t n = read(h->fd, chunk, sizeof chunk);
        if (n <= 0) return NULL;
        for (ssize_t i = 0; i < n; i++) h->sum += chunk[i];
        h->received += (size_t)n;
    }
}

/* A pipe gives what a disk gives rarely: EINTR and short writes in every combination. */
static void interrupted_writes_lose_nothing(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20 };
    int ends[2];
    pthread_t reader;
    assert_int_equal(pipe(ends), 0);
    struct sigaction action = {.sa_handler = do_nothing}, before; /* no SA_RESTART */
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    unsigned char *bytes = malloc(BYTES);
    assert_non_null(bytes);
    unsigned sum = 0;
    for (int i = 0; i < BYTES; i++) {
        bytes[i] = (unsigned char)(i * 31 + i / 251);
        sum += bytes[i];
    }
    hammer h = {.fd = ends[0], .writer = pthread_self()};
    cf_file file = {.fd = ends[1]};
    assert_int_equal(pthread_create(&reader, NULL, drain, &h), 0);
    assert_int_equal(cf_file_write(&file, bytes, BYTES), CF_OK);
    atomic_store(&h.done, true);
    close(ends[1]);
    assert_int_equal(pthread_join(reader, NULL), 0);
    close(ends[0]);
    sigaction(SIGUSR1, &before, NULL);
    free(bytes);
    assert_int_equal(h.received, BYTES);
    assert_int_equal(h.sum, sum);
    assert_int_equal(file.offset, BYTES);
}

static void appended_lines_follow_each_other(void **state)
{
    (void)state;
    const char *path = in_folder("log");
    assert_int_equal(cf_file_append(path, "a\n", 2), CF_OK);
    assert_int_equal(cf_file_append(path, "b\n", 2), CF_OK);
    assert_content(path, "a\nb\n");
    assert_int_equal(cf_file_append(path, "torn", 4), CF_OK);
    assert_int_equal(cf_file_append(path, "c\n", 2), CF_OK);
    assert_content(path, "a\nb\ntorn\nc\n");
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    const char *deep = in_folder("one/two//three/");
    assert_int_equal(cf_dir_make(deep), CF_OK);
    assert_int_equal(cf_dir_make(deep), CF_OK);
    assert_true(cf_path_is_dir(in_folder("one/two/three")));
    assert_int_equal(cf_file_save(in_folder("plain"), "x", 1), CF_OK);
    assert_false(cf_path_is_dir(in_folder("plain")));
    assert_true(cf_path_exists(in_folder("plain")));
    assert_int_equal(cf_dir_make(in_folder("plain")), CF_E_DISK);
    assert_int_equal(cf_dir_make(in_folder("plain/below")), CF_E_DISK);
    assert_int_equal(cf_dir_make(""), CF_E_DISK);
}

static void paths_are_joined_within_bounds(void **state)
{
    (void)state;
    char path[8];
    assert_int_equal(cf_path_join(path, sizeof path, "a", "b"), CF_OK);
    assert_string_equal(path, "a/b");
    assert_int_equal(cf_path_join(path, sizeof path, path, "c"), CF_OK);
    assert_string_equal(path, "a/b/c");
    assert_int_equal(cf_path_join(path, sizeof path, "ab/", "cd"), CF_OK);
    assert_string_equal(path, "ab/cd");
    assert_int_equal(cf_path_join(path, sizeof path, "", "x"), CF_OK);
    assert_string_equal(path, "x");
    assert_int_equal(cf_path_join(path, sizeof path, "abc", "def"),
                     CF_OK); /* 7 bytes and the NUL */
    assert_int_equal(cf_path_join(path, sizeof path, "abc", "defg"), CF_E_USAGE);
}

static void names_that_leave_their_folder_are_unsafe(void **state)
{
    (void)state;
    const char *const safe[] = {"NGB", "a b", ".hidden", "...", "z\xc3\xa4hl", "=cmd()"};
    const char *const unsafe[] = {"", ".", "..", "a/b", "/", "a\nb", "\x1b[2J", "a\x7f"};
    for (size_t i = 0; i < sizeof safe / sizeof *safe; i++) assert_true(cf_name_is_safe(safe[i]));
    for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++) {
        assert_false(cf_name_is_safe(unsafe[i]));
    }
    char longest[202];
    memset(longest, 'a', 201);
    longest[201] = '\0';
    assert_false(cf_name_is_safe(longest));
    assert_true(cf_name_is_safe(longest + 1));
}

static void folder_is_listed_in_byte_order(void **state)
{
    (void)state;
    const char *const names[] = {"b", "B", "a10", "a2", "\xc3\xa4", "_"};
    const char *const sorted[] = {"B", "_", "a10", "a2", "b", "\xc3\xa4"};
    const char *sub = in_folder("listed");
    assert_int_equal(cf_dir_make(sub), CF_OK);
    for (int i = 0; i < 6; i++) {
        char path[CF_PATH_MAX];
        assert_int_equal(cf_path_join(path, sizeof path, sub, names[i]), CF_OK);
        assert_int_equal(cf_file_save(path, "", 0), CF_OK);
    }
    cf_strings list;
    assert_int_equal(cf_dir_list(sub, &list), CF_OK);
    assert_int_equal(list.n, 6);
    for (int i = 0; i < 6; i++) assert_string_equal(list.items[i], sorted[i]);
    cf_strings_fini(&list);
    assert_int_equal(cf_dir_list(in_folder("nowhere"), &list), CF_E_DATA);
    assert_int_equal(list.n, 0);
}

static void leave_temporary(const char *path)
{
    cf_file file;
    if (cf_file_create(path, &file) == CF_OK) _exit(0);
    _exit(1);
}

/* Of a process that is gone; one that still writes, and other hosts', keep theirs. */
static void tidying_removes_what_a_dead_process_has_left(void **state)
{
    (void)state;
    char writing[CF_PATH_MAX];
    cf_strings names;
    const char *foreign = in_folder("table.csv.tmp-00000000-1"), *plain = in_folder("a.tmp-b");
    pid_t child = fork();
    if (child == 0) leave_temporary(in_folder("table.csv"));
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    snprintf(writing, sizeof writing, "%s", in_folder("parent.csv"));
    assert_int_equal(cf_file_save(foreign, "x", 1), CF_OK);
    assert_int_equal(cf_file_save(plain, "x", 1), CF_OK);
    cf_file file;
    assert_int_equal(cf_file_create(writing, &file), CF_OK);
    pid_t tidier = fork(); /* to which this process, with its file, is another */
    if (tidier == 0) {
        cf_dir_tidy(folder);
        _exit(0);
    }
    assert_int_equal(waitpid(tidier, &status, 0), tidier);
    assert_int_equal(cf_dir_list(folder, &names), CF_OK);
    int n = 0;
    for (size_t i = 0; i < names.n; i++) {
        n += strstr(names.items[i], ".tmp-") != NULL;
    }
    cf_strings_fini(&names);
    assert_int_equal(n, 3); /* what is being written, another host's, and a name of no temporary */
    cf_file_abandon(&file);
    assert_int_equal(unlink(foreign), 0);
    assert_int_equal(unlink(plain), 0);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saved_file_reads_back),
        cmocka_unit_test(reading_names_what_is_not_a_file),
        cmocka_unit_test(reading_stops_at_the_limit),
        cmocka_unit_test(mapped_file_has_the_bytes),
        cmocka_unit_test(uncommitted_write_leaves_the_old_file),
        cmocka_unit_test(write_at_changes_what_is_there_only),
        cmocka_unit_test(write_cut_short_fails_and_keeps_the_old_file),
        cmocka_unit_test(full_disk_tells_bytes_needed_and_free),
        cmocka_unit_test(folder_that_cannot_be_written_is_named),
        cmocka_unit_test(failed_rename_removes_the_temporary),
        cmocka_unit_test(interrupted_writes_lose_nothing),
        cmocka_unit_test(appended_lines_follow_each_other),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(paths_are_joined_within_bounds),
        cmocka_unit_test(names_that_leave_their_folder_are_unsafe),
        cmocka_unit_test(tidying_removes_what_a_dead_process_has_left),
        cmocka_unit_test(folder_is_listed_in_byte_order),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
