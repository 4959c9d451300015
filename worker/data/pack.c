/* Decoder threads and one writer round a ring of slots: image i of the list passes through slot
 * i % n_slots, and a decoder waits before it runs a whole ring ahead of the writer. So a few images
 * a thread are in memory, whatever the data set. A decoder takes all cells of a field at once: they
 * stand side by side in the list, since their ids begin with the field's path. No wait is for ever:
 * the image that the writer waits for always has its slot, and it is in the oldest field taken. */
#include "worker/data/pack.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "proto/cells.h"
#include "proto/control.h"
#include "proto/csv.h"
#include "worker/data/image.h"
#include "worker/data/stain.h"

enum { SLOTS_A_THREAD = 8, MAX_THREADS = 256 };
static const size_t max_image_bytes = (size_t)1 << 29;
static const size_t max_spare_bytes = (size_t)4 << 20; /* larger ones go back to the system */

typedef struct slot {
    bool done;
    cf_image image; /* owned; empty on an error */
    uint64_t hash;  /* of its pixels */
    double um_per_px;
    char *bytes; /* owned, [n_bytes]: the file itself, where that is kept; else NULL */
    size_t n_bytes;
    cf_stain stain; /* of the image, where asked for */
    cf_err err;
    char *message; /* owned; of an error */
} slot;

typedef struct packer {
    const cf_pack_options *options; /* borrowed */
    cf_pack_result *result;         /* borrowed */
    cf_listing list;
    cf_cells_writer *writer; /* owned; NULL before the first good image and after a damaged one */
    cf_buf folds;            /* rows of the folds file */
    int64_t first_good;      /* the image that set height and width; -1: none yet */

    pthread_mutex_t lock;
    pthread_cond_t room;  /* a slot became free, or stop */
    pthread_cond_t ready; /* the slot that the writer waits for is done */
    slot *slots;          /* owned, [n_slots] */
    cf_image *spares;     /* owned, [n_spares of n_slots]: memory to decode into */
    int64_t n_spares;
    int64_t n_done; /* slots that wait for the writer */
    int64_t n_slots;
    int64_t claimed; /* images given to decoders */
    int64_t written; /* images the writer is done with */
    bool stop;
    pthread_t threads[MAX_THREADS];
    int n_threads;
} packer;

/* The file of image i, decoded and as it is; path: [CF_PATH_MAX]. */
static cf_err decode(const packer *p, int64_t i, char *path, cf_image *image, slot *s)
{
    CF_TRY(cf_listing_path(&p->list, i, path, CF_PATH_MAX));
    CF_TRY(cf_file_read(path, max_image_bytes, &s->bytes, &s->n_bytes));
    return cf_image_decode_again(path, (const uint8_t *)s->bytes, s->n_bytes,
                                 p->options->max_pixels, image);
}

/* Images i..end-1 are cut out of one file. */
static int64_t group_end(const packer *p, int64_t i)
{
    const cf_listed *first = &p->list.items[i];
    int64_t end = i + 1;
    if (first->x < 0.0) return end;
    while (end < p->list.n && p->list.items[end].x >= 0.0 &&
           p->list.items[end].source == first->source &&
           strcmp(p->list.items[end].file, first->file) == 0)
        end++;
    return end;
}

static void set_failed(slot *s, cf_err err, int64_t n_cells)
{
    char more[64] = "";
    cf_buf text = {0};
    if (n_cells > 1) snprintf(more, sizeof more, " (%lld cells)", (long long)n_cells);
    cf_buf_printf(&text, "%s%s", cf_err_text(), more);
    /* out of memory for a text: the code alone then tells */
    s->err = cf_buf_check(&text) == CF_OK ? err : CF_E_UNEXPECTED;
    s->message = text.data;
}

static void slot_fini(slot *s)
{
    cf_image_fini(&s->image);
    free(s->bytes);
    free(s->message);
    *s = (slot){0};
}

/* Lock held. Decoders and the writer wake each other only when half a ring is to be done, and
 * before they go to sleep: a switch between threads for every image would cost as much as reading
 * its file. */
static void wait_for_room(packer *p)
{
    pthread_cond_signal(&p->ready);
    pthread_cond_wait(&p->room, &p->lock);
}

/* Waits for the slot of image i and fills it; false when the packing is to stop. */
static bool put(packer *p, int64_t i, slot done)
{
    pthread_mutex_lock(&p->lock);
    while (!p->stop && i >= p->written + p->n_slots) wait_for_room(p);
    bool going = !p->stop;
    if (going) p->slots[i % p->n_slots] = done;
    if (going && ++p->n_done >= p->n_slots / 2) pthread_cond_signal(&p->ready);
    pthread_mutex_unlock(&p->lock);
    if (!going) slot_fini(&done);
    return going;
}

/* Keeps the memory of an image for the next one. */
static void give_back(packer *p, cf_image *image)
{
    pthread_mutex_lock(&p->lock);
    if (p->n_spares < p->n_slots && image->n_room > 0 && image->n_room <= max_spare_bytes) {
        p->spares[p->n_spares++] = *image;
        *image = (cf_image){0};
    }
    pthread_mutex_unlock(&p->lock);
    cf_image_fini(image);
}

/* What the writer needs beside the pixels. */
static void finish_slot(const packer *p, slot *s)
{
    const cf_image *image = &s->image;
    /* here they are still in this core's cache, and the writer has one thing less to do */
    s->hash = cf_hash64(image->pixels, (size_t)image->height * (size_t)image->width * 3);
    if (p->options->stains == CF_PACK_STAINS)
        cf_stain_estimate(image->pixels, image->height, image->width, &s->stain);
}

/* Decodes one file into the memory of `whole` and puts its images. */
static void decode_group(packer *p, int64_t begin, int64_t end, cf_image whole)
{
    char path[CF_PATH_MAX];
    slot file = {0};
    cf_err err = decode(p, begin, path, &whole, &file);
    bool going = true;
    for (int64_t i = begin; i < end && going; i++) {
        slot s = {.done = true, .err = err};
        if (err != CF_OK) { /* told once for all its cells */
            if (i == begin) set_failed(&s, err, end - begin);
        } else {
            s.um_per_px =
                cf_cut_um_per_px(&p->options->cut, &p->list.items[i], whole.height, whole.width);
            s.err = cf_cut_apply(&p->options->cut, path, &p->list.items[i], &whole, &s.image);
            if (s.err != CF_OK)
                set_failed(&s, s.err, 1);
            else
                finish_slot(p, &s);
        }
        if (s.err == CF_OK && p->options->store == CF_PACK_ENCODED) { /* one image a file */
            s.bytes = file.bytes;
            s.n_bytes = file.n_bytes;
            file.bytes = NULL;
        }
        going = put(p, i, s);
    }
    free(file.bytes);
    give_back(p, &whole);
}

static void *work(void *arg)
{
    packer *p = arg;
    pthread_mutex_lock(&p->lock);
    /* A field may have more cells than the ring has slots, so that room is waited for by image, not
     * by field: each thread may decode one file beyond the ring. */
    while (!p->stop && p->claimed < p->list.n) {
        int64_t begin = p->claimed, end = group_end(p, begin);
        p->claimed = end;
        cf_image spare = p->n_spares > 0 ? p->spares[--p->n_spares] : (cf_image){0};
        pthread_mutex_unlock(&p->lock);
        decode_group(p, begin, end, spare);
        pthread_mutex_lock(&p->lock);
    }
    pthread_cond_signal(&p->ready);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Takes image i out of its slot; blocks until it is decoded. */
static slot take(packer *p, int64_t i)
{
    pthread_mutex_lock(&p->lock);
    slot *s = &p->slots[i % p->n_slots];
    /* once: while this waits nobody gets room, and decoders who find none signal before they sleep
     */
    if (!s->done) pthread_cond_broadcast(&p->room);
    while (!s->done) pthread_cond_wait(&p->ready, &p->lock);
    slot taken = *s;
    *s = (slot){0};
    p->written++;
    p->n_done--;
    if (p->claimed - p->written <= p->n_slots / 2) pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->lock);
    return taken;
}

static cf_err size_error(const packer *p, int64_t i, const cf_image *image)
{
    char first[CF_PATH_MAX], second[CF_PATH_MAX];
    CF_TRY(cf_listing_path(&p->list, p->first_good, first, sizeof first));
    CF_TRY(cf_listing_path(&p->list, i, second, sizeof second));
    return cf_fail(CF_E_DATA, "images differ in size: %s is %d x %d, %s is %d x %d (%s)", first,
                   p->result->width, p->result->height, second, image->width, image->height,
                   p->options->store == CF_PACK_ENCODED
                       ? "without --keep-encoded, --size N makes them all N x N"
                       : "--size N makes them all N x N");
}

/* Writes one good image; makes the file at the first. */
static cf_err write_image(packer *p, int64_t i, const slot *s)
{
    const cf_image *image = &s->image;
    cf_pack_result *r = p->result;
    const cf_listed *item = &p->list.items[i];
    if (p->first_good < 0) {
        p->first_good = i;
        r->height = image->height;
        r->width = image->width;
        r->um_per_px = s->um_per_px;
        if (r->n_damaged == 0 || p->options->damaged == CF_PACK_SKIP)
            CF_TRY(cf_cells_create(p->options->output, &r->scheme, r->height, r->width,
                                   r->um_per_px, &p->writer));
    }
    if (image->height != r->height || image->width != r->width) return size_error(p, i, image);
    /* fields and sizes of several centres give the same but for the last bits */
    if (fabs(s->um_per_px - r->um_per_px) > 1e-9 * r->um_per_px) r->um_per_px = 0.0;
    if (!p->writer) return CF_OK; /* only reading on to name all damaged images */
    char patient[CF_PATH_MAX] = "";
    if (*item->patient) /* the 17th of one centre is not the 17th of another */
        CF_TRY(cf_path_join(patient, sizeof patient, p->list.sources[item->source].name,
                            item->patient));
    bool keep = p->options->unmapped == CF_UNMAPPED_KEEP;
    cf_cells_entry entry = {.given = keep ? item->given : NULL,
                            .id = item->id,
                            .label = item->label,
                            .site = item->site,
                            .patient = patient,
                            .stain = p->options->stains == CF_PACK_STAINS ? &s->stain : NULL,
                            .pixels = image->pixels,
                            .hash = &s->hash,
                            .encoded = s->bytes,
                            .n_encoded = s->n_bytes};
    CF_TRY(cf_cells_add(p->writer, &entry));
    if (p->list.has_folds) {
        char fold[16];
        snprintf(fold, sizeof fold, item->fold == CF_FOLD_TRAIN ? "train" : "%d", item->fold);
        cf_csv_put(&p->folds, item->id, CF_CSV_MORE);
        cf_csv_put(&p->folds, fold, CF_CSV_END_ROW);
    }
    if (item->label == CF_LABEL_UNKNOWN)
        r->n_unlabelled++;
    else
        r->counts[item->label]++;
    r->n_packed++;
    return CF_OK;
}

static cf_err note_damaged(packer *p, const slot *s)
{
    p->result->n_damaged++;
    if (s->message) CF_TRY(cf_strings_add(&p->result->damaged, s->message));
    if (p->options->damaged == CF_PACK_STOP && p->writer) {
        cf_cells_abandon(p->writer);
        p->writer = NULL;
    }
    return CF_OK;
}

static cf_err write_all(packer *p)
{
    cf_err err = CF_OK;
    const cf_pack_options *o = p->options;
    for (int64_t i = 0; i < p->list.n && err == CF_OK; i++) {
        slot s = take(p, i);
        if (s.err == CF_OK)
            err = write_image(p, i, &s);
        else if (s.err == CF_E_DATA)
            err = note_damaged(p, &s);
        else
            err = cf_fail(s.err, "%s", s.message ? s.message : "out of memory");
        give_back(p, &s.image);
        slot_fini(&s);
        if (err == CF_OK && o->progress && !o->progress(o->context, i + 1, p->list.n)) {
            p->result->interrupted = true;
            err = cf_fail(CF_E_UNEXPECTED,
                          "interrupted after %lld of %lld images; %s was not written",
                          (long long)(i + 1), (long long)p->list.n, o->output);
        }
    }
    return err;
}

static int n_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* Signals go to the caller's thread, which may want to stop on them. */
static cf_err start(packer *p)
{
    int n = p->options->threads > 0 ? p->options->threads : n_cores();
    if (n > MAX_THREADS) n = MAX_THREADS;
    p->n_slots = (int64_t)n * SLOTS_A_THREAD;
    CF_TRY(cf_new(&p->slots, (size_t)p->n_slots, sizeof *p->slots));
    CF_TRY(cf_new(&p->spares, (size_t)p->n_slots, sizeof *p->spares));
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = 0;
    while (p->n_threads < n &&
           (number = pthread_create(&p->threads[p->n_threads], NULL, work, p)) == 0)
        p->n_threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (p->n_threads == 0)
        return cf_fail(CF_E_UNEXPECTED, "cannot start a decoder thread: %s", strerror(number));
    return CF_OK;
}

static void stop(packer *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_threads; i++) pthread_join(p->threads[i], NULL);
    for (int64_t i = 0; p->slots && i < p->n_slots; i++) slot_fini(&p->slots[i]);
    for (int64_t i = 0; i < p->n_spares; i++) cf_image_fini(&p->spares[i]);
    free(p->spares);
    free(p->slots);
}

/* After all images: is there something to commit? */
static cf_err judge(const packer *p)
{
    const cf_pack_result *r = p->result;
    if (r->n_damaged > 0 && p->options->damaged == CF_PACK_STOP)
        return cf_fail(
            CF_E_DATA,
            "%lld of %lld images cannot be read; %s was not written (--skip-damaged packs "
            "the others)",
            (long long)r->n_damaged, (long long)r->n_found, p->options->output);
    if (r->n_packed == 0)
        return cf_fail(CF_E_DATA, "none of %lld images can be read; %s was not written",
                       (long long)r->n_found, p->options->output);
    return CF_OK;
}

static cf_err prepare(packer *p)
{
    const cf_pack_options *o = p->options;
    cf_pack_result *r = p->result;
    CF_TRY(cf_listing_read(o->sources, o->n_sources, o->scheme, o->unmapped, &r->scheme, &p->list));
    CF_TRY(cf_cut_check(&o->cut, &p->list));
    if (o->store == CF_PACK_ENCODED) CF_TRY(cf_cut_check_none(&o->cut, &p->list));
    CF_TRY(cf_new(&r->counts, (size_t)r->scheme.n_classes, sizeof *r->counts));
    r->n_found = p->list.n + (int64_t)p->list.problems.n;
    r->n_dropped = p->list.n_dropped;
    r->n_unmapped = p->list.n_unmapped;
    r->n_ignored = p->list.n_ignored;
    r->n_damaged = (int64_t)p->list.problems.n;
    r->notes = p->list.notes; /* moved */
    p->list.notes = (cf_strings){0};
    if (p->list.first_ignored) CF_TRY(cf_strdup(p->list.first_ignored, &r->first_ignored));
    for (size_t i = 0; i < p->list.problems.n; i++)
        CF_TRY(cf_strings_add(&r->damaged, p->list.problems.items[i]));
    return start(p);
}

/* "x.folds.csv" beside "x.cells". */
static cf_err write_folds(packer *p)
{
    const char *output = p->options->output, *dot = strrchr(output, '.');
    char path[CF_PATH_MAX];
    if (!p->list.has_folds) return CF_OK;
    int n = dot && strcmp(dot, ".cells") == 0 ? (int)(dot - output) : (int)strlen(output);
    if (snprintf(path, sizeof path, "%.*s.folds.csv", n, output) >= (int)sizeof path)
        return cf_fail(CF_E_USAGE, "the output's path is too long for a folds file beside it");
    CF_TRY(cf_buf_check(&p->folds));
    CF_TRY(cf_file_save(path, cf_buf_text(&p->folds), p->folds.len));
    strcpy(p->result->folds, path);
    return CF_OK;
}

cf_err cf_pack(const cf_pack_options *options, cf_pack_result *result)
{
    *result = (cf_pack_result){0};
    packer p = {.options = options, .result = result, .first_good = -1};
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.room, NULL);
    pthread_cond_init(&p.ready, NULL);
    cf_err err;
    cf_buf_printf(&p.folds, "id,fold\n");
    CF_TRY_GOTO(prepare(&p), out);
    CF_TRY_GOTO(write_all(&p), out);
    CF_TRY_GOTO(judge(&p), out);
    cf_cells_writer *writer = p.writer;
    cf_cells_set_um_per_px(writer, result->um_per_px);
    p.writer = NULL; /* cf_cells_finish destroys it in any case */
    CF_TRY_GOTO(cf_cells_finish(writer), out);
    result->written = true;
    CF_TRY_GOTO(write_folds(&p), out);
out:
    stop(&p);
    if (p.writer) cf_cells_abandon(p.writer);
    cf_listing_fini(&p.list);
    cf_buf_fini(&p.folds);
    pthread_cond_destroy(&p.ready);
    pthread_cond_destroy(&p.room);
    pthread_mutex_destroy(&p.lock);
    return err;
}

void cf_pack_result_fini(cf_pack_result *r)
{
    cf_scheme_fini(&r->scheme);
    free(r->counts);
    free(r->first_ignored);
    cf_strings_fini(&r->damaged);
    cf_strings_fini(&r->notes);
    *r = (cf_pack_result){0};
}
