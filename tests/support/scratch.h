/* A folder for a test's files, removed with all in it. Names are under $TMPDIR or /tmp. */
#ifndef CF_TESTS_SUPPORT_SCRATCH_H
#define CF_TESTS_SUPPORT_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/base/file.h"

static inline int scratch_remove_one(const char *path, const struct stat *st, int kind,
                                     struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

static inline void scratch_remove(const char *dir)
{
    nftw(dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* dir: CF_PATH_MAX bytes. False when no folder could be made. */
static inline bool scratch_make(char *dir)
{
    const char *base = getenv("TMPDIR");
    snprintf(dir, CF_PATH_MAX, "%s/cytofold-test-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(dir) != NULL;
}

#endif
