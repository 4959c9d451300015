/* Folds files: what is taken, written and read again is the same. */
#include <string.h>

#include "coordinator/folds.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fake_cells.h"

enum { N = 9 };

static const cf_cells *cells(void)
{
    static cf_cells c;
    static const int32_t labels[N] = {0, 1, 0, 1, 0, 1, 0, 1, 0};
    if (c.n == 0) FUZZ_REQUIRE(fake_cells_init(&c, labels, N, 2, 0));
    return &c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    int n_folds = 0, n_again = 0;
    uint8_t fold_of[N], again[N];
    if (cf_folds_read(fuzz_file(data, n, ".csv"), cells(), &n_folds, fold_of) != CF_OK) return 0;
    FUZZ_REQUIRE(n_folds >= 1 && n_folds <= N);
    for (int i = 0; i < N; i++) FUZZ_REQUIRE(fold_of[i] < n_folds || fold_of[i] == CF_FOLD_TRAIN);
    const char *path = fuzz_scratch();
    FUZZ_REQUIRE(cf_folds_write(path, cells(), fold_of) == CF_OK);
    FUZZ_REQUIRE(cf_folds_read(path, cells(), &n_again, again) == CF_OK);
    FUZZ_REQUIRE(n_again == n_folds && memcmp(fold_of, again, N) == 0);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static const uint8_t folds[3][N] = {{0, 0, 1, 1, 2, 2, 0, 1, 2},
                                        {0, 254, 254, 254, 0, 254, 254, 254, 254},
                                        {1, 0, 1, 0, 1, 0, 1, 254, 0}};
    for (int i = 0; i < 3; i++) {
        size_t n;
        FUZZ_REQUIRE(cf_folds_write(fuzz_scratch(), cells(), folds[i]) == CF_OK);
        uint8_t *bytes = fuzz_load(fuzz_scratch(), &n);
        take(context, bytes, n);
        free(bytes);
    }
}
