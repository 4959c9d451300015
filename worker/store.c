/* One save at a time is under way: the caller copies into the slot, the thread writes it out. The
 * copy is kept and used again, so that a steady run allocates nothing here after its first save. */
#include "worker/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum { KEPT = 2 };

#define PROOF "proof.ckpt" /* written and removed before the first step */

struct cf_store {
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    bool full, stopping; /* full: the slot holds a save that is not yet on disk */
    cf_err err;          /* of the save before; reported once */
    char err_text[1024];
    int64_t longest_ns; /* of all writes */
    /* The slot: written by the caller while empty, read by the thread while full. */
    char fold_dir[CF_PATH_MAX];
    cf_checkpoint slot;
    char *tensors; /* owned: copies of all flat buffers */
    size_t tensors_bytes;
    cf_tensor_entry *entries; /* owned */
    size_t n_entries_reserved;
};

/* ---- names on disk ----------------------------------------------------------------------------
 */

static cf_err checkpoint_path(const char *fold_dir, int64_t step, char path[CF_PATH_MAX])
{
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld.ckpt", (long long)step);
    return cf_path_join(path, CF_PATH_MAX, fold_dir, name);
}

/* A non-negative decimal number without leading zeros; *end is what follows. */
static bool parse_number(const char *text, int64_t *number, const char **end)
{
    int64_t value = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *p - '0', &value)) {
            return false;
        }
    }
    *number = value;
    *end = p;
    return p > text && (text[0] != '0' || p == text + 1);
}

/* The step of "checkpoint-<step>.ckpt<rest>"; *rest is what follows. -1 for any other name. */
static int64_t step_of(const char *name, const char **rest)
{
    static const char head[] = "checkpoint-", tail[] = ".ckpt";
    const char *end = NULL;
    int64_t step = -1;
    if (strncmp(name, head, sizeof head - 1) != 0) return -1;
    if (!parse_number(name + sizeof head - 1, &step, &end)) return -1;
    if (strncmp(end, tail, sizeof tail - 1) != 0) return -1;
    *rest = end + sizeof tail - 1;
    return step;
}

static int by_step_newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Steps of all checkpoints of a folder, newest first. Owned by the caller. */
static cf_err list_steps(const char *fold_dir, int64_t **steps, size_t *n)
{
    cf_strings names = {0};
    *n = 0;
    *steps = NULL;
    CF_TRY(cf_dir_list(fold_dir, &names));
    cf_err err = cf_new(steps, names.n, sizeof **steps);
    for (size_t i = 0; err == CF_OK && i < names.n; i++) {
        const char *rest = NULL;
        int64_t step = step_of(names.items[i], &rest);
        if (step >= 0 && !*rest) (*steps)[(*n)++] = step;
    }
    cf_strings_fini(&names);
    if (*n > 1) qsort(*steps, *n, sizeof **steps, by_step_newest_first);
    return err;
}

/* A run folder has one job, so a temporary of a process that is gone will never be finished. One
 * with our own number is from before a restart: this store has none under way when it looks. */
static void remove_leftovers(const char *fold_dir)
{
    cf_strings names = {0};
    char path[CF_PATH_MAX];
    if (cf_dir_list(fold_dir, &names) != CF_OK) return; /* the save itself will say what is wrong */
    for (size_t i = 0; i < names.n; i++) {
        const char *rest = NULL;
        if (strncmp(names.items[i], PROOF, sizeof PROOF - 1) == 0)
            rest = names.items[i] + sizeof PROOF - 1;
        else if (step_of(names.items[i], &rest) < 0)
            continue;
        if (!cf_file_is_abandoned(rest)) continue;
        if (cf_path_join(path, sizeof path, fold_dir, names.items[i]) == CF_OK) unlink(path);
    }
    cf_strings_fini(&names);
}

/* Steps above the one just saved are damaged ones that were passed over when the run was resumed:
 * the run will write them again. They neither count nor go. */
static void remove_old(const char *fold_dir, int64_t newest)
{
    int64_t *steps = NULL;
    size_t n = 0;
    int kept = 0;
    char path[CF_PATH_MAX];
    if (list_steps(fold_dir, &steps, &n) != CF_OK) n = 0;
    for (size_t i = 0; i < n; i++) {
        if (steps[i] > newest || kept++ < KEPT) continue;
        if (checkpoint_path(fold_dir, steps[i], path) == CF_OK) unlink(path);
    }
    free(steps);
}

/* ---- saving -----------------------------------------------------------------------------------
 */

static cf_err write_slot(const char *fold_dir, const cf_checkpoint *c)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_dir_make(fold_dir));
    remove_leftovers(fold_dir);
    CF_TRY(checkpoint_path(fold_dir, c->step, path));
    CF_TRY(cf_checkpoint_write(path, c));
    remove_old(fold_dir, c->step);
    return CF_OK;
}

/* What was just synced is dropped from memory, so that reading asks the disk. A hint: where it is
 * not taken, the copy in memory is read. */
static void forget_pages(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

cf_err cf_store_prove(const char *fold_dir, const cf_checkpoint *c)
{
    char path[CF_PATH_MAX];
    cf_checkpoint *back = NULL;
    CF_TRY(cf_dir_make(fold_dir));
    remove_leftovers(fold_dir);
    CF_TRY(cf_path_join(path, sizeof path, fold_dir, PROOF));
    CF_TRY(cf_new(&back, 1, sizeof *back));
    cf_err err = cf_checkpoint_write(path, c);
    if (err == CF_OK) {
        forget_pages(path);
        err = cf_checkpoint_read(path, back);
        if (err == CF_E_CHECKPOINT)
            err = cf_fail(CF_E_DISK, "what was written does not read back: %s", cf_err_text());
        cf_checkpoint_fini(back);
    }
    unlink(path);
    /* An empty one goes: a fold's folder says that something was trained (run_folder.c). */
    (void)rmdir(fold_dir);
    free(back);
    return err;
}

static void *writer_main(void *arg)
{
    cf_store *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->full && !s->stopping) pthread_cond_wait(&s->changed, &s->lock);
        if (!s->full) break;
        pthread_mutex_unlock(&s->lock); /* the caller does not touch a full slot */
        int64_t start_ns = cf_clock_ns();
        cf_err err = write_slot(s->fold_dir, &s->slot);
        int64_t ns = cf_clock_ns() - start_ns;
        pthread_mutex_lock(&s->lock);
        if (ns > s->longest_ns) s->longest_ns = ns;
        if (err != CF_OK && s->err == CF_OK) {
            s->err = err;
            snprintf(s->err_text, sizeof s->err_text, "%s", cf_err_text());
        }
        s->full = false;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

cf_err cf_store_create(cf_store **out)
{
    CF_TRY(cf_new(out, 1, sizeof **out));
    cf_store *s = *out;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    /* Signals belong to the main thread: the writer starts with all of them blocked. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&s->thread, NULL, writer_main, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == 0) return CF_OK;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *out = NULL;
    errno = status;
    return cf_fail_errno(CF_E_UNEXPECTED, "checkpoint thread");
}

int64_t cf_store_longest_ns(cf_store *s)
{
    pthread_mutex_lock(&s->lock);
    int64_t ns = s->longest_ns;
    pthread_mutex_unlock(&s->lock);
    return ns;
}

cf_err cf_store_flush(cf_store *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->full) pthread_cond_wait(&s->changed, &s->lock);
    cf_err err = s->err;
    if (err != CF_OK) err = cf_fail(err, "%s", s->err_text);
    s->err = CF_OK;
    pthread_mutex_unlock(&s->lock);
    return err;
}

/* Only the caller's thread fills an empty slot, so no lock is needed here. */
static cf_err copy_into_slot(cf_store *s, const cf_checkpoint *c)
{
    size_t total = 0, n_entries = c->n_entries > 0 ? (size_t)c->n_entries : 0;
    for (int i = 0; i < c->n_flats; i++) total += (size_t)c->flats[i].count * sizeof(float);
    if (total > s->tensors_bytes) {
        CF_TRY(cf_resize(&s->tensors, total, 1));
        s->tensors_bytes = total;
    }
    if (n_entries > s->n_entries_reserved) {
        CF_TRY(cf_resize(&s->entries, n_entries, sizeof *s->entries));
        s->n_entries_reserved = n_entries;
    }
    s->slot = *c;
    s->slot.storage = NULL;
    s->slot.entries = s->entries;
    if (n_entries > 0) memcpy(s->entries, c->entries, n_entries * sizeof *s->entries);
    char *at = s->tensors;
    for (int i = 0; i < c->n_flats; i++) {
        size_t bytes = (size_t)c->flats[i].count * sizeof(float);
        if (bytes > 0) memcpy(at, c->flats[i].data, bytes);
        s->slot.flats[i].data = (float *)(void *)at;
        at += bytes;
    }
    return CF_OK;
}

cf_err cf_store_save(cf_store *s, const char *fold_dir, const cf_checkpoint *c)
{
    CF_TRY(cf_store_flush(s));
    if (strlen(fold_dir) >= sizeof s->fold_dir) {
        return cf_fail(CF_E_DISK, "path is too long: %.80s...", fold_dir);
    }
    memcpy(s->fold_dir, fold_dir, strlen(fold_dir) + 1);
    CF_TRY(copy_into_slot(s, c));
    pthread_mutex_lock(&s->lock);
    s->full = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return CF_OK;
}

void cf_store_destroy(cf_store *s)
{
    if (!s) return;
    if (cf_store_flush(s) != CF_OK) cf_log_error("checkpoint not saved: %s", cf_err_text());
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->tensors);
    free(s->entries);
    free(s);
}

/* ---- loading ----------------------------------------------------------------------------------
 */

cf_err cf_store_load_step(const char *fold_dir, int64_t step, cf_checkpoint *c)
{
    char path[CF_PATH_MAX];
    CF_TRY(checkpoint_path(fold_dir, step, path));
    CF_TRY(cf_checkpoint_read(path, c));
    if (c->step == step) return CF_OK;
    int64_t found = c->step;
    cf_checkpoint_fini(c);
    return cf_fail(CF_E_CHECKPOINT, "%s: holds step %lld", path, (long long)found);
}

cf_err cf_store_load_newest(const char *fold_dir, cf_checkpoint *c, bool *found)
{
    int64_t *steps = NULL;
    size_t n = 0;
    *found = false;
    memset(c, 0, sizeof *c);
    if (!cf_path_exists(fold_dir)) return CF_OK;
    remove_leftovers(fold_dir);
    cf_err err = list_steps(fold_dir, &steps, &n);
    for (size_t i = 0; err == CF_OK && !*found && i < n; i++) {
        err = cf_store_load_step(fold_dir, steps[i], c);
        *found = err == CF_OK;
        if (err != CF_E_CHECKPOINT) continue;
        cf_log_warn("%s; passed over", cf_err_text());
        err = CF_OK;
    }
    free(steps);
    /* Starting from nothing would throw the run away without asking. */
    if (err == CF_OK && n > 0 && !*found)
        return cf_fail(
            CF_E_CHECKPOINT,
            "%s: none of its %zu checkpoints can be read; remove them to start the fold again",
            fold_dir, n);
    return err;
}
