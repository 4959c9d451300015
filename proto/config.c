#include "proto/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "proto/config_table.h"
#include "proto/stop_rules.h"
#include "proto/sweep.h"
#include "proto/text.h"
#include "proto/yaml.h"

enum { MAX_NAMES = 64 };

/* Not of the table: a run has one value for each key. */
static const char sweep_section[] = "sweep";

static cf_err read_word(const cf_key *key, cf_yaml_node node, int *value)
{
    char storage[256], quoted[CF_QUOTE_MAX];
    const char *words[CF_WORDS_MAX];
    CF_TRY(cf_yaml_expect(node, CF_YAML_SCALAR, key->path));
    int n = cf_key_words(key, storage, words);
    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], cf_yaml_text(node)) != 0) continue;
        *value = i;
        return CF_OK;
    }
    return cf_yaml_fail(node, "%s is %s; expected one of %s", key->path,
                        cf_text_quote(cf_yaml_text(node), quoted), key->words);
}

static cf_err expect_list(const cf_key *key, cf_yaml_node node)
{
    CF_TRY(cf_yaml_expect(node, CF_YAML_LIST, key->path));
    int n = cf_yaml_count(node);
    if (n > CF_LIST_MAX)
        return cf_yaml_fail(node, "%s has %d entries; expected at most %d", key->path, n,
                            (int)CF_LIST_MAX);
    return CF_OK;
}

static cf_err read_integers(const cf_key *key, cf_yaml_node node, cf_int_list *list)
{
    CF_TRY(expect_list(key, node));
    cf_int_list found = {.n = cf_yaml_count(node)};
    for (int i = 0; i < found.n; i++)
        CF_TRY(cf_yaml_get_integer(cf_yaml_item(node, i), key->path, (int64_t)key->min,
                                   (int64_t)key->max, &found.items[i]));
    *list = found;
    return CF_OK;
}

static cf_err read_numbers(const cf_key *key, cf_yaml_node node, cf_num_list *list)
{
    CF_TRY(expect_list(key, node));
    cf_num_list found = {.n = cf_yaml_count(node)};
    for (int i = 0; i < found.n; i++)
        CF_TRY(cf_yaml_get_number(cf_yaml_item(node, i), key->path, key->min, key->max,
                                  &found.items[i]));
    *list = found;
    return CF_OK;
}

/* Keys whose text has a form of its own: found wrong here, where the line is known. */
static cf_err check_text(const cf_key *key, cf_yaml_node node, const char *text)
{
    cf_save_on signals;
    int64_t seconds = 0;
    cf_err err = CF_OK;
    if (strcmp(key->path, "run.save_on") == 0) err = cf_save_on_parse(text, &signals);
    if (strcmp(key->path, "run.time_limit") == 0) err = cf_time_limit_parse(text, &seconds);
    if (err == CF_OK) return CF_OK;
    char why[256];
    snprintf(why, sizeof why, "%s", cf_err_text());
    return cf_yaml_fail(node, "%s is %s", key->path, why);
}

static cf_err read_text(const cf_key *key, cf_yaml_node node, char *value)
{
    char text[CF_TEXT_MAX];
    CF_TRY(cf_yaml_get_text(node, key->path, text, sizeof text));
    CF_TRY(check_text(key, node, text));
    memset(value, 0, CF_TEXT_MAX);
    strcpy(value, text);
    return CF_OK;
}

cf_err cf_key_read(const cf_key *key, cf_yaml_node node, cf_config *config)
{
    void *value = cf_key_value(key, config);
    switch (key->type) {
    case CF_KEY_BOOL:
        return cf_yaml_get_bool(node, key->path, value);
    case CF_KEY_INT:
        return cf_yaml_get_integer(node, key->path, (int64_t)key->min, (int64_t)key->max, value);
    case CF_KEY_NUM:
        return cf_yaml_get_number(node, key->path, key->min, key->max, value);
    case CF_KEY_WORD:
        return read_word(key, node, value);
    case CF_KEY_TEXT:
        return read_text(key, node, value);
    case CF_KEY_INTS:
        return read_integers(key, node, value);
    case CF_KEY_NUMS:
        return read_numbers(key, node, value);
    }
    return cf_fail(CF_E_UNEXPECTED, "%s: key of unknown type %d", key->path, (int)key->type);
}

/* The names of all sections (section NULL), that of sweeps among them, or of one section's keys. */
static int collect_names(const char *section, const char *names[MAX_NAMES])
{
    int n_keys = 0, n = 0;
    const cf_key *keys = cf_config_keys(&n_keys);
    for (int i = 0; i < n_keys && n < MAX_NAMES; i++) {
        if (section && strcmp(keys[i].section, section) == 0) names[n++] = keys[i].name;
        if (!section && (n == 0 || strcmp(names[n - 1], keys[i].section) != 0))
            names[n++] = keys[i].section;
    }
    if (!section && n < MAX_NAMES) names[n++] = sweep_section;
    return n;
}

static cf_err read_section(const char *section, cf_yaml_node map, cf_config *config)
{
    char what[64], path[128];
    const char *names[MAX_NAMES];
    snprintf(what, sizeof what, "section %s", section);
    CF_TRY(cf_yaml_only_keys(map, what, names, collect_names(section, names)));
    for (int i = 0; i < cf_yaml_count(map); i++) {
        snprintf(path, sizeof path, "%s.%s", section, cf_yaml_text(cf_yaml_key(map, i)));
        const cf_key *key = cf_config_key(path);
        if (key) CF_TRY(cf_key_read(key, cf_yaml_value(map, i), config));
    }
    return CF_OK;
}

/* Only looked at: who wants the points reads them with cf_sweep_read. */
static cf_err check_sweep(cf_yaml_node map)
{
    cf_sweep sweep = {0};
    cf_err err = cf_sweep_take_map(&sweep, map);
    cf_sweep_fini(&sweep);
    return err;
}

static cf_err check_sweep_override(const char *assignment)
{
    cf_sweep sweep = {0};
    cf_err err = cf_sweep_set(&sweep, assignment);
    cf_sweep_fini(&sweep);
    return err;
}

static cf_err read_document(const cf_yaml *yaml, cf_config *config)
{
    const char *sections[MAX_NAMES];
    cf_yaml_node root = cf_yaml_root(yaml);
    CF_TRY(cf_yaml_only_keys(root, "the configuration", sections, collect_names(NULL, sections)));
    for (int i = 0; i < cf_yaml_count(root); i++) {
        const char *name = cf_yaml_text(cf_yaml_key(root, i));
        cf_yaml_node section = cf_yaml_value(root, i);
        bool sweep = strcmp(name, sweep_section) == 0;
        CF_TRY(sweep ? check_sweep(section) : read_section(name, section, config));
    }
    return CF_OK;
}

cf_err cf_config_parse(const char *name, const char *text, size_t n, cf_config *config)
{
    cf_yaml *yaml = NULL;
    cf_config *found = NULL; /* 20 KiB: not on the stack; the caller's stays as it is on failure */
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&found, 1, sizeof *found), out);
    cf_config_defaults(found);
    CF_TRY_GOTO(cf_yaml_parse(name, text, n, &yaml), out);
    CF_TRY_GOTO(read_document(yaml, found), out);
    snprintf(found->path, sizeof found->path, "%s", name);
    *config = *found;
out:
    cf_yaml_destroy(yaml);
    free(found);
    return err;
}

cf_err cf_config_read(const char *path, cf_config *config)
{
    char *text = NULL;
    size_t n = 0;
    cf_err err = cf_file_read(path, CF_YAML_MAX_BYTES, &text, &n);
    if (err == CF_E_DATA) return CF_E_USAGE; /* a wrong name on the command line, not bad data */
    CF_TRY(err);
    err = cf_config_parse(path, text, n, config);
    free(text);
    return err;
}

/* Cuts "train.epochs=5" at the first "="; NULL key: no such key, the message is set. */
static cf_err find_assigned(const char *assignment, const cf_key **key, const char **value)
{
    char path[128], quoted[CF_QUOTE_MAX];
    cf_text_quote(assignment, quoted);
    const char *sign = strchr(assignment, '=');
    if (!sign || sign == assignment)
        return cf_fail(CF_E_USAGE, "--set %s: expected section.key=value", quoted);
    snprintf(path, sizeof path, "%.*s", (int)(sign - assignment), assignment);
    *key = cf_config_key(path);
    *value = sign + 1;
    if (*key) return CF_OK;
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    const char *paths[256];
    for (int i = 0; i < n && i < 256; i++) paths[i] = keys[i].path;
    const char *nearest = cf_text_nearest(path, paths, n < 256 ? n : 256);
    if (nearest)
        return cf_fail(CF_E_USAGE, "--set %s: unknown key; did you mean \"%s\"?", quoted, nearest);
    return cf_fail(CF_E_USAGE, "--set %s: unknown key", quoted);
}

cf_err cf_config_set(cf_config *config, const char *assignment)
{
    const cf_key *key = NULL;
    const char *value = NULL;
    char name[160];
    cf_yaml *yaml = NULL;
    if (cf_sweep_is_override(assignment)) return check_sweep_override(assignment);
    CF_TRY(find_assigned(assignment, &key, &value));
    if (key->type == CF_KEY_TEXT && value[0] == '\0') {
        memset(cf_key_value(key, config), 0, CF_TEXT_MAX);
        return CF_OK;
    }
    snprintf(name, sizeof name, "--set %s", key->path);
    cf_err err = cf_yaml_parse(name, value, strlen(value), &yaml);
    CF_TRY_GOTO(err, out);
    cf_yaml_node root = cf_yaml_root(yaml);
    if (cf_yaml_is_unquoted(root) && strcmp(cf_yaml_text(root), value) != 0) {
        /* A comment, or blanks at an end: cut off in silence it would be another value. */
        CF_TRY_GOTO(
            cf_yaml_fail(root, "reads as \"%s\"; put the value in quotes", cf_yaml_text(root)),
            out);
    }
    CF_TRY_GOTO(cf_key_read(key, root, config), out);
out:
    cf_yaml_destroy(yaml);
    return err;
}

bool cf_key_changes_result(const cf_key *key)
{
    static const char *const without[] = {
        "data.cells",           "data.pack_size",         "data.folds_file",
        "model.init",           "train.checkpoint_every", "train.checkpoint_minutes",
        "train.evaluate_every", "train.stop_loss"};
    if (strcmp(key->section, "run") == 0) return false;
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++)
        if (strcmp(key->path, without[i]) == 0) return false;
    return true;
}

cf_err cf_config_hash(const cf_config *config, uint64_t *hash)
{
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    cf_buf text = {0};
    for (int i = 0; i < n; i++) {
        if (!cf_key_changes_result(&keys[i])) continue;
        cf_buf_printf(&text, "%s=", keys[i].path);
        cf_key_write(&keys[i], config, &text);
        cf_buf_printf(&text, "\n");
    }
    cf_err err = cf_buf_check(&text);
    *hash = cf_hash64(cf_buf_text(&text), text.len);
    cf_buf_fini(&text);
    return err;
}
