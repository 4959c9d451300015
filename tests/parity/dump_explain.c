/* What PyTorch needs to explain the same image with the same network and the same noise, and our
 * maps: for torch_explain.py.
 *
 * usage: dump_explain RUN X.cells FOLD ID CLASS SAMPLES FOLDER
 *
 * Writes into FOLDER: tensors.txt (name, kind, offset, dimensions; moments' offsets count behind
 * the weights), weights.f32, image.f32 [H][W][3], noisy.f32 [SAMPLES][H][W][3], gradcam.f32,
 * smoothgrad.f32 [H][W][3]. Prints the class's score and the map's height. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/data/loader.h"
#include "worker/insight/explain.h"
#include "worker/insight/smoothgrad.h"
#include "worker/models.h"

enum { SEED = 1 };
static const double NOISE = 0.15;

typedef struct dump {
    cf_saved run;
    cf_cells cells;
    const char *folder;
    int64_t image;
    int fold, class, samples;
} dump;

static cf_err save(const dump *d, const char *name, const void *bytes, size_t n)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, d->folder, name));
    return cf_file_save(path, bytes, n);
}

static cf_err save_network(const dump *d)
{
    static const char *const kinds[] = {"weight", "bias", "gamma", "beta", "mean", "var"};
    cf_graph *g = NULL;
    cf_buf text = {0};
    float *weights = NULL;
    CF_TRY(cf_model_build(&d->run.config, &d->run.scheme, 1, &g));
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        bool moment = p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
        cf_buf_printf(&text, "%s %s %lld", p->name, kinds[p->kind],
                      (long long)(p->offset + (moment ? g->n_weights : 0)));
        for (int k = 0; k < p->rank; k++) cf_buf_printf(&text, " %lld", (long long)p->dim[k]);
        cf_buf_printf(&text, "\n");
    }
    size_t n = (size_t)(g->n_weights + g->n_state);
    cf_err err = cf_new(&weights, n, sizeof *weights);
    if (err == CF_OK) err = cf_saved_weights(&d->run, g, d->fold, weights, weights + g->n_weights);
    if (err == CF_OK) err = save(d, "weights.f32", weights, n * sizeof *weights);
    if (err == CF_OK) err = save(d, "tensors.txt", text.data, text.len);
    free(weights);
    cf_buf_fini(&text);
    cf_graph_destroy(g);
    return err;
}

static cf_err save_images(const dump *d)
{
    cf_loader *loader = NULL;
    cf_prepared p;
    cf_request r = {.images = &d->image, .n_images = 1, .fold = d->fold};
    int64_t wait_ns = 0, side = d->run.config.model_image_size, n = side * side * 3;
    float *noisy = NULL;
    CF_TRY(cf_new(&noisy, (size_t)(n * d->samples), sizeof *noisy));
    cf_err err = cf_loader_create(&d->cells, &d->run.config, 1, &loader);
    if (err == CF_OK) err = cf_loader_request(loader, &r);
    if (err == CF_OK) err = cf_loader_next(loader, &p, &wait_ns);
    if (err == CF_OK) {
        cf_smoothgrad_stream stream = {.seed = SEED, .image = d->cells.hashes[d->image]};
        double sigma = cf_smoothgrad_sigma(p.images, n, NOISE);
        for (int s = 0; s < d->samples; s++)
            cf_smoothgrad_noise(stream, s, sigma, p.images, n, noisy + s * n);
        err = save(d, "image.f32", p.images, (size_t)n * sizeof(float));
    }
    if (err == CF_OK) err = save(d, "noisy.f32", noisy, (size_t)(n * d->samples) * sizeof *noisy);
    cf_loader_destroy(loader);
    free(noisy);
    return err;
}

static cf_err found(void *context, const cf_explanation *x)
{
    const dump *d = context;
    size_t map = (size_t)x->map_height * (size_t)x->map_width;
    printf("%.9g %d\n", x->score, x->map_height);
    CF_TRY(save(d, "gradcam.f32", x->gradcam, map * sizeof(float)));
    return save(d, "smoothgrad.f32", x->smoothgrad,
                (size_t)x->size * (size_t)x->size * 3 * sizeof(float));
}

static cf_err run(dump *d, char **argv)
{
    cf_explain_report report;
    cf_explain_options o = {.images = &d->image,
                            .folds = &d->fold,
                            .n_images = 1,
                            .class = d->class,
                            .gradcam = true,
                            .smoothgrad = true,
                            .samples = d->samples,
                            .noise = NOISE,
                            .seed = SEED,
                            .found = found,
                            .context = d};
    CF_TRY(cf_saved_open(argv[1], &d->run));
    CF_TRY(cf_cells_open_any(argv[2], &d->cells));
    for (d->image = 0; d->image < d->cells.n; d->image++)
        if (strcmp(d->cells.ids[d->image], argv[4]) == 0) break;
    if (d->image == d->cells.n) return cf_fail(CF_E_USAGE, "no image %s", argv[4]);
    CF_TRY(save_network(d));
    CF_TRY(save_images(d));
    return cf_explain(&d->run, &d->cells, &o, &report);
}

int main(int argc, char **argv)
{
    static dump d;
    if (argc != 8) {
        fprintf(stderr, "usage: dump_explain RUN X.cells FOLD ID CLASS SAMPLES FOLDER\n");
        return CF_E_USAGE;
    }
    d.fold = atoi(argv[3]);
    d.class = atoi(argv[5]);
    d.samples = atoi(argv[6]);
    d.folder = argv[7];
    cf_err err = run(&d, argv);
    if (err != CF_OK) fprintf(stderr, "dump_explain: %s\n", cf_err_text());
    cf_cells_close(&d.cells);
    cf_saved_fini(&d.run);
    return (int)err;
}
