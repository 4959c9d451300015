#include "worker/model_facts.h"

#include <stdlib.h>

#include "kernels/base/mem.h"

cf_err cf_facts_add(cf_facts *facts, const char *key, const char *value)
{
    char *copy = NULL;
    if (facts->n == CF_MAX_FACTS)
        return cf_fail(CF_E_UNEXPECTED, "more than %d facts", (int)CF_MAX_FACTS);
    CF_TRY(cf_strdup(value, &copy));
    facts->items[facts->n++] = (cf_safetensor_note){key, copy};
    return CF_OK;
}

void cf_facts_fini(cf_facts *facts)
{
    for (int i = 0; i < facts->n; i++)
        free((char *)(uintptr_t)facts->items[i].value); /* owned here */
    facts->n = 0;
}

void cf_fact_nodes(const cf_scheme *scheme, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, true);
    cf_json_array(&j, NULL);
    for (int i = 0; i < scheme->n_nodes; i++) cf_json_string(&j, NULL, scheme->node_names[i]);
    cf_json_end_array(&j);
}

static void write_codes(const cf_saved *run, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, true);
    cf_json_array(&j, NULL);
    for (int i = 0; i < run->scheme.n_classes; i++)
        cf_json_string(&j, NULL, run->scheme.classes[i].code);
    cf_json_end_array(&j);
}

static void write_names(const cf_saved *run, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, true);
    cf_json_array(&j, NULL);
    for (int i = 0; i < run->scheme.n_classes; i++)
        cf_json_string(&j, NULL, run->scheme.classes[i].name);
    cf_json_end_array(&j);
}

static void write_nodes(const cf_saved *run, cf_buf *out)
{
    cf_fact_nodes(&run->scheme, out);
}

static void write_class_of(const cf_saved *run, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, true);
    cf_json_array(&j, NULL);
    for (int i = 0; i < run->scheme.n_nodes; i++)
        cf_json_integer(&j, NULL, run->scheme.class_of[i]);
    cf_json_end_array(&j);
}

static void write_folds(const cf_saved *run, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, true);
    cf_json_array(&j, NULL);
    for (int i = 0; i < run->n_folds; i++) cf_json_integer(&j, NULL, run->folds[i]);
    cf_json_end_array(&j);
}

static void write_producer(const cf_saved *run, cf_buf *out)
{
    (void)run;
    cf_buf_printf(out, "cytofold %s", CYTOFOLD_VERSION);
}

static void write_scheme_name(const cf_saved *run, cf_buf *out)
{
    cf_buf_printf(out, "%s", run->scheme.name);
}

static void write_scheme(const cf_saved *run, cf_buf *out)
{
    cf_buf_printf(out, "%s", run->scheme.text);
}

static void write_config(const cf_saved *run, cf_buf *out)
{
    cf_config_write_essential(&run->config, out);
}

static void write_images(const cf_saved *run, cf_buf *out)
{
    cf_buf_printf(out, "%d x %d px, %.9g um/px", run->width, run->height, run->um_per_px);
}

static void write_input(const cf_saved *run, cf_buf *out)
{
    const cf_config *c = &run->config;
    const double *mean = c->augment_mean.items, *std = c->augment_std.items;
    cf_buf_printf(out,
                  "RGB in [0, 1], %lld x %lld px of the image zoomed by %g round its centre, less "
                  "mean [%.9g, %.9g, %.9g], divided by std [%.9g, %.9g, %.9g]",
                  (long long)c->model_image_size, (long long)c->model_image_size, c->augment_zoom,
                  mean[0], mean[1], mean[2], std[0], std[1], std[2]);
}

cf_err cf_facts_of_run(const cf_saved *run, cf_facts *facts)
{
    static const struct {
        const char *key;
        void (*write)(const cf_saved *run, cf_buf *out);
    } rows[] = {
        {"producer", write_producer},   {"scheme", write_scheme_name},
        {"classes", write_codes},       {"class_names", write_names},
        {CF_FACT_NODES, write_nodes},   {"class_of_node", write_class_of},
        {"folds", write_folds},         {"network_input", write_input},
        {CF_FACT_IMAGES, write_images}, {CF_FACT_SCHEME, write_scheme},
        {CF_FACT_CONFIG, write_config},
    };
    cf_buf text = {0};
    cf_err err = CF_OK;
    facts->n = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && err == CF_OK; i++) {
        cf_buf_clear(&text);
        rows[i].write(run, &text);
        err = cf_buf_check(&text);
        if (err == CF_OK) err = cf_facts_add(facts, rows[i].key, cf_buf_text(&text));
    }
    cf_buf_fini(&text);
    return err;
}
