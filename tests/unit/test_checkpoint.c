/* Checkpoints: what is written comes back; whatever is wrong with a file is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/hash.h"
#include "proto/checkpoint.h"
#include "tests/support/peak.h"
#include "tests/support/scratch.h"

enum { N_WEIGHTS = 7, N_STATE = 3 };

/* A checkpoint with two flat buffers and three entries, small enough to damage every bit of. */
typedef struct sample {
    cf_checkpoint c;
    float weights[N_WEIGHTS], state[N_STATE];
    cf_tensor_entry entries[3];
} sample;

static char folder[CF_PATH_MAX]; /* made by the group's setup */
static char path[CF_PATH_MAX];

static void fill_sample(sample *s)
{
    memset(s, 0, sizeof *s);
    for (int i = 0; i < N_WEIGHTS; i++) s->weights[i] = 0.5f + (float)i;
    for (int i = 0; i < N_STATE; i++) s->state[i] = -1.25f * (float)i;
    s->entries[0] = (cf_tensor_entry){
        .name = "stem.weight", .flat = "weights", .rank = 4, .dim = {1, 2, 1, 2}, .offset = 0};
    s->entries[1] = (cf_tensor_entry){
        .name = "fc.weight", .flat = "weights", .rank = 1, .dim = {3}, .offset = 4};
    s->entries[2] = (cf_tensor_entry){
        .name = "stem.mean", .flat = "state", .rank = 2, .dim = {3, 1}, .offset = 0};
    s->c = (cf_checkpoint){.program_version = "0.1.0",
                           .fold = 4,
                           .step = 1234567890123,
                           .epoch = 12,
                           .steps_per_epoch = 67,
                           .total_steps = 1340,
                           .loss_sum = 0.1,
                           .correct_sum = 0.7,
                           .summed_steps = 66,
                           .config_hash = 0xfedcba9876543210u,
                           .data_hash = 0x0123456789abcdefu,
                           .config = "train:\n  epochs: 20\n",
                           .n_flats = 2,
                           .n_entries = 3};
    s->c.flats[0] = (cf_flat){.name = "weights", .count = N_WEIGHTS, .data = s->weights};
    s->c.flats[1] = (cf_flat){.name = "state", .count = N_STATE, .data = s->state};
    s->c.entries = s->entries;
}

static void write_sample(void)
{
    static sample s;
    fill_sample(&s);
    assert_int_equal(cf_checkpoint_write(path, &s.c), CF_OK);
}

static void load_file(uint8_t **bytes, size_t *n)
{
    assert_int_equal(cf_file_read(path, 1 << 20, (char **)bytes, n), CF_OK);
}

static void save_file(const uint8_t *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void assert_refused(const char *what)
{
    static cf_checkpoint c;
    cf_err err = cf_checkpoint_read(path, &c);
    if (err != CF_E_CHECKPOINT) print_error("%s: code %d\n", what, (int)err);
    assert_int_equal(err, CF_E_CHECKPOINT);
    assert_null(c.storage);
    assert_non_null(strstr(cf_err_text(), path));
}

static void checkpoint_comes_back_as_written(void **state)
{
    (void)state;
    static sample s;
    static cf_checkpoint c;
    fill_sample(&s);
    assert_int_equal(cf_checkpoint_write(path, &s.c), CF_OK);
    assert_int_equal(cf_checkpoint_read(path, &c), CF_OK);
    assert_string_equal(c.program_version, "0.1.0");
    assert_int_equal(c.fold, 4);
    assert_int_equal(c.step, 1234567890123);
    assert_int_equal(c.epoch, 12);
    assert_int_equal(c.steps_per_epoch, 67);
    assert_int_equal(c.total_steps, 1340);
    assert_true(c.loss_sum == 0.1 && c.correct_sum == 0.7);
    assert_int_equal(c.summed_steps, 66);
    assert_true(c.config_hash == s.c.config_hash && c.data_hash == s.c.data_hash);
    assert_string_equal(c.config, s.c.config);
    assert_int_equal(c.n_flats, 2);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(c.flats[i].name, s.c.flats[i].name);
        assert_int_equal(c.flats[i].count, s.c.flats[i].count);
        assert_int_equal((uintptr_t)c.flats[i].data % 64, 0);
        assert_memory_equal(c.flats[i].data, s.c.flats[i].data,
                            (size_t)c.flats[i].count * sizeof(float));
    }
    assert_int_equal(c.n_entries, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(c.entries[i].name, s.entries[i].name);
        assert_string_equal(c.entries[i].flat, s.entries[i].flat);
        assert_int_equal(c.entries[i].rank, s.entries[i].rank);
        assert_int_equal(c.entries[i].offset, s.entries[i].offset);
        assert_memory_equal(c.entries[i].dim, s.entries[i].dim, sizeof s.entries[i].dim);
    }
    cf_checkpoint_fini(&c);
}

static void checkpoint_without_tensors_comes_back(void **state)
{
    (void)state;
    static cf_checkpoint empty, c;
    assert_int_equal(cf_checkpoint_write(path, &empty), CF_OK);
    assert_int_equal(cf_checkpoint_read(path, &c), CF_OK);
    assert_int_equal(c.n_flats, 0);
    assert_int_equal(c.n_entries, 0);
    cf_checkpoint_fini(&c);
}

/* Same content, same bytes: runs are compared by their final checkpoints. */
static void same_checkpoint_is_the_same_bytes(void **state)
{
    (void)state;
    uint8_t *first = NULL, *second = NULL;
    size_t n = 0, m = 0;
    write_sample();
    load_file(&first, &n);
    write_sample();
    load_file(&second, &m);
    assert_int_equal(n, m);
    assert_memory_equal(first, second, n);
    free(first);
    free(second);
}

static void every_flipped_bit_is_refused(void **state)
{
    (void)state;
    static cf_checkpoint c;
    uint8_t *bytes = NULL;
    size_t n = 0;
    write_sample();
    load_file(&bytes, &n);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        uint8_t flipped = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
        cf_err err = cf_checkpoint_read(path, &c);
        const char *text = cf_err_text();
        if (err != CF_E_CHECKPOINT || !(strstr(text, "byte ") || strstr(text, "tensor "))) {
            fail_msg("bit %zu of byte %zu: code %d, %s", bit % 8, bit / 8, (int)err, text);
        }
        assert_int_equal(pwrite(fd, &bytes[bit / 8], 1, (off_t)(bit / 8)), 1);
    }
    close(fd);
    print_message("%zu bits, all refused\n", 8 * n);
    assert_int_equal(cf_checkpoint_read(path, &c), CF_OK); /* all bits are back */
    cf_checkpoint_fini(&c);
    free(bytes);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    static cf_checkpoint c;
    struct stat st;
    write_sample();
    assert_int_equal(stat(path, &st), 0);
    for (off_t n = st.st_size - 1; n >= 0; n--) {
        assert_int_equal(truncate(path, n), 0);
        cf_err err = cf_checkpoint_read(path, &c);
        char at[64];
        snprintf(at, sizeof at, "truncated at byte %lld", (long long)n);
        if (err != CF_E_CHECKPOINT || !strstr(cf_err_text(), at)) {
            fail_msg("%lld bytes: code %d, %s", (long long)n, (int)err, cf_err_text());
        }
    }
    print_message("%lld lengths, all refused\n", (long long)st.st_size);
}

static void bytes_after_the_end_are_refused(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    size_t n = 0;
    write_sample();
    load_file(&bytes, &n);
    save_file(bytes, n);
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    fputc(0, f);
    fclose(f);
    assert_refused("one byte more");
    free(bytes);
}

static void damaged_tensor_is_named(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    size_t n = 0;
    write_sample();
    load_file(&bytes, &n);
    size_t footer = n - 24, state_block = footer - 64;
    bytes[state_block + 5] ^= 1;
    save_file(bytes, n);
    assert_refused("state");
    assert_non_null(strstr(cf_err_text(), "tensor state"));
    free(bytes);
}

static void other_versions_are_refused_by_number(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    size_t n = 0;
    write_sample();
    load_file(&bytes, &n);
    bytes[8] = 2;
    save_file(bytes, n);
    assert_refused("version 2");
    assert_non_null(strstr(cf_err_text(), "version 2 (newer); this program reads 1"));
    bytes[8] = 0;
    save_file(bytes, n);
    assert_refused("version 0");
    assert_non_null(strstr(cf_err_text(), "version 0 (older); this program reads 1"));
    free(bytes);
}

static void files_that_are_no_checkpoints_are_refused(void **state)
{
    (void)state;
    char dir[CF_PATH_MAX];
    static cf_checkpoint c;
    save_file((const uint8_t *)"CYTOCELL\1\0\0\0 and more bytes that mean something else....", 56);
    assert_refused("cells file");
    save_file((const uint8_t *)"", 0);
    assert_refused("empty file");
    unlink(path);
    assert_refused("missing file");
    snprintf(dir, sizeof dir, "%.4000s/folder", folder);
    assert_int_equal(mkdir(dir, 0700), 0);
    /* There, but not to be read: that says nothing about a checkpoint. */
    assert_int_equal(cf_checkpoint_read(dir, &c), CF_E_DISK);
}

/* A header whose checksum is right but which lies: `header` in a file of the right shape around it.
 */
static void save_header(const uint8_t *header, size_t n)
{
    size_t total = 24 + n + 200;
    uint8_t *bytes = calloc(total, 1);
    uint32_t version = 1, size = (uint32_t)n, crc = cf_crc32c(0, header, n);
    memcpy(bytes, "CYTOCKPT", 8);
    memcpy(bytes + 8, &version, 4);
    memcpy(bytes + 12, &size, 4);
    memcpy(bytes + 16, &crc, 4);
    memcpy(bytes + 24, header, n);
    save_file(bytes, total);
    free(bytes);
}

/* Fields: 0x0a = field 1, bytes; 0x5a = field 11, bytes; 0x62 = field 12, packed; 0x6a = field 13.
 */
static void hostile_headers_are_refused_within_their_memory(void **state)
{
    (void)state;
    enum { MOST = 1 << 20 };
    uint8_t *header = malloc(MOST);
    size_t before = peak_bytes();

    for (size_t i = 0; i < MOST; i++)
        header[i] = i % 2 ? 0x00 : 0x7a; /* 512 K unknown empty fields */
    save_header(header, MOST);
    assert_refused("empty sub-messages");
    for (size_t i = 0; i < MOST; i++) header[i] = i % 2 ? 0x00 : 0x5a; /* a field 500,000 times */
    save_header(header, MOST);
    assert_refused("one field many times");
    memset(header, 0xff, MOST);
    save_header(header, MOST);
    assert_refused("all ones");
    memset(header, 0x0b, MOST); /* start of group, a million deep */
    save_header(header, MOST);
    assert_refused("groups");
    /* Nested lengths: each field is a message that holds the rest. */
    for (size_t i = 0; i + 5 <= MOST; i += 5) {
        memcpy(header + i, "\x7a\xff\xff\xff\x00", 5);
    }
    save_header(header, MOST);
    assert_refused("nesting");
    memcpy(header, "\x0a\xff\xff\xff\xff\x0f", 6); /* 4 GiB of text in 6 bytes */
    save_header(header, 6);
    assert_refused("length past the end");
    memcpy(header, "\x62\x01\x05\x6a\x01\x05\x5a\x05world", 13); /* one column of two is missing */
    save_header(header, 13);
    assert_refused("tables of different lengths");
    free(header);
    size_t used = peak_bytes() - before;
    print_message("hostile headers took %zu KiB at most\n", used / 1024);
    if (peak_is_ours()) assert_true(used < 2 * MOST + (size_t)64 * 1000 * 1000);
}

static void impossible_checkpoints_are_not_written(void **state)
{
    (void)state;
    static sample s;
    unlink(path);
    fill_sample(&s);
    s.entries[1].offset = 5; /* 5 + 3 elements of 7 */
    assert_int_equal(cf_checkpoint_write(path, &s.c), CF_E_UNEXPECTED);
    assert_non_null(strstr(cf_err_text(), "fc.weight"));
    fill_sample(&s);
    strcpy(s.entries[2].flat, "moments");
    assert_int_equal(cf_checkpoint_write(path, &s.c), CF_E_UNEXPECTED);
    fill_sample(&s);
    s.c.step = -1;
    assert_int_equal(cf_checkpoint_write(path, &s.c), CF_E_UNEXPECTED);
    fill_sample(&s);
    s.c.n_flats = CF_CHECKPOINT_MAX_TENSORS + 1;
    assert_int_equal(cf_checkpoint_write(path, &s.c), CF_E_UNEXPECTED);
    assert_false(cf_path_exists(path));
}

static void full_disk_tells_bytes_needed(void **state)
{
    (void)state;
    static sample s;
    fill_sample(&s);
    assert_int_equal(cf_checkpoint_write("/nowhere/at/all.ckpt", &s.c), CF_E_DISK);
    assert_non_null(strstr(cf_err_text(), "checkpoint of "));
    assert_non_null(strstr(cf_err_text(), "/nowhere/at/all.ckpt"));
}

static void newest_checkpoint_is_told_by_its_end(void **state)
{
    (void)state;
    static sample s;
    static const char *const names[] = {"checkpoint-9.ckpt", "checkpoint-10.ckpt",
                                        "checkpoint-11.ckpt", "checkpoint-12.ckpt.tmp-1"};
    char dir[CF_PATH_MAX], file[CF_PATH_MAX];
    uint64_t mark = 7, first = 0;
    bool found = true;
    snprintf(dir, sizeof dir, "%.4000s/fold-0", folder);
    assert_int_equal(cf_checkpoint_newest_mark(dir, &mark, &found), CF_OK);
    assert_true(!found && mark == 7);
    assert_int_equal(cf_dir_make(dir), CF_OK);
    for (int i = 0; i < 4; i++) { /* each of other weights */
        fill_sample(&s);
        s.weights[0] = (float)i;
        assert_int_equal(cf_path_join(file, sizeof file, dir, names[i]), CF_OK);
        assert_int_equal(cf_checkpoint_write(file, &s.c), CF_OK);
        if (i != 2) continue;
        assert_int_equal(truncate(file, 100), 0); /* no checkpoint: passed over */
    }
    assert_int_equal(cf_checkpoint_newest_mark(dir, &mark, &found), CF_OK);
    assert_true(found && mark != 7);
    first = mark;
    assert_int_equal(cf_path_join(file, sizeof file, dir, names[1]), CF_OK);
    cf_map map;
    assert_int_equal(cf_map_open(file, &map), CF_OK);
    assert_true(cf_hash64(map.bytes, map.n_bytes - 16) == first); /* of all before it */
    cf_map_close(&map);
    assert_int_equal(remove(file), 0);
    assert_int_equal(cf_checkpoint_newest_mark(dir, &mark, &found), CF_OK);
    assert_true(found && mark != first);
}

/* A training beside us removes the older of its checkpoints whenever it saves. */
static void checkpoints_that_go_meanwhile_are_passed_over(void **state)
{
    (void)state;
    static sample s;
    char dir[CF_PATH_MAX], file[CF_PATH_MAX];
    uint64_t mark = 7;
    bool found = false;
    fill_sample(&s);
    snprintf(dir, sizeof dir, "%.4000s/fold-1", folder);
    assert_int_equal(cf_dir_make(dir), CF_OK);
    assert_int_equal(cf_path_join(file, sizeof file, dir, "checkpoint-30.ckpt"), CF_OK);
    assert_int_equal(symlink("gone", file), 0); /* listed, but cannot be opened any more */
    assert_int_equal(cf_checkpoint_newest_mark(dir, &mark, &found), CF_OK);
    assert_true(!found && mark == 7);
    assert_int_equal(cf_path_join(file, sizeof file, dir, "checkpoint-20.ckpt"), CF_OK);
    assert_int_equal(cf_checkpoint_write(file, &s.c), CF_OK);
    assert_int_equal(cf_path_join(file, sizeof file, dir, "checkpoint-3.ckpt"), CF_OK);
    assert_int_equal(cf_dir_make(file), CF_OK); /* an older one is not even opened */
    if (cf_checkpoint_newest_mark(dir, &mark, &found) != CF_OK) fail_msg("%s", cf_err_text());
    assert_true(found && mark != 7);
    assert_int_equal(cf_path_join(file, sizeof file, dir, "checkpoint-40.ckpt"), CF_OK);
    assert_int_equal(cf_dir_make(file), CF_OK);
    assert_int_equal(cf_checkpoint_newest_mark(dir, &mark, &found), CF_E_DATA);
    assert_non_null(strstr(cf_err_text(), "checkpoint-40.ckpt"));
}

static int make_folder(void **state)
{
    (void)state;
    if (!scratch_make(folder)) return -1;
    return cf_path_join(path, sizeof path, folder, "a.ckpt") == CF_OK ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoint_comes_back_as_written),
        cmocka_unit_test(checkpoint_without_tensors_comes_back),
        cmocka_unit_test(same_checkpoint_is_the_same_bytes),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(bytes_after_the_end_are_refused),
        cmocka_unit_test(damaged_tensor_is_named),
        cmocka_unit_test(other_versions_are_refused_by_number),
        cmocka_unit_test(files_that_are_no_checkpoints_are_refused),
        cmocka_unit_test(hostile_headers_are_refused_within_their_memory),
        cmocka_unit_test(impossible_checkpoints_are_not_written),
        cmocka_unit_test(full_disk_tells_bytes_needed),
        cmocka_unit_test(newest_checkpoint_is_told_by_its_end),
        cmocka_unit_test(checkpoints_that_go_meanwhile_are_passed_over),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
