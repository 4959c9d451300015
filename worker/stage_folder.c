#include "worker/stage_folder.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kernels/base/log.h"

#define LEFT_OVER_BYTES (64ULL << 20)
#define COPY_ENDING     ".cells"

/* File systems that are no disk of this node. The first have names in linux/magic.h; the numbers of
 * the others are those that `stat -f` knows. */
static const char *not_a_local_disk(const char *folder)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } table[] = {
        {TMPFS_MAGIC, "memory"},    {RAMFS_MAGIC, "memory"}, {NFS_SUPER_MAGIC, "NFS"},
        {SMB_SUPER_MAGIC, "SMB"},   {0xfe534d42, "SMB"},     {0xff534d42, "CIFS"},
        {AFS_SUPER_MAGIC, "AFS"},   {V9FS_MAGIC, "9P"},      {CEPH_SUPER_MAGIC, "Ceph"},
        {FUSE_SUPER_MAGIC, "FUSE"}, {0x0bd00bd0, "Lustre"},  {0x47504653, "GPFS"},
        {0x19830326, "BeeGFS"},     {0xaad7aaea, "PanFS"},   {0x013111a8, "IBRIX"},
        {0x20030528, "OrangeFS"},
    };
    struct statfs fs;
    if (statfs(folder, &fs) != 0) return NULL;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if ((unsigned long)fs.f_type == table[i].magic) return table[i].name;
    return NULL;
}

/* Ours alone: pixels of patients lie there, and what others can write we do not believe. */
static cf_err own_folder(const char *parent, char folder[CF_PATH_MAX])
{
    struct stat st;
    char name[32];
    snprintf(name, sizeof name, "cytofold-%u", (unsigned)geteuid());
    CF_TRY(cf_path_join(folder, CF_PATH_MAX, parent, name));
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) return cf_fail_errno(CF_E_DISK, "%s", folder);
    if (lstat(folder, &st) != 0) return cf_fail_errno(CF_E_DISK, "%s", folder);
    if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0) return CF_OK;
    return cf_fail(CF_E_DISK, "%s: expected a folder of user %u that others cannot enter, found %s",
                   folder, (unsigned)geteuid(),
                   !S_ISDIR(st.st_mode)     ? "no folder"
                   : st.st_uid != geteuid() ? "another user's"
                                            : "an open one");
}

static cf_err fit_for_auto(const char *folder, const char *path)
{
    struct stat there, here;
    if (stat(folder, &there) != 0) return cf_fail_errno(CF_E_DISK, "%s", folder);
    const char *kind = not_a_local_disk(folder);
    if (kind != NULL)
        return cf_fail(CF_E_DISK, "%s: expected a disk of this node, found %s", folder, kind);
    if (stat(path, &here) == 0 && here.st_dev == there.st_dev)
        return cf_fail(CF_E_DISK, "%s: on the same disk as %s", folder, path);
    return CF_OK;
}

cf_err cf_stage_folder(const char *where, const char *path, char folder[CF_PATH_MAX])
{
    const char *const candidates[] = {getenv("SLURM_TMPDIR"), getenv("TMPDIR"), "/tmp"};
    if (strcmp(where, "auto") != 0) return own_folder(where, folder);
    cf_err err = CF_OK;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (candidates[i] == NULL || candidates[i][0] != '/') continue;
        err = fit_for_auto(candidates[i], path);
        if (err == CF_OK) err = own_folder(candidates[i], folder);
        if (err == CF_OK) return CF_OK;
    }
    return err;
}

/* ---- room --------------------------------------------------------------------------------------
 */

static cf_err bytes_free(const char *folder, uint64_t *n)
{
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0) return cf_fail_errno(CF_E_DISK, "%s", folder);
    *n = (uint64_t)fs.f_bavail * fs.f_frsize;
    return CF_OK;
}

static bool is_copy(const char *name)
{
    size_t n = strlen(name), end = strlen(COPY_ENDING);
    return n > end && strcmp(name + n - end, COPY_ENDING) == 0;
}

/* What a copy that was cut short has left, once its process is gone. */
static bool is_remains(const char *name)
{
    const char *suffix = strstr(name, ".tmp-");
    return suffix != NULL && cf_file_is_abandoned(suffix);
}

/* When a copy was last taken up; 0 for what a dead process left, -1 for what is no copy. */
static int64_t last_use(const char *folder, const char *name, char path[CF_PATH_MAX])
{
    struct stat st;
    if (cf_path_join(path, CF_PATH_MAX, folder, name) != CF_OK || lstat(path, &st) != 0) return -1;
    if (is_remains(name)) return 0;
    return is_copy(name) ? (int64_t)st.st_mtim.tv_sec : -1;
}

/* Removes the copy that was not taken up for the longest time, or any remains. False: none left. A
 * job that still reads it keeps the bytes until it ends. */
static bool remove_one(const char *folder, const char *keep)
{
    cf_strings names = {0};
    char path[CF_PATH_MAX], oldest[CF_PATH_MAX] = "";
    int64_t least = INT64_MAX;
    cf_err err = cf_dir_list(folder, &names);
    for (size_t i = 0; err == CF_OK && i < names.n; i++) {
        int64_t used = last_use(folder, names.items[i], path);
        if (used < 0 || used >= least || strcmp(names.items[i], keep) == 0) continue;
        least = used;
        memcpy(oldest, path, strlen(path) + 1);
    }
    cf_strings_fini(&names);
    if (oldest[0] == '\0' || unlink(oldest) != 0) return false;
    cf_log_info("removed %s, a copy for another run, to make room", oldest);
    return true;
}

cf_err cf_stage_make_room(const char *folder, uint64_t bytes, const char *keep)
{
    uint64_t n_free = 0;
    for (;;) {
        CF_TRY(bytes_free(folder, &n_free));
        if (n_free >= LEFT_OVER_BYTES && n_free - LEFT_OVER_BYTES >= bytes) return CF_OK;
        if (!remove_one(folder, keep)) break;
    }
    return cf_fail(CF_E_DISK, "%s: a copy needs %llu bytes and %llu to spare, %llu are free",
                   folder, (unsigned long long)bytes, LEFT_OVER_BYTES, (unsigned long long)n_free);
}
