/* A target without libFuzzer: every seed, mutations of every seed, and every file given.
 *
 *   fuzz_NAME_replay [--mutations N] [--write FOLDER] [FILE-or-FOLDER]...
 *
 * N mutations of each seed (default 200), the same ones every time; FOLDER receives the seeds as
 * files, for libFuzzer to start from. An input that takes more than 20 s of processor time ends the
 * program: it stands for a hang, on any machine, sanitizers or not. */
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "kernels/base/file.h"
#include "kernels/math/philox.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/peak.h"

enum { SEED = 404, HANG_SECONDS = 20, LONGEST = 1 << 20 };
static const size_t memory_limit = (size_t)512 << 20;

typedef struct replay {
    int64_t n_mutations; /* of each seed */
    const char *folder;  /* for seeds; NULL: none */
    int64_t n_seeds, n_inputs;
    double longest; /* s of processor time */
} replay;

static double processor_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* In a block of its own length, so that a sanitizer sees a read past its end. */
static void try_input(replay *r, const uint8_t *bytes, size_t n)
{
    struct itimerval limit = {
        .it_value = {.tv_sec = HANG_SECONDS}}; /* SIGVTALRM ends the program */
    uint8_t *copy = malloc(n > 0 ? n : 1);
    FUZZ_REQUIRE(copy);
    memcpy(copy, bytes, n);
    FUZZ_REQUIRE(setitimer(ITIMER_VIRTUAL, &limit, NULL) == 0);
    double begin = processor_time();
    LLVMFuzzerTestOneInput(copy, n);
    double took = processor_time() - begin;
    if (took > r->longest) r->longest = took;
    r->n_inputs++;
    free(copy);
}

static size_t below(cf_rng *rng, size_t n)
{
    return n > 0 ? cf_rng_below(rng, (uint32_t)n) : 0;
}

/* Removes or doubles a piece. bytes: room for 2 n. Returns the new length. */
static size_t change_length(cf_rng *rng, uint8_t *bytes, size_t n)
{
    size_t from = below(rng, n), length = 1 + below(rng, n - from);
    if (cf_rng_u32(rng) & 1) {
        memmove(bytes + from, bytes + from + length, n - from - length);
        return n - length;
    }
    memmove(bytes + from + length, bytes + from, n - from);
    return n + length;
}

/* One change that breaks what a reader may lean on. Returns the new length, at most 2 n. */
static size_t mutate(cf_rng *rng, uint8_t *bytes, size_t n)
{
    static const uint8_t edges[] = {0, 1, 0x7F, 0x80, 0xFF, '"', ',', '\n', ':', '-'};
    size_t at = below(rng, n);
    switch (below(rng, 5)) {
    case 0:
        bytes[at] ^= (uint8_t)(1u << below(rng, 8));
        return n;
    case 1:
        bytes[at] = edges[below(rng, sizeof edges)];
        return n;
    case 2: /* a length, an offset, a count */
        memset(bytes + at, edges[below(rng, 5)], n - at < 4 ? n - at : 4);
        return n;
    case 3:
        return at; /* cut */
    default:
        return change_length(rng, bytes, n);
    }
}

static void try_mutations(replay *r, const uint8_t *bytes, size_t n)
{
    for (int64_t k = 0; k < r->n_mutations && n > 0 && n <= LONGEST; k++) {
        cf_rng rng = cf_rng_at(SEED, (uint32_t)r->n_seeds, 0, (uint32_t)k, CF_PURPOSE_TEST);
        int n_changes = 1 + (int)below(&rng, 3);
        size_t length = n;
        uint8_t *copy = malloc(n << n_changes);
        FUZZ_REQUIRE(copy);
        memcpy(copy, bytes, n);
        for (int i = 0; i < n_changes && length > 0; i++) length = mutate(&rng, copy, length);
        try_input(r, copy, length);
        free(copy);
    }
}

static void take_seed(void *context, const void *bytes, size_t n)
{
    replay *r = context;
    if (r->folder) {
        char name[32], path[CF_PATH_MAX];
        snprintf(name, sizeof name, "seed-%02" PRId64, r->n_seeds);
        FUZZ_REQUIRE(cf_path_join(path, sizeof path, r->folder, name) == CF_OK);
        FUZZ_REQUIRE(cf_file_save(path, bytes, n) == CF_OK);
    }
    r->n_seeds++;
    try_input(r, bytes, n);
    try_mutations(r, bytes, n);
}

static void try_path(replay *r, const char *path)
{
    if (cf_path_is_dir(path)) {
        cf_strings names;
        FUZZ_REQUIRE(cf_dir_list(path, &names) == CF_OK);
        for (size_t i = 0; i < names.n; i++) {
            char child[CF_PATH_MAX];
            FUZZ_REQUIRE(cf_path_join(child, sizeof child, path, names.items[i]) == CF_OK);
            try_path(r, child);
        }
        cf_strings_fini(&names);
        return;
    }
    size_t n;
    uint8_t *bytes = fuzz_load(path, &n);
    try_input(r, bytes, n);
    free(bytes);
}

int main(int argc, char **argv)
{
    replay r = {.n_mutations = 200};
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (strcmp(argv[i], "--mutations") == 0)
            r.n_mutations = atoll(argv[i + 1]);
        else if (strcmp(argv[i], "--write") == 0)
            r.folder = argv[i + 1];
    }
    fuzz_seeds(take_seed, &r);
    for (; i < argc; i++) try_path(&r, argv[i]);
    size_t peak = peak_bytes();
    printf("seed %d: %" PRId64 " seeds, %" PRId64 " inputs, the longest %.3f s, %zu MB at most\n",
           SEED, r.n_seeds, r.n_inputs, r.longest, peak >> 20);
    FUZZ_REQUIRE(r.n_seeds > 0);
    FUZZ_REQUIRE(!peak_is_ours() || peak < memory_limit);
    return 0;
}
