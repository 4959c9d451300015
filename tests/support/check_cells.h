/* Cells files for the tests of check: a scratch folder, the bm7 scheme, square images. */
#ifndef CF_TESTS_SUPPORT_CHECK_CELLS_H
#define CF_TESTS_SUPPORT_CHECK_CELLS_H

#include "proto/cells.h"
#include "tests/support/scratch.h"

enum { SIDE = 96, BYTES = SIDE * SIDE * 3, SEED = 5 };

static char folder[CF_PATH_MAX];
static cf_scheme scheme;

static inline int set_up(void **state)
{
    (void)state;
    return scratch_make(folder) && cf_scheme_read("bm7", &scheme) == CF_OK ? 0 : -1;
}

static inline int tear_down(void **state)
{
    (void)state;
    cf_scheme_fini(&scheme);
    scratch_remove(folder);
    return 0;
}

static inline void must(cf_err err)
{
    if (err != CF_OK) fail_msg("%s", cf_err_text());
}

static inline cf_cells_writer *begin(const char *name)
{
    char path[CF_PATH_MAX];
    cf_cells_writer *w;
    must(cf_path_join(path, sizeof path, folder, name));
    must(cf_cells_create(path, &scheme, SIDE, SIDE, 0, &w));
    return w;
}

#endif
