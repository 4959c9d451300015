/* A ring of batches filled one image at a time.
 *
 * Batch b lives in slot b % n_slots. `claimed` runs over the images of batches in order, so the
 * batch that is needed next is always the one all threads work on. One lock guards every counter;
 * images are prepared outside it. */
#include "worker/data/loader.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/data/fetch.h"
#include "worker/data/stain.h"

typedef struct slot {
    float *images;     /* owned, [batch][size][size][3]; NULL in raw mode */
    int *labels;       /* owned, [batch] */
    cf_raw_image *raw; /* owned, [batch]; raw mode only */
    void *pixels;      /* owned, of the room, [batch][height][width][3]; NULL where it is held */
    int n_done;        /* images finished */
    cf_err err;
    char message[512]; /* of the first failure */
} slot;

struct cf_loader {
    const cf_cells *cells;   /* borrowed */
    const cf_config *config; /* borrowed */
    cf_normalize norm;
    bool is_raw;
    cf_raw_room room; /* raw mode */
    int batch, size;
    size_t image_floats;    /* size * size * 3 */
    atomic_uchar *verified; /* owned, [cells->n] 1 once an image's pixels matched their hash */

    pthread_mutex_t lock;
    pthread_cond_t work;  /* an image can be claimed, or stop */
    pthread_cond_t ready; /* a batch is complete */
    bool stop;
    pthread_t *threads; /* owned, [n_threads] */
    int n_threads;

    slot *slots; /* owned, [n_slots] */
    int n_slots;
    cf_request *queue; /* owned ring, [queue_room]; request of batch b at b % queue_room */
    int64_t queue_room;
    int64_t queued;   /* batches requested */
    int64_t claiming; /* the batch whose images are being given out */
    int claimed;      /* images of it given out */
    int64_t returned; /* batches handed to the caller */
    bool held;        /* the caller still reads batch returned - 1 */
};

static size_t pixel_bytes(const cf_cells *c)
{
    return (size_t)c->height * (size_t)c->width * 3;
}

/* Pixels of an image. The first read of each also checks it: a cells file that rots on disk must
 * not train in silence. */
static cf_err fetch(cf_loader *l, int64_t image, cf_image *room, const uint8_t **pixels)
{
    CF_TRY(cf_cells_fetch(l->cells, image, room, pixels));
    if (atomic_load_explicit(&l->verified[image], memory_order_relaxed)) return CF_OK;
    CF_TRY(cf_cells_verify(l->cells, image, *pixels));
    atomic_store_explicit(&l->verified[image], 1, memory_order_relaxed);
    return CF_OK;
}

/* Image i of a raw batch: its map, and its pixels where the device does not hold them. */
static void prepare_raw(const cf_loader *l, const uint8_t *pixels, int i, const cf_augment *t,
                        slot *s)
{
    const cf_cells *c = l->cells;
    cf_raw_image *raw = &s->raw[i];
    *raw = (cf_raw_image){
        .pixels = pixels, .offset = -1, .height = c->height, .width = c->width, .augment = *t};
    if (l->room.held) {
        raw->offset = pixels - cf_cells_image(c, 0);
        return;
    }
    uint8_t *copy = (uint8_t *)s->pixels + (size_t)i * pixel_bytes(c);
    memcpy(copy, pixels, pixel_bytes(c));
    raw->pixels = copy;
}

static void clear_rest(const cf_loader *l, int n_images, slot *s)
{
    size_t n_empty = (size_t)(l->batch - n_images);
    memset(s->labels + n_images, 0, n_empty * sizeof *s->labels);
    if (!l->is_raw)
        memset(s->images + (size_t)n_images * l->image_floats, 0,
               n_empty * l->image_floats * sizeof *s->images);
}

/* What is done to image i of a request. */
static void set_draw(const cf_loader *l, const cf_request *r, int i, cf_augment *t)
{
    const cf_cells *c = l->cells;
    int64_t draw = r->first_draw + i;
    if (!r->augment) {
        cf_augment_plain(l->config, c->height, c->width, t);
        cf_augment_turn(r->turn, l->size, t);
        if (r->stains) t->stain = r->stains[r->images[i]];
        return;
    }
    cf_augment_draw(l->config, c->height, c->width, r->fold, r->epoch, draw, t);
    if (c->stains) /* check_request: else the configuration asks for none */
        cf_stain_draw(l->config, &c->stains[r->images[i]], r->fold, r->epoch, draw, &t->stain);
}

/* Prepares image i of a request; runs without the lock. */
static cf_err prepare(cf_loader *l, const cf_request *r, int i, slot *s, cf_image *room)
{
    const cf_cells *c = l->cells;
    int64_t image = r->images[i];
    const uint8_t *pixels;
    CF_TRY(fetch(l, image, room, &pixels));
    cf_augment t;
    set_draw(l, r, i, &t);
    if (l->is_raw)
        prepare_raw(l, pixels, i, &t, s);
    else
        cf_augment_apply(pixels, c->height, c->width, &t, &l->norm, l->size,
                         s->images + (size_t)i * l->image_floats);
    s->labels[i] = c->labels[image];
    if (i == 0) clear_rest(l, r->n_images, s);
    return CF_OK;
}

/* First batch whose slot is still in use. */
static int64_t oldest(const cf_loader *l)
{
    return l->returned - (l->held ? 1 : 0);
}

static bool can_claim(const cf_loader *l)
{
    return l->claiming < l->queued && l->claiming < oldest(l) + l->n_slots;
}

/* Lock held. Claims one image, prepares it with the lock dropped, and counts it. room: of this
 * thread, for what is decoded. */
static void work_once(cf_loader *l, cf_image *room)
{
    slot *s = &l->slots[l->claiming % l->n_slots];
    cf_request r = l->queue[l->claiming % l->queue_room]; /* the queue may move meanwhile */
    int i = l->claimed++;
    if (i == 0) {
        s->n_done = 0;
        s->err = CF_OK;
    }
    if (l->claimed == r.n_images) {
        l->claiming++;
        l->claimed = 0;
    }
    pthread_mutex_unlock(&l->lock);
    cf_err err = prepare(l, &r, i, s, room);
    pthread_mutex_lock(&l->lock);
    if (err != CF_OK && s->err == CF_OK) {
        s->err = err;
        snprintf(s->message, sizeof s->message, "%s", cf_err_text());
    }
    if (++s->n_done == r.n_images) pthread_cond_signal(&l->ready);
}

static void *work(void *loader)
{
    cf_loader *l = loader;
    cf_image room = {0};
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        if (can_claim(l))
            work_once(l, &room);
        else
            pthread_cond_wait(&l->work, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    cf_image_fini(&room);
    return NULL;
}

/* Signals belong to the main thread, which checkpoints on them: these threads start with all
 * blocked. */
static cf_err start_threads(cf_loader *l, int n)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    cf_err err = CF_OK;
    for (int i = 0; i < n && err == CF_OK; i++) {
        int number = pthread_create(&l->threads[i], NULL, work, l);
        if (number != 0)
            err = cf_fail(CF_E_UNEXPECTED, "cannot start loader thread %d of %d: %s", i + 1, n,
                          strerror(number));
        else
            l->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

static cf_err allocate_slot(cf_loader *l, slot *s)
{
    size_t floats, pixels;
    if (!cf_size_mul((size_t)l->batch, l->image_floats, &floats) ||
        !cf_size_mul((size_t)l->batch, pixel_bytes(l->cells), &pixels))
        return cf_fail(CF_E_UNEXPECTED, "a batch of %d images is too large", l->batch);
    CF_TRY(cf_new(&s->labels, (size_t)l->batch, sizeof(int)));
    if (!l->is_raw) return cf_new_aligned(&s->images, floats, sizeof(float));
    CF_TRY(cf_new(&s->raw, (size_t)l->batch, sizeof *s->raw));
    return l->room.held ? CF_OK : l->room.alloc_host(l->room.ctx, pixels, &s->pixels);
}

static cf_err allocate(cf_loader *l, int n_threads)
{
    CF_TRY(cf_new(&l->verified, (size_t)l->cells->n, sizeof *l->verified));
    CF_TRY(cf_new(&l->threads, (size_t)n_threads, sizeof *l->threads));
    CF_TRY(cf_new(&l->queue, (size_t)l->queue_room, sizeof *l->queue));
    CF_TRY(cf_new(&l->slots, (size_t)l->n_slots, sizeof *l->slots));
    for (int i = 0; i < l->n_slots; i++) CF_TRY(allocate_slot(l, &l->slots[i]));
    return CF_OK;
}

static cf_err create(const cf_cells *cells, const cf_config *config, int batch,
                     const cf_raw_room *room /* NULL: not raw */, cf_loader **out)
{
    *out = NULL;
    if (room != NULL && room->held && cells->starts != NULL)
        return cf_fail(CF_E_UNEXPECTED, "loader: encoded images cannot be held");
    if (batch < 1) return cf_fail(CF_E_UNEXPECTED, "loader: a batch of %d images", batch);
    if (config->model_image_size < 1 || config->model_image_size > CF_AUGMENT_MAX_SIZE)
        return cf_fail(CF_E_USAGE, "model.image_size: %lld, expected 1 to %d",
                       (long long)config->model_image_size, CF_AUGMENT_MAX_SIZE);
    cf_loader *l;
    CF_TRY(cf_new(&l, 1, sizeof *l));
    int n_threads = (int)config->run_loader_threads;
    l->cells = cells;
    l->config = config;
    l->batch = batch;
    l->size = (int)config->model_image_size;
    l->image_floats = (size_t)l->size * (size_t)l->size * 3;
    l->n_slots = (int)config->run_prefetch;
    l->is_raw = room != NULL;
    if (room != NULL) l->room = *room;
    l->queue_room = 64;
    cf_normalize_from(config, &l->norm);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    cf_err err = allocate(l, n_threads);
    if (err == CF_OK) err = start_threads(l, n_threads);
    if (err != CF_OK)
        cf_loader_destroy(l);
    else
        *out = l;
    return err;
}

cf_err cf_loader_create(const cf_cells *cells, const cf_config *config, int batch, cf_loader **out)
{
    return create(cells, config, batch, NULL, out);
}

cf_err cf_loader_create_raw(const cf_cells *cells, const cf_config *config, int batch,
                            const cf_raw_room *room, cf_loader **out)
{
    return create(cells, config, batch, room, out);
}

void cf_loader_destroy(cf_loader *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++) pthread_join(l->threads[i], NULL);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    for (int i = 0; l->slots && i < l->n_slots; i++) {
        free(l->slots[i].images);
        free(l->slots[i].labels);
        free(l->slots[i].raw);
        if (l->slots[i].pixels) l->room.free_host(l->room.ctx, l->slots[i].pixels);
    }
    free(l->slots);
    free(l->queue);
    free(l->threads);
    free(l->verified);
    free(l);
}

/* Lock held. Doubles the ring of requests; those not yet claimed move to their new places. */
static cf_err grow_queue(cf_loader *l)
{
    cf_request *queue;
    int64_t room = l->queue_room * 2;
    CF_TRY(cf_new(&queue, (size_t)room, sizeof *queue));
    for (int64_t b = oldest(l); b < l->queued; b++) queue[b % room] = l->queue[b % l->queue_room];
    free(l->queue);
    l->queue = queue;
    l->queue_room = room;
    return CF_OK;
}

static cf_err check_request(const cf_loader *l, const cf_request *r)
{
    if (r->n_images < 1 || r->n_images > l->batch)
        return cf_fail(CF_E_UNEXPECTED, "loader: a request of %d images, expected 1 to %d",
                       r->n_images, l->batch);
    if (r->augment && l->config->augment_stain != CF_STAIN_NONE && !l->cells->stains)
        return cf_fail(CF_E_DATA, "loader: augment.stain is set, but the cells file has no stains");
    for (int i = 0; i < r->n_images; i++)
        if (r->images[i] < 0 || r->images[i] >= l->cells->n)
            return cf_fail(CF_E_UNEXPECTED, "loader: image %lld of %lld", (long long)r->images[i],
                           (long long)l->cells->n);
    return CF_OK;
}

cf_err cf_loader_request(cf_loader *l, const cf_request *r)
{
    CF_TRY(check_request(l, r));
    pthread_mutex_lock(&l->lock);
    cf_err err = l->queued - oldest(l) == l->queue_room ? grow_queue(l) : CF_OK;
    if (err == CF_OK) {
        l->queue[l->queued++ % l->queue_room] = *r;
        pthread_cond_broadcast(&l->work);
    }
    pthread_mutex_unlock(&l->lock);
    return err;
}

/* Lock held. Batch b has all its images. */
static bool is_ready(const cf_loader *l, int64_t b)
{
    return l->claiming > b &&
           l->slots[b % l->n_slots].n_done == l->queue[b % l->queue_room].n_images;
}

cf_err cf_loader_next(cf_loader *l, cf_prepared *batch, int64_t *wait_ns)
{
    *batch = (cf_prepared){0};
    *wait_ns = 0;
    cf_err err = CF_OK;
    pthread_mutex_lock(&l->lock);
    if (l->held) {
        l->held = false;
        pthread_cond_broadcast(&l->work);
    }
    int64_t b = l->returned;
    if (b == l->queued) {
        err = cf_fail(CF_E_UNEXPECTED, "loader: no batch was requested");
        goto out;
    }
    if (!is_ready(l, b)) {
        int64_t start = cf_clock_ns();
        while (!is_ready(l, b)) pthread_cond_wait(&l->ready, &l->lock);
        *wait_ns = cf_clock_ns() - start;
    }
    const slot *s = &l->slots[b % l->n_slots];
    l->returned++;
    l->held = true;
    if (s->err != CF_OK) {
        err = cf_fail(s->err, "%s", s->message);
        goto out;
    }
    *batch =
        (cf_prepared){s->images, s->labels, l->queue[b % l->queue_room].n_images, s->raw, l->norm};
out:
    pthread_mutex_unlock(&l->lock);
    return err;
}
