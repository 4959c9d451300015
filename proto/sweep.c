#include "proto/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/config_table.h"
#include "proto/text.h"

static const char prefix[] = "sweep.";

/* ---- reading ----------------------------------------------------------------------------------
 */

/* A key that a sweep may give values to; NULL with the message set. */
static cf_err find_key(cf_yaml_node at, const char *path, const cf_key **key)
{
    char quoted[CF_QUOTE_MAX];
    const char *paths[256];
    int n = 0, n_keys = 0;
    const cf_key *keys = cf_config_keys(&n_keys);
    *key = cf_config_key(path);
    if (*key == NULL) {
        for (int i = 0; i < n_keys && n < 256; i++) paths[n++] = keys[i].path;
        const char *nearest = cf_text_nearest(path, paths, n);
        cf_text_quote(path, quoted);
        if (nearest != NULL)
            return cf_yaml_fail(at, "unknown key %s in section sweep; did you mean \"%s\"?", quoted,
                                nearest);
        return cf_yaml_fail(at, "unknown key %s in section sweep; expected one as train.epochs",
                            quoted);
    }
    if (strcmp((*key)->section, "data") == 0)
        return cf_yaml_fail(at,
                            "%s cannot be in a sweep: its points share one cells file and one "
                            "split, so that they can be compared image by image",
                            path);
    if ((*key)->type == CF_KEY_TEXT)
        return cf_yaml_fail(at, "%s cannot be in a sweep: it is a text", path);
    if (!cf_key_changes_result(*key))
        return cf_yaml_fail(at, "%s cannot be in a sweep: it does not change a result", path);
    return CF_OK;
}

static bool has_value(const cf_sweep_axis *axis, const char *text)
{
    for (size_t i = 0; i < axis->values.n; i++)
        if (strcmp(axis->values.items[i], text) == 0) return true;
    return false;
}

/* Reads a value by the key's own rule and keeps it in the one form that a value has. */
static cf_err take_value(cf_sweep_axis *axis, const cf_key *key, cf_yaml_node node,
                         cf_config *scratch)
{
    cf_buf text = {0};
    CF_TRY(cf_key_read(key, node, scratch));
    cf_key_write(key, scratch, &text);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK && has_value(axis, text.data))
        err = cf_yaml_fail(node, "sweep.%s has the value %.80s twice", key->path, text.data);
    if (err == CF_OK) err = cf_strings_add(&axis->values, text.data);
    cf_buf_fini(&text);
    return err;
}

static cf_err take_values(cf_sweep_axis *axis, const cf_key *key, cf_yaml_node list)
{
    char what[80];
    cf_config *scratch = NULL;
    snprintf(what, sizeof what, "%s%s", prefix, key->path);
    CF_TRY(cf_yaml_expect(list, CF_YAML_LIST, what));
    int n = cf_yaml_count(list);
    if (n < 1 || n > CF_SWEEP_MAX_POINTS)
        return cf_yaml_fail(list, "%s has %d values; expected 1 to %d", what, n,
                            (int)CF_SWEEP_MAX_POINTS);
    CF_TRY(cf_new(&scratch, 1, sizeof *scratch));
    cf_err err = CF_OK;
    for (int i = 0; i < n && err == CF_OK; i++)
        err = take_value(axis, key, cf_yaml_item(list, i), scratch);
    free(scratch);
    return err;
}

/* "2 x 3 = 6", or what is too many of it. */
static cf_err count_points(cf_sweep *sweep, cf_yaml_node at)
{
    cf_buf product = {0};
    int64_t n = 1;
    for (int i = 0; i < sweep->n_axes; i++) {
        int64_t values = (int64_t)sweep->axes[i].values.n;
        n = n <= CF_SWEEP_MAX_POINTS ? n * values : n;
        cf_buf_printf(&product, "%s%lld", i > 0 ? " x " : "", (long long)values);
    }
    cf_err err = cf_buf_check(&product);
    if (err == CF_OK && n > CF_SWEEP_MAX_POINTS)
        err = cf_yaml_fail(at, "the sweep has %s points; expected at most %d",
                           cf_buf_text(&product), (int)CF_SWEEP_MAX_POINTS);
    cf_buf_fini(&product);
    if (err == CF_OK) sweep->n_points = sweep->n_axes > 0 ? (int)n : 0;
    return err;
}

static cf_sweep_axis *find_axis(cf_sweep *sweep, const char *path)
{
    for (int i = 0; i < sweep->n_axes; i++)
        if (strcmp(sweep->axes[i].path, path) == 0) return &sweep->axes[i];
    return NULL;
}

/* A key that is there already gets these values instead. */
static cf_err take_axis(cf_sweep *sweep, const cf_key *key, cf_yaml_node at, cf_yaml_node list)
{
    cf_sweep_axis *axis = find_axis(sweep, key->path);
    if (axis == NULL && sweep->n_axes == CF_SWEEP_MAX_AXES)
        return cf_yaml_fail(at, "the sweep has more than %d keys", (int)CF_SWEEP_MAX_AXES);
    if (axis == NULL) {
        axis = &sweep->axes[sweep->n_axes++];
        snprintf(axis->path, sizeof axis->path, "%s", key->path);
    }
    cf_strings_fini(&axis->values);
    axis->values = (cf_strings){0};
    return take_values(axis, key, list);
}

cf_err cf_sweep_take_map(cf_sweep *sweep, cf_yaml_node map)
{
    CF_TRY(cf_yaml_expect(map, CF_YAML_MAP, "section sweep"));
    for (int i = 0; i < cf_yaml_count(map); i++) {
        const cf_key *key = NULL;
        cf_yaml_node at = cf_yaml_key(map, i);
        CF_TRY(find_key(at, cf_yaml_text(at), &key));
        CF_TRY(take_axis(sweep, key, at, cf_yaml_value(map, i)));
    }
    return count_points(sweep, map);
}

bool cf_sweep_is_override(const char *assignment)
{
    return strncmp(assignment, prefix, sizeof prefix - 1) == 0;
}

cf_err cf_sweep_set(cf_sweep *sweep, const char *assignment)
{
    char path[128], name[160], quoted[CF_QUOTE_MAX];
    const cf_key *key = NULL;
    cf_yaml *yaml = NULL;
    const char *begin = assignment + sizeof prefix - 1, *sign = strchr(assignment, '=');
    if (sign == NULL || sign <= begin)
        return cf_fail(CF_E_USAGE, "--set %s: expected sweep.section.key=[value, ...]",
                       cf_text_quote(assignment, quoted));
    snprintf(path, sizeof path, "%.*s", (int)(sign - begin), begin);
    snprintf(name, sizeof name, "--set %s%.100s", prefix, path);
    CF_TRY(cf_yaml_parse(name, sign + 1, strlen(sign + 1), &yaml));
    cf_yaml_node root = cf_yaml_root(yaml);
    cf_err err = find_key(root, path, &key);
    if (err == CF_OK) err = take_axis(sweep, key, root, root);
    if (err == CF_OK) err = count_points(sweep, root);
    cf_yaml_destroy(yaml);
    return err;
}

/* A point's value would be overridden, or override: neither is what was meant. */
static cf_err expect_free(cf_sweep *sweep, const char *assignment)
{
    char path[128], quoted[CF_QUOTE_MAX];
    snprintf(path, sizeof path, "%.*s", (int)strcspn(assignment, "="), assignment);
    if (find_axis(sweep, path) == NULL) return CF_OK;
    return cf_fail(CF_E_USAGE,
                   "--set %s: the sweep gives %s its values; expected --set sweep.%s=[...]",
                   cf_text_quote(assignment, quoted), path, path);
}

cf_err cf_sweep_read(const char *path, const cf_strings *overrides, cf_sweep *sweep)
{
    cf_yaml *yaml = NULL;
    cf_yaml_node map;
    size_t n = overrides != NULL ? overrides->n : 0;
    *sweep = (cf_sweep){0};
    CF_TRY(cf_yaml_read(path, &yaml, NULL));
    cf_err err = CF_OK;
    cf_yaml_node root = cf_yaml_root(yaml);
    if (cf_yaml_node_kind(root) == CF_YAML_MAP && cf_yaml_find(root, "sweep", &map))
        err = cf_sweep_take_map(sweep, map);
    cf_yaml_destroy(yaml);
    for (size_t i = 0; i < n && err == CF_OK; i++)
        if (cf_sweep_is_override(overrides->items[i]))
            err = cf_sweep_set(sweep, overrides->items[i]);
    for (size_t i = 0; i < n && err == CF_OK; i++) err = expect_free(sweep, overrides->items[i]);
    return err;
}

void cf_sweep_fini(cf_sweep *sweep)
{
    for (int i = 0; i < sweep->n_axes; i++) cf_strings_fini(&sweep->axes[i].values);
    *sweep = (cf_sweep){0};
}

/* ---- points -----------------------------------------------------------------------------------
 */

const char *cf_sweep_value(const cf_sweep *sweep, int point, int axis)
{
    for (int i = sweep->n_axes - 1; i > axis; i--) point /= (int)sweep->axes[i].values.n;
    const cf_strings *values = &sweep->axes[axis].values;
    return values->items[(size_t)point % values->n];
}

cf_err cf_sweep_overrides(const cf_sweep *sweep, int point, const cf_strings *overrides,
                          cf_strings *out)
{
    for (size_t i = 0; i < overrides->n; i++)
        if (!cf_sweep_is_override(overrides->items[i]))
            CF_TRY(cf_strings_add(out, overrides->items[i]));
    for (int i = 0; i < sweep->n_axes; i++) {
        cf_buf text = {0};
        cf_buf_printf(&text, "%s=%s", sweep->axes[i].path, cf_sweep_value(sweep, point, i));
        cf_err err = cf_buf_check(&text);
        if (err == CF_OK) err = cf_strings_add(out, text.data);
        cf_buf_fini(&text);
        CF_TRY(err);
    }
    return CF_OK;
}

void cf_sweep_name(int point, char name[32])
{
    snprintf(name, 32, "point-%03d", point);
}

void cf_sweep_describe(const cf_sweep *sweep, int point, cf_buf *out)
{
    for (int i = 0; i < sweep->n_axes; i++)
        cf_buf_printf(out, "%s%s %s", i > 0 ? ", " : "", sweep->axes[i].path,
                      cf_sweep_value(sweep, point, i));
}

void cf_sweep_write(const cf_sweep *sweep, cf_buf *out)
{
    cf_buf_printf(out, "sweep:\n");
    for (int i = 0; i < sweep->n_axes; i++) {
        const cf_strings *values = &sweep->axes[i].values;
        cf_buf_printf(out, "  %s: [", sweep->axes[i].path);
        for (size_t k = 0; k < values->n; k++)
            cf_buf_printf(out, "%s%s", k > 0 ? ", " : "", values->items[k]);
        cf_buf_printf(out, "]\n");
    }
    for (int point = 0; point < sweep->n_points; point++) {
        char name[32];
        cf_sweep_name(point, name);
        cf_buf_printf(out, "# %s: ", name);
        cf_sweep_describe(sweep, point, out);
        cf_buf_printf(out, "\n");
    }
}
