/* The typed values of yaml.h: what is a number, a truth value, a text. */
#include <stdio.h>
#include <string.h>

#include "proto/text.h"
#include "proto/yaml.h"

static const char *const kind_names[] = {"a single value", "a list", "a map of keys"};

cf_err cf_yaml_expect(cf_yaml_node node, cf_yaml_kind kind, const char *what)
{
    cf_yaml_kind found = cf_yaml_node_kind(node);
    if (found == kind) return CF_OK;
    if (cf_yaml_is_unquoted(node) && cf_yaml_text(node)[0] == '\0')
        return cf_yaml_fail(node, "%s is empty; expected %s", what, kind_names[kind]);
    return cf_yaml_fail(node, "%s is %s; expected %s", what, kind_names[found], kind_names[kind]);
}

/* Refuses whatever is not an unquoted scalar: quotes say "text". */
static cf_err fail_value(cf_yaml_node node, const char *what, const char *expected)
{
    char quoted[CF_QUOTE_MAX];
    CF_TRY(cf_yaml_expect(node, CF_YAML_SCALAR, what));
    if (!cf_yaml_is_unquoted(node))
        return cf_yaml_fail(node, "%s is a quoted text; expected %s without quotes", what,
                            expected);
    if (cf_yaml_text(node)[0] == '\0')
        return cf_yaml_fail(node, "%s has no value; expected %s", what, expected);
    return cf_yaml_fail(node, "%s is %s; expected %s", what,
                        cf_text_quote(cf_yaml_text(node), quoted), expected);
}

cf_err cf_yaml_get_bool(cf_yaml_node node, const char *what, bool *value)
{
    const char *text = cf_yaml_text(node);
    bool is_true = strcmp(text, "true") == 0, is_false = strcmp(text, "false") == 0;
    if (!cf_yaml_is_unquoted(node) || (!is_true && !is_false))
        return fail_value(node, what, "true or false");
    *value = is_true;
    return CF_OK;
}

cf_err cf_yaml_get_integer(cf_yaml_node node, const char *what, int64_t min, int64_t max,
                           int64_t *value)
{
    char expected[96];
    int64_t found = 0;
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min,
             (long long)max);
    if (!cf_yaml_is_unquoted(node) || !cf_text_integer(cf_yaml_text(node), &found) || found < min ||
        found > max)
        return fail_value(node, what, expected);
    *value = found;
    return CF_OK;
}

cf_err cf_yaml_get_number(cf_yaml_node node, const char *what, double min, double max,
                          double *value)
{
    char expected[96];
    double found = 0;
    snprintf(expected, sizeof expected, "a number from %.15g to %.15g", min, max);
    if (!cf_yaml_is_unquoted(node) || !cf_text_number(cf_yaml_text(node), &found) || found < min ||
        found > max)
        return fail_value(node, what, expected);
    *value = found;
    return CF_OK;
}

cf_err cf_yaml_get_text(cf_yaml_node node, const char *what, char *value, size_t room)
{
    CF_TRY(cf_yaml_expect(node, CF_YAML_SCALAR, what));
    const char *text = cf_yaml_text(node);
    if (cf_yaml_is_unquoted(node) &&
        (text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0))
        return cf_yaml_fail(node, "%s has no value; write \"\" for an empty text", what);
    if (!cf_text_is_plain(text)) return cf_yaml_fail(node, "%s has a control character", what);
    size_t n = strlen(text);
    if (n >= room)
        return cf_yaml_fail(node, "%s has %zu bytes; expected at most %zu", what, n, room - 1);
    memcpy(value, text, n + 1);
    return CF_OK;
}

cf_err cf_yaml_only_keys(cf_yaml_node map, const char *what, const char *const *keys, int n)
{
    char quoted[CF_QUOTE_MAX];
    CF_TRY(cf_yaml_expect(map, CF_YAML_MAP, what));
    for (int i = 0; i < cf_yaml_count(map); i++) {
        cf_yaml_node key = cf_yaml_key(map, i);
        const char *text = cf_yaml_text(key);
        int k = 0;
        while (k < n && strcmp(text, keys[k]) != 0) k++;
        if (k < n) continue;
        const char *nearest = cf_text_nearest(text, keys, n);
        cf_text_quote(text, quoted);
        if (nearest)
            return cf_yaml_fail(key, "unknown key %s in %s; did you mean \"%s\"?", quoted, what,
                                nearest);
        return cf_yaml_fail(key, "unknown key %s in %s", quoted, what);
    }
    return CF_OK;
}
