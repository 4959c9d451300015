/* Weights of other programs: whatever a file holds, it fills the whole network with finite numbers,
 * or is refused and says why. */
#include <math.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "worker/models.h"
#include "worker/weight_file.h"

/* A network of a few hundred weights, and room for them behind which nothing may be written. */
typedef struct network {
    cf_scheme scheme;
    cf_graph *g;
    float *values; /* [n_weights + n_state] */
    int64_t n;
} network;

static void open_network(network *w)
{
    static const char *const codes[] = {"A", "B", "C"};
    static const char *const sets[] = {"model.network=sequential", "model.image_size=16",
                                       "model.widths=[2, 3]",      "model.norm=batch",
                                       "train.micro_batch=1",      "train.batch=1"};
    cf_config config;
    cf_config_defaults(&config);
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        FUZZ_REQUIRE(cf_config_set(&config, sets[i]) == CF_OK);
    FUZZ_REQUIRE(cf_scheme_from_codes(codes, 3, &w->scheme) == CF_OK);
    FUZZ_REQUIRE(cf_model_build(&config, &w->scheme, 1, &w->g) == CF_OK);
    w->n = w->g->n_weights + w->g->n_state;
    w->values = malloc((size_t)w->n * sizeof *w->values);
    FUZZ_REQUIRE(w->values != NULL);
}

static void close_network(network *w)
{
    free(w->values);
    cf_graph_destroy(w->g);
    cf_scheme_fini(&w->scheme);
}

static void read_into(const cf_safetensors *f, network *w, cf_weight_use use)
{
    cf_weight_taken taken, checked;
    for (int64_t i = 0; i < w->n; i++) w->values[i] = NAN;
    cf_err err = cf_weight_file_read(f, w->g, &w->scheme, use, w->values,
                                     w->values + w->g->n_weights, &taken);
    cf_err check = cf_weight_file_check(f, w->g, &w->scheme, use, &checked);
    FUZZ_REQUIRE(err == CF_OK || err == CF_E_CHECKPOINT);
    FUZZ_REQUIRE(check == CF_OK || err == check);
    if (err != CF_OK) return;
    int64_t n_filled = 0, n_taken = 0;
    for (int64_t i = 0; i < w->n; i++) n_filled += isfinite(w->values[i]);
    for (int i = 0; i < w->g->n_params; i++)
        if (!taken.classifier_left || strncmp(w->g->params[i].name, "fc.", 3) != 0)
            n_taken += w->g->params[i].count;
    FUZZ_REQUIRE(n_filled == n_taken && checked.classifier_left == taken.classifier_left);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    cf_safetensors f;
    if (cf_safetensors_parse("input", data, n, &f) != CF_OK) return 0;
    network w;
    open_network(&w);
    read_into(&f, &w, CF_WEIGHT_USE_ALL);
    read_into(&f, &w, CF_WEIGHT_USE_START);
    close_network(&w);
    cf_safetensors_close(&f);
    return 0;
}

/* Both families of names, with and without what a file says of itself. */
void fuzz_seeds(fuzz_take *take, void *context)
{
    static const cf_naming names[] = {CF_NAMING_TORCHVISION, CF_NAMING_CYTOFOLD};
    const cf_safetensor_note notes[] = {{"names", "timm"}, {"nodes", "[\"A\", \"B\", \"D\"]"}};
    network w;
    open_network(&w);
    for (int64_t i = 0; i < w.n; i++) w.values[i] = (float)i;
    for (int k = 0; k < 3; k++) {
        const char *path = fuzz_scratch();
        size_t n = 0;
        FUZZ_REQUIRE(cf_weight_file_write(path, w.g, names[k % 2], w.values,
                                          w.values + w.g->n_weights, notes,
                                          k == 2 ? 2 : 0) == CF_OK);
        uint8_t *bytes = fuzz_load(path, &n);
        take(context, bytes, n);
        free(bytes);
    }
    close_network(&w);
}
