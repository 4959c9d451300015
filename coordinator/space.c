#include "coordinator/space.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "kernels/base/file.h"
#include "kernels/base/log.h"

/* Checkpoints that a fold keeps, and with the one being written. */
enum { KEPT = 2, KEPT_AND_NEW = 3 };
/* A line of predictions.csv: an id, and a probability of up to 24 characters for each node. Metrics
 * and event file of a fold, the tables of a run, and its page with plots and pictures, are not much
 * beside that: 0.2, 0.1 and 2 MB with seven classes. */
enum {
    LINE_BYTES = 128,
    COLUMN_BYTES = 24,
    FOLD_BYTES = 1 << 18,
    TABLES_BYTES = 1 << 16,
    REPORT_BYTES = 1 << 22
};

static cf_err fold_path(const cf_space *s, int fold, const char *file, char path[CF_PATH_MAX])
{
    char name[64];
    snprintf(name, sizeof name, "fold-%d%s%s", fold, file[0] != '\0' ? "/" : "", file);
    return cf_path_join(path, CF_PATH_MAX, s->dir, name);
}

/* Bytes of the checkpoints that a fold has. */
static cf_err checkpoints_there(const cf_space *s, int fold, int64_t *bytes)
{
    char dir[CF_PATH_MAX], path[CF_PATH_MAX];
    cf_strings names = {0};
    *bytes = 0;
    CF_TRY(fold_path(s, fold, "", dir));
    if (!cf_path_is_dir(dir)) return CF_OK;
    CF_TRY(cf_dir_list(dir, &names));
    for (size_t i = 0; i < names.n; i++) {
        struct stat st;
        if (strncmp(names.items[i], "checkpoint-", 11) != 0) continue;
        if (cf_path_join(path, sizeof path, dir, names.items[i]) == CF_OK && stat(path, &st) == 0)
            *bytes += (int64_t)st.st_size;
    }
    cf_strings_fini(&names);
    return CF_OK;
}

cf_err cf_space_needed(const cf_space *s, int64_t *bytes)
{
    char path[CF_PATH_MAX];
    int64_t lines = s->n_images * (LINE_BYTES + (int64_t)s->n_nodes * COLUMN_BYTES);
    *bytes = lines + TABLES_BYTES + REPORT_BYTES;
    for (int fold = 0; fold < s->n_folds; fold++) {
        int64_t there = 0, wanted = (s->at_rest ? KEPT : KEPT_AND_NEW) * s->checkpoint_bytes;
        if (s->only_fold >= 0 && fold != s->only_fold) continue;
        *bytes += FOLD_BYTES;
        CF_TRY(fold_path(s, fold, "predictions.csv", path));
        if (cf_path_exists(path)) continue;
        CF_TRY(checkpoints_there(s, fold, &there));
        if (there < wanted) *bytes += wanted - there;
    }
    return CF_OK;
}

cf_err cf_space_check(const cf_space *s)
{
    int64_t needed = 0;
    CF_TRY(cf_space_needed(s, &needed));
    return cf_space_expect(s->dir, needed);
}

cf_err cf_space_expect(const char *dir, int64_t needed)
{
    struct statvfs st;
    if (statvfs(dir, &st) != 0) return cf_fail_errno(CF_E_DISK, "%s: free space", dir);
    /* Some network file systems do not say how large they are. */
    if (st.f_blocks == 0) return CF_OK;
    unsigned long long left = (unsigned long long)st.f_bavail * st.f_frsize;
    if ((unsigned long long)needed > left)
        return cf_fail(CF_E_DISK,
                       "%s: this job needs %lld bytes for checkpoints, predictions and the report, "
                       "%llu bytes are free",
                       dir, (long long)needed, left);
    cf_log_debug("%s: %lld bytes needed, %llu bytes are free", dir, (long long)needed, left);
    return CF_OK;
}
