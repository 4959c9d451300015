/* A tiny network's checkpoint, cut at every length and with every single bit flipped, or with FLIPS
 * random ones (RELIABILITY 8): damage DIR FLIPS SEED; FLIPS 0: every bit. Each damage is refused by
 * name of an offset or tensor, and the store falls back to the checkpoint before it. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "worker/models.h"
#include "worker/store.h"

enum { OLD_STEP = 6, NEW_STEP = 12 };

/* ---- the two checkpoints ----------------------------------------------------------------------
 */

static cf_err build(cf_config *config, cf_graph **g)
{
    static const char *const sets[] = {"model.network=sequential", "model.widths=[1, 2]",
                                       "model.image_size=16", "model.outputs=3"};
    cf_config_defaults(config);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) CF_TRY(cf_config_set(config, sets[i]));
    return cf_model_build(config, NULL, 1, g);
}

/* As a trainer saves it: weights, state, one moment. */
static cf_err save(cf_store *store, const char *dir, const cf_config *config, const cf_graph *g,
                   int64_t step)
{
    cf_checkpoint *c = NULL;
    float *weights = NULL;
    size_t n = (size_t)g->n_weights, n_state = (size_t)g->n_state;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&c, 1, sizeof *c), out);
    CF_TRY_GOTO(cf_new(&weights, 2 * n + n_state, sizeof *weights), out);
    CF_TRY_GOTO(cf_new(&c->entries, (size_t)g->n_params, sizeof *c->entries), out);
    cf_model_init(g, config, (int)step, weights, weights + n);
    c->step = step;
    c->total_steps = NEW_STEP;
    c->steps_per_epoch = OLD_STEP;
    c->epoch = step / OLD_STEP;
    strcpy(c->config, "model:\n  network: sequential\n  widths: [1, 2]\n  image_size: 16\n");
    c->flats[0] = (cf_flat){.name = "weights", .count = g->n_weights, .data = weights};
    c->flats[1] = (cf_flat){.name = "state", .count = g->n_state, .data = weights + n};
    c->flats[2] =
        (cf_flat){.name = "moment1", .count = g->n_weights, .data = weights + n + n_state};
    c->n_flats = 3;
    c->n_entries = g->n_params;
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        bool state = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
        cf_tensor_entry *e = &c->entries[i];
        memcpy(e->name, p->name, sizeof e->name);
        strcpy(e->flat, state ? "state" : "weights");
        e->rank = p->rank;
        memcpy(e->dim, p->dim, sizeof e->dim);
        e->offset = p->offset;
    }
    CF_TRY_GOTO(cf_store_save(store, dir, c), out);
    err = cf_store_flush(store);
out:
    if (c != NULL) free(c->entries);
    free(weights);
    free(c);
    return err;
}

static cf_err make_checkpoints(const char *dir)
{
    cf_config *config = NULL;
    cf_graph *g = NULL;
    cf_store *store = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&config, 1, sizeof *config), out);
    CF_TRY_GOTO(build(config, &g), out);
    CF_TRY_GOTO(cf_store_create(&store), out);
    CF_TRY_GOTO(save(store, dir, config, g, OLD_STEP), out);
    err = save(store, dir, config, g, NEW_STEP);
out:
    cf_store_destroy(store);
    cf_graph_destroy(g);
    free(config);
    return err;
}

/* ---- damage -----------------------------------------------------------------------------------
 */

typedef struct lab {
    const char *dir;
    char path[CF_PATH_MAX]; /* of the new checkpoint */
    uint8_t *bytes;         /* owned: as it was */
    size_t n;
    cf_checkpoint c;
    long tried, failed;
} lab;

/* The damaged file is refused by name, and the store takes up the one before. */
static void judge(lab *l, const char *what, size_t where)
{
    bool found = false;
    l->tried++;
    cf_err err = cf_store_load_step(l->dir, NEW_STEP, &l->c);
    const char *text = cf_err_text();
    bool named = strstr(text, "byte ") != NULL || strstr(text, "tensor ") != NULL;
    if (err != CF_E_CHECKPOINT || !named) {
        l->failed++;
        printf("FAILED: %s %zu: code %d, %s\n", what, where, (int)err, text);
        if (err == CF_OK) cf_checkpoint_fini(&l->c);
    }
    err = cf_store_load_newest(l->dir, &l->c, &found);
    if (err != CF_OK || !found || l->c.step != OLD_STEP) {
        l->failed++;
        printf("FAILED: %s %zu: code %d, step %lld is taken up\n", what, where, (int)err,
               found ? (long long)l->c.step : -1);
    }
    if (found) cf_checkpoint_fini(&l->c);
}

static int flip(lab *l, int fd, size_t bit)
{
    uint8_t byte = (uint8_t)(l->bytes[bit / 8] ^ 1u << bit % 8);
    if (pwrite(fd, &byte, 1, (off_t)(bit / 8)) != 1) return 1;
    judge(l, "bit", bit);
    return pwrite(fd, &l->bytes[bit / 8], 1, (off_t)(bit / 8)) != 1;
}

/* Knuth's MMIX generator; the high bits are good enough to choose a place. */
static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 32;
}

static int flip_bits(lab *l, long flips, uint64_t seed)
{
    int bad = 0, fd = open(l->path, O_WRONLY);
    if (fd < 0) return 1;
    for (size_t bit = 0; flips == 0 && bit < 8 * l->n && bad == 0; bit++) bad = flip(l, fd, bit);
    for (long i = 0; i < flips && bad == 0; i++) bad = flip(l, fd, draw(&seed) % (8 * l->n));
    close(fd);
    return bad;
}

/* Last: the file is not whole after it. */
static int cut(lab *l)
{
    for (size_t n = l->n; n-- > 0;) {
        if (truncate(l->path, (off_t)n) != 0) return 1;
        judge(l, "length", n);
    }
    return 0;
}

static int run(lab *l, long flips, uint64_t seed)
{
    bool found = false;
    if (cf_path_join(l->path, sizeof l->path, l->dir, "checkpoint-12.ckpt") != CF_OK ||
        cf_file_read(l->path, 1 << 20, (char **)&l->bytes, &l->n) != CF_OK ||
        flip_bits(l, flips, seed) != 0 || cf_store_load_newest(l->dir, &l->c, &found) != CF_OK ||
        l->c.step != NEW_STEP) {
        fprintf(stderr, "%s: cannot be damaged and mended: %s\n", l->path, cf_err_text());
        return 1;
    }
    cf_checkpoint_fini(&l->c);
    long n_flips = l->tried;
    if (cut(l) != 0) return 1;
    printf("checkpoint of %zu bytes: %ld flips, %ld lengths, %ld failed\n", l->n, n_flips,
           l->tried - n_flips, l->failed);
    return l->failed > 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: damage DIR FLIPS SEED\n");
        return 2;
    }
    lab *l = NULL;
    cf_err err = cf_new(&l, 1, sizeof *l);
    if (err == CF_OK) err = make_checkpoints(argv[1]);
    if (err != CF_OK) {
        fprintf(stderr, "%s\n", cf_err_text());
        free(l);
        return 1;
    }
    printf("seed %s\n", argv[3]);
    l->dir = argv[1];
    /* That each damaged file is passed over is what is expected here: not worth a line. */
    if (getenv("CYTOFOLD_VERBOSE") == NULL && freopen("/dev/null", "w", stderr) == NULL) return 1;
    int failed = run(l, atol(argv[2]), strtoull(argv[3], NULL, 10));
    free(l->bytes);
    free(l);
    return failed;
}
