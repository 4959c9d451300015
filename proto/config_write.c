/* Configurations as YAML, JSON and a Markdown reference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/config_table.h"

/* The shortest decimal form that reads back to the same double. */
static void put_number(cf_buf *out, double value)
{
    char text[40] = "";
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    cf_buf_printf(out, "%s", text);
}

/* A double-quoted YAML scalar. */
static void put_text(cf_buf *out, const char *text)
{
    cf_buf_printf(out, "\"");
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            cf_buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            cf_buf_printf(out, "\\x%02x", c);
        else
            cf_buf_add(out, p, 1);
    }
    cf_buf_printf(out, "\"");
}

static void put_word(cf_buf *out, const cf_key *key, int value)
{
    char storage[256];
    const char *words[CF_WORDS_MAX];
    int n = cf_key_words(key, storage, words);
    cf_buf_printf(out, "%s", value >= 0 && value < n ? words[value] : "?");
}

void cf_key_write(const cf_key *key, const cf_config *config, cf_buf *out)
{
    const void *value = cf_key_value_const(key, config);
    const cf_int_list *integers = value;
    const cf_num_list *numbers = value;
    switch (key->type) {
    case CF_KEY_BOOL:
        cf_buf_printf(out, "%s", *(const bool *)value ? "true" : "false");
        break;
    case CF_KEY_INT:
        cf_buf_printf(out, "%lld", (long long)*(const int64_t *)value);
        break;
    case CF_KEY_NUM:
        put_number(out, *(const double *)value);
        break;
    case CF_KEY_WORD:
        put_word(out, key, *(const int *)value);
        break;
    case CF_KEY_TEXT:
        put_text(out, value);
        break;
    case CF_KEY_INTS:
        for (int i = 0; i < integers->n; i++)
            cf_buf_printf(out, "%s%lld", i ? ", " : "[", (long long)integers->items[i]);
        cf_buf_printf(out, "%s", integers->n ? "]" : "[]");
        break;
    case CF_KEY_NUMS:
        for (int i = 0; i < numbers->n; i++) {
            cf_buf_printf(out, "%s", i ? ", " : "[");
            put_number(out, numbers->items[i]);
        }
        cf_buf_printf(out, "%s", numbers->n ? "]" : "[]");
        break;
    }
}

static bool has_range(const cf_key *key)
{
    return key->type == CF_KEY_INT || key->type == CF_KEY_NUM || key->type == CF_KEY_INTS ||
           key->type == CF_KEY_NUMS;
}

/* "1 to 100000 epochs"; nothing for keys without a range. */
static void put_range(cf_buf *out, const cf_key *key)
{
    if (!has_range(key)) return;
    cf_buf_printf(out, "%.15g to %.15g%s%s", key->min, key->max, key->unit[0] ? " " : "",
                  key->unit);
}

static void put_comment(cf_buf *out, const cf_key *key)
{
    cf_buf_printf(out, "  # %s", key->help);
    if (key->type == CF_KEY_WORD) cf_buf_printf(out, " (%s)", key->words);
    if (has_range(key)) {
        cf_buf_printf(out, " (");
        put_range(out, key);
        cf_buf_printf(out, ")");
    }
    cf_buf_printf(out, "\n");
}

enum selection { ALL_KEYS, ESSENTIAL_KEYS };

static void write_keys(const cf_config *config, enum selection which, bool commented, cf_buf *out)
{
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    const char *section = "";
    for (int i = 0; i < n; i++) {
        if (which == ESSENTIAL_KEYS && !cf_key_changes_result(&keys[i])) continue;
        if (strcmp(keys[i].section, section) != 0)
            cf_buf_printf(out, "%s%s:\n", section[0] ? "\n" : "", keys[i].section);
        section = keys[i].section;
        if (commented) put_comment(out, &keys[i]);
        cf_buf_printf(out, "  %s: ", keys[i].name);
        cf_key_write(&keys[i], config, out);
        cf_buf_printf(out, "\n");
    }
}

void cf_config_write(const cf_config *config, bool commented, cf_buf *out)
{
    write_keys(config, ALL_KEYS, commented, out);
}

void cf_config_write_essential(const cf_config *config, cf_buf *out)
{
    write_keys(config, ESSENTIAL_KEYS, false, out);
}

static void put_json(cf_json *json, const cf_key *key, const cf_config *config)
{
    const void *value = cf_key_value_const(key, config);
    const cf_int_list *integers = value;
    const cf_num_list *numbers = value;
    cf_buf word = {0};
    switch (key->type) {
    case CF_KEY_BOOL:
        cf_json_boolean(json, key->name, *(const bool *)value);
        break;
    case CF_KEY_INT:
        cf_json_integer(json, key->name, *(const int64_t *)value);
        break;
    case CF_KEY_NUM:
        cf_json_number(json, key->name, *(const double *)value);
        break;
    case CF_KEY_WORD:
        put_word(&word, key, *(const int *)value);
        cf_json_string(json, key->name, cf_buf_text(&word));
        cf_buf_fini(&word);
        break;
    case CF_KEY_TEXT:
        cf_json_string(json, key->name, value);
        break;
    case CF_KEY_INTS:
        cf_json_array(json, key->name);
        for (int i = 0; i < integers->n; i++) cf_json_integer(json, NULL, integers->items[i]);
        cf_json_end_array(json);
        break;
    case CF_KEY_NUMS:
        cf_json_array(json, key->name);
        for (int i = 0; i < numbers->n; i++) cf_json_number(json, NULL, numbers->items[i]);
        cf_json_end_array(json);
        break;
    }
}

void cf_config_write_json(const cf_config *config, cf_json *json)
{
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    bool alone = json->depth == 0;
    if (alone) cf_json_object(json, NULL);
    for (int i = 0; i < n; i++) {
        bool first = i == 0 || strcmp(keys[i].section, keys[i - 1].section) != 0;
        if (first && i > 0) cf_json_end_object(json);
        if (first) cf_json_object(json, keys[i].section);
        put_json(json, &keys[i], config);
    }
    cf_json_end_object(json);
    if (alone) cf_json_end_object(json);
}

/* "|" ends a cell of a Markdown table. */
static void put_words(cf_buf *out, const cf_key *key)
{
    char storage[256];
    const char *words[CF_WORDS_MAX];
    int n = cf_key_words(key, storage, words);
    for (int i = 0; i < n; i++) cf_buf_printf(out, "%s`%s`", i ? ", " : "", words[i]);
}

void cf_config_reference(cf_buf *out)
{
    static const char *const types[] = {"true/false", "integer",  "number", "word",
                                        "text",       "integers", "numbers"};
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    cf_buf_printf(out, "| key | type | default | range or words | meaning |\n");
    cf_buf_printf(out, "| --- | --- | --- | --- | --- |\n");
    for (int i = 0; i < n; i++) {
        const cf_key *key = &keys[i];
        cf_buf_printf(out, "| `%s` | %s | `%s` | ", key->path, types[key->type],
                      key->type == CF_KEY_TEXT && !key->def[0] ? "\"\"" : key->def);
        if (key->type == CF_KEY_WORD)
            put_words(out, key);
        else
            put_range(out, key);
        cf_buf_printf(out, " | %s |\n", key->help);
    }
}
