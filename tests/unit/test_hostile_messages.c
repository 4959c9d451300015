/* Hostile protobuf (RELIABILITY 9): every message that is read from a file or off the wire, given
 * nesting, floods of empty fields, lengths past the end and wrong types, each in a process of its
 * own. Refused, or passed over where protobuf allows unknown fields; never a crash, never more than
 * twice its size and 64 MB of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/wait.h>

#include "kernels/base/hash.h"
#include "proto/cells.h"
#include "proto/checkpoint.h"
#include "proto/control.h"
#include "tests/support/peak.h"
#include "tests/support/scratch.h"

enum { FLOOD = 2000000, HEADER_MOST = 1 << 20, TIME_LIMIT_S = 60 };
enum { BYTES = 2, VARINT = 0, FIXED64 = 1, GROUP = 3, FIXED32 = 5 }; /* wire types */

static char folder[CF_PATH_MAX];

/* ---- what is sent ----------------------------------------------------------------------------
 */

typedef struct payload {
    uint8_t *bytes;
    size_t n, room;
} payload;

static void put(payload *p, const void *bytes, size_t n)
{
    if (n > p->room - p->n) n = p->room - p->n;
    memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

static void put_byte(payload *p, unsigned byte)
{
    uint8_t b = (uint8_t)byte;
    put(p, &b, 1);
}

static void put_varint(payload *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) put_byte(p, (unsigned)(v & 0x7f) | 0x80);
    put_byte(p, (unsigned)v);
}

static void put_tag(payload *p, unsigned field, unsigned type)
{
    put_varint(p, (uint64_t)field << 3 | type);
}

/* Each field holds all that follows it: a message in a message, as deep as it goes. */
static void nest(payload *p, unsigned field)
{
    while (p->room - p->n > 8) {
        put_tag(p, field, BYTES);
        put_varint(p, p->room - p->n - 4); /* lengths of four bytes at most, here three */
    }
    while (p->n < p->room) put_byte(p, 0);
}

static void nest_unknown(payload *p)
{
    nest(p, 30);
}
static void nest_first(payload *p)
{
    nest(p, 1);
}
static void nest_groups(payload *p)
{
    while (p->n < p->room) put_tag(p, 1, GROUP);
}
static void flood_unknown(payload *p)
{
    for (; p->room - p->n >= 3; put_byte(p, 0)) put_tag(p, 30, BYTES);
}
/* Every known field is also given empty, again and again, whatever its type is. */
static void flood_known(payload *p)
{
    for (unsigned field = 1; p->room - p->n >= 3; field = field % 22 + 1) {
        put_tag(p, field, BYTES);
        put_byte(p, 0);
    }
}
static void flood_numbers(payload *p)
{
    for (unsigned field = 1; p->room - p->n >= 4; field = field % 22 + 1) {
        put_tag(p, field, VARINT);
        put_byte(p, 1);
    }
}
static void length_of_4_gib(payload *p)
{
    put_tag(p, 1, BYTES);
    put_varint(p, UINT32_MAX);
}
static void length_of_64_bits(payload *p)
{
    put_tag(p, 1, BYTES);
    put_varint(p, UINT64_MAX);
    put_byte(p, 'x');
}
static void length_one_too_many(payload *p)
{
    put_tag(p, 6, BYTES);
    put_varint(p, 11);
    put(p, "0123456789", 10);
}
static void varint_without_end(payload *p)
{
    put_tag(p, 3, VARINT);
    while (p->n < p->room) put_byte(p, 0xff);
}
static void field_zero(payload *p)
{
    put_byte(p, 0);
    put_byte(p, 1);
}
static void field_too_large(payload *p)
{
    put_varint(p, (uint64_t)UINT32_MAX << 3 | VARINT);
    put_byte(p, 1);
}
static void wire_types_that_are_none(payload *p)
{
    put_byte(p, 1 << 3 | 6);
    put_byte(p, 0);
}
/* Packed arrays of every field that end inside an element. */
static void cut_elements(payload *p)
{
    for (unsigned field = 1; field <= 22; field++) {
        put_tag(p, field, BYTES);
        put_varint(p, 3);
        put(p, "\x80\x80\x80", 3);
    }
}
static void fixed_for_everything(payload *p)
{
    for (unsigned field = 1; field <= 22; field++) {
        put_tag(p, field, field % 2 ? FIXED32 : FIXED64);
        put(p, "\xff\xff\xff\xff\xff\xff\xff\xff", field % 2 ? 4 : 8);
    }
}
static void all_ones(payload *p)
{
    while (p->n < p->room) put_byte(p, 0xff);
}

typedef struct attack {
    const char *name;
    void (*fill)(payload *);
    bool valid; /* as protobuf goes: unknown fields may be passed over */
} attack;
static const attack attacks[] = {
    {"nested unknown fields", nest_unknown, true},
    {"nested first fields", nest_first, true},
    {"groups", nest_groups, false},
    {"2 MB of empty unknown messages", flood_unknown, true},
    {"2 MB of empty known messages", flood_known, true},
    {"2 MB of numbers", flood_numbers, true},
    {"a length of 4 GiB", length_of_4_gib, false},
    {"a length of 2^64 - 1", length_of_64_bits, false},
    {"a length one too many", length_one_too_many, false},
    {"a varint without end", varint_without_end, false},
    {"field 0", field_zero, true},
    {"field 2^32 - 1", field_too_large, true},
    {"a wire type that is none", wire_types_that_are_none, false},
    {"arrays that end inside an element", cut_elements, true},
    {"fixed numbers for everything", fixed_for_everything, true},
    {"all ones", all_ones, false},
};
enum { N_ATTACKS = sizeof attacks / sizeof *attacks };

/* ---- who reads it ----------------------------------------------------------------------------
 */

static void save(const char *path, const uint8_t *head, size_t n_head, const payload *p,
                 size_t n_tail)
{
    static const uint8_t zeros[4096];
    FILE *f = fopen(path, "wb");
    if (f == NULL) _exit(90);
    bool ok = fwrite(head, 1, n_head, f) == n_head && fwrite(p->bytes, 1, p->n, f) == p->n &&
              fwrite(zeros, 1, n_tail, f) == n_tail;
    if (fclose(f) != 0 || !ok) _exit(90);
}

/* A header whose checksum is right, in a file of the right shape around it. */
static cf_err read_checkpoint(const payload *p, int kind)
{
    (void)kind;
    static cf_checkpoint c;
    char path[CF_PATH_MAX];
    uint8_t head[24] = "CYTOCKPT";
    uint32_t words[] = {CF_CHECKPOINT_VERSION, (uint32_t)p->n, cf_crc32c(0, p->bytes, p->n), 0};
    memcpy(head + 8, words, sizeof words);
    if (cf_path_join(path, sizeof path, folder, "a.ckpt") != CF_OK) _exit(90);
    save(path, head, sizeof head, p, 200);
    return cf_checkpoint_read(path, &c);
}

static cf_err read_cells(const payload *p, int kind)
{
    (void)kind;
    cf_cells cells;
    char path[CF_PATH_MAX];
    uint8_t head[4096] = "CYTOCELL";
    uint32_t version = CF_CELLS_VERSION, bytes = (uint32_t)p->n;
    uint32_t crc = cf_crc32c(0, p->bytes, p->n);
    uint64_t offset = sizeof head;
    memcpy(head + 8, &version, 4);
    memcpy(head + 12, &bytes, 4);
    memcpy(head + 16, &offset, 8);
    memcpy(head + 24, &offset, 8);
    memcpy(head + 32, &crc, 4);
    if (cf_path_join(path, sizeof path, folder, "a.cells") != CF_OK) _exit(90);
    save(path, head, sizeof head, p, 0);
    return cf_cells_open_any(path, &cells);
}

static cf_err read_message(const payload *p, int kind)
{
    cf_message m;
    uint8_t *bytes = malloc(p->n + 2);
    if (bytes == NULL) _exit(90);
    bytes[0] = (uint8_t)kind;
    bytes[1] = 1;
    memcpy(bytes + 2, p->bytes, p->n);
    cf_err err = cf_message_unpack(bytes, p->n + 2, &m);
    if (err == CF_OK) cf_message_fini(&m);
    free(bytes);
    return err;
}

typedef struct victim {
    const char *name;
    cf_err (*read)(const payload *, int);
    int kind;
    size_t most; /* bytes that it takes at all */
    cf_err refusal;
} victim;
static const victim victims[] = {
    {"checkpoint", read_checkpoint, 0, HEADER_MOST, CF_E_CHECKPOINT},
    {"cells file", read_cells, 0, FLOOD, CF_E_DATA},
    {"hello", read_message, CF_MSG_HELLO, FLOOD, CF_E_DEVICE},
    {"plan", read_message, CF_MSG_PLAN, FLOOD, CF_E_DEVICE},
    {"progress", read_message, CF_MSG_PROGRESS, FLOOD, CF_E_DEVICE},
    {"result", read_message, CF_MSG_RESULT, FLOOD, CF_E_DEVICE},
    {"done", read_message, CF_MSG_DONE, FLOOD, CF_E_DEVICE},
    {"bye", read_message, CF_MSG_BYE, FLOOD, CF_E_DEVICE},
    {"watch", read_message, CF_MSG_WATCH, FLOOD, CF_E_DEVICE},
    {"stop", read_message, CF_MSG_STOP, FLOOD, CF_E_DEVICE},
};
enum { N_VICTIMS = sizeof victims / sizeof *victims };

/* ---- one case --------------------------------------------------------------------------------
 */

enum { REFUSED = 0, TAKEN = 1, WRONG_CODE = 2, TOO_MUCH_MEMORY = 3 };

/* In the child: never returns. A file's message has no room for what is not known. */
static void attack_in_child(const attack *a, const victim *v)
{
    payload p = {.bytes = malloc(v->most), .room = v->most};
    if (p.bytes == NULL) _exit(90);
    a->fill(&p);
    alarm(TIME_LIMIT_S);
    size_t before = peak_bytes();
    cf_err err = v->read(&p, v->kind);
    size_t used = peak_bytes() - before;
    if (err != CF_OK && err != v->refusal) {
        fprintf(stderr, "code %d: %s\n", (int)err, cf_err_text());
        _exit(WRONG_CODE);
    }
    if (peak_is_ours() && used > 2 * p.n + (size_t)64 * 1000 * 1000) _exit(TOO_MUCH_MEMORY);
    _exit(err == CF_OK ? TAKEN : REFUSED);
}

static int outcome(const attack *a, const victim *v)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) attack_in_child(a, v);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static void hostile_messages_are_refused_within_their_memory(void **state)
{
    (void)state;
    int refused = 0, taken = 0;
    for (int i = 0; i < N_ATTACKS; i++) {
        for (int k = 0; k < N_VICTIMS; k++) {
            const attack *a = &attacks[i];
            const victim *v = &victims[k];
            int end = outcome(a, v);
            bool file = v->refusal != CF_E_DEVICE;
            if (end != REFUSED && (end != TAKEN || file || !a->valid))
                fail_msg("%s with %s: outcome %d", v->name, a->name, end);
            refused += end == REFUSED;
            taken += end == TAKEN;
        }
    }
    print_message("%d hostile messages: %d refused, %d passed over by what the format allows, 0 "
                  "failed\n",
                  N_ATTACKS * N_VICTIMS, refused, taken);
    assert_true(refused >= 40);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_messages_are_refused_within_their_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
