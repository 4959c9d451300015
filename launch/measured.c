/* JSON is a YAML that our strict reader takes: quoted keys, flow style, no anchors. */
#include "launch/measured.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/yaml.h"

#define MOST 9e15 /* whole numbers that a double holds */

static cf_err find(cf_yaml_node map, const char *key, cf_yaml_node *value)
{
    if (cf_yaml_find(map, key, value)) return CF_OK;
    return cf_yaml_fail(map, "no key %s: expected what cytofold bench --json prints", key);
}

static cf_err read_integer(cf_yaml_node map, const char *key, int64_t *value)
{
    cf_yaml_node node;
    CF_TRY(find(map, key, &node));
    return cf_yaml_get_integer(node, key, 1, (int64_t)MOST, value);
}

static cf_err read_text(cf_yaml_node map, const char *key, char *value, size_t room)
{
    cf_yaml_node node;
    CF_TRY(find(map, key, &node));
    return cf_yaml_get_text(node, key, value, room);
}

/* Left out, or of no kind of work: the step is not divided. */
static cf_err read_update(cf_yaml_node map, double *seconds)
{
    cf_yaml_node phases, update;
    double ms = 0;
    *seconds = 0;
    if (!cf_yaml_find(map, "phase_ms", &phases) || cf_yaml_node_kind(phases) != CF_YAML_MAP)
        return CF_OK;
    if (!cf_yaml_find(phases, "update", &update)) return CF_OK;
    CF_TRY(cf_yaml_get_number(update, "phase_ms.update", 0, 1e9, &ms));
    *seconds = 1e-3 * ms;
    return CF_OK;
}

static cf_err read_bench(cf_yaml_node map, cf_measured *m)
{
    cf_yaml_node node;
    double ms = 0;
    CF_TRY(cf_yaml_expect(map, CF_YAML_MAP, "a measured step"));
    CF_TRY(read_text(map, "backend", m->backend, sizeof m->backend));
    CF_TRY(read_text(map, "device", m->device, sizeof m->device));
    CF_TRY(read_text(map, "precision", m->precision, sizeof m->precision));
    CF_TRY(read_integer(map, "batch", &m->batch));
    CF_TRY(read_integer(map, "image_size", &m->image_size));
    CF_TRY(read_integer(map, "parameters", &m->parameters));
    CF_TRY(find(map, "step_ms", &node));
    CF_TRY(cf_yaml_get_number(node, "step_ms", 1e-6, 1e9, &ms));
    m->step_seconds = 1e-3 * ms;
    CF_TRY(read_update(map, &m->update_seconds));
    if (m->update_seconds < m->step_seconds) return CF_OK;
    return cf_yaml_fail(map, "the update takes %g s of a step of %g s, expected less",
                        m->update_seconds, m->step_seconds);
}

cf_err cf_measured_read(const char *path, cf_measured *m)
{
    cf_yaml *yaml = NULL;
    char *text = NULL;
    *m = (cf_measured){0};
    CF_TRY(cf_yaml_read(path, &yaml, &text));
    cf_yaml_node root = cf_yaml_root(yaml), inner;
    bool report = cf_yaml_node_kind(root) == CF_YAML_MAP && cf_yaml_find(root, "matek2021", &inner);
    cf_err err = read_bench(report ? inner : root, m);
    cf_yaml_destroy(yaml);
    free(text);
    return err;
}

cf_err cf_measured_check(const cf_measured *m, const char *path, const cf_config *config,
                         const cf_graph *graph)
{
    static const char *const precisions[] = {"fp32", "bf16", "fp16"};
    const char *precision = precisions[config->train_precision];
    if (m->image_size != config->model_image_size)
        return cf_fail(CF_E_USAGE, "%s was measured with images of %lld px, expected %lld", path,
                       (long long)m->image_size, (long long)config->model_image_size);
    if (strcmp(m->precision, precision) != 0)
        return cf_fail(CF_E_USAGE, "%s was measured in %s, expected %s (train.precision)", path,
                       m->precision, precision);
    double n = (double)graph->n_weights;
    if (fabs((double)m->parameters - n) > 0.01 * n)
        return cf_fail(CF_E_USAGE, "%s was measured with %lld parameters, expected about %lld",
                       path, (long long)m->parameters, (long long)graph->n_weights);
    return CF_OK;
}
