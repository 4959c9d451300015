#include "launch/completion.h"

#include <stdio.h>
#include <string.h>

#include "proto/config_table.h"

enum { KIND_MAX = 256 };

static bool is(const char *text, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(text, word, n) == 0;
}

static bool ends(const char *text, size_t n, const char *end)
{
    size_t m = strlen(end);
    return n > m && memcmp(text + n - m, end, m) == 0;
}

/* "words:A B" of "A|B". */
static void put_words(cf_buf *out, const char *text, size_t n)
{
    cf_buf_printf(out, "words:");
    for (size_t i = 0; i < n; i++) cf_buf_add(out, text[i] == '|' ? " " : &text[i], 1);
}

/* option: its name; NULL for an operand. */
static void put_kind(cf_buf *out, const char *argument, size_t n, const char *option)
{
    static const struct {
        const char *argument, *kind;
    } kinds[] = {
        {"FILE", "file"},   {"SRC", "file"},      {"IMAGE", "file"}, {"metrics.json", "file"},
        {"RUN", "run"},     {"DIR", "run"},       {"B", "file"},     {"FOLDER", "folder"},
        {"CONFIG", "yaml"}, {"KEY=VALUE", "set"}, {"S", "scheme"},
    };
    const char *kind = "none";
    if (memchr(argument, '|', n) != NULL) {
        put_words(out, argument, n);
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (is(argument, n, kinds[i].argument)) kind = kinds[i].kind;
    if (ends(argument, n, ".cells")) kind = "cells";
    if (ends(argument, n, ".csv")) kind = "csv";
    if (ends(argument, n, ".safetensors") || ends(argument, n, ".npy")) kind = "file";
    /* DIR is a run where it is an operand or --run; S is a scheme, a share, or seconds. */
    if (strcmp(kind, "run") == 0 && option != NULL && strcmp(option, "run") != 0) kind = "folder";
    if (strcmp(kind, "scheme") == 0 && (option == NULL || strcmp(option, "scheme") != 0))
        kind = "none";
    cf_buf_printf(out, "%s", kind);
}

/* The words of the usage that come before any option. */
static void put_operands(cf_buf *out, const char *usage)
{
    for (int place = 1; *usage != '\0' && *usage != '-' && *usage != '['; place++) {
        size_t n = strcspn(usage, " "), m = n;
        bool repeats = ends(usage, n, "...");
        if (repeats) m -= 3;
        if (repeats)
            cf_buf_printf(out, "operand\t*\t");
        else
            cf_buf_printf(out, "operand\t%d\t", place);
        put_kind(out, usage, m, NULL);
        cf_buf_printf(out, "\t%.*s\t-\n", (int)m, usage);
        usage += n + strspn(usage + n, " ");
    }
}

/* On one line; a quote would end the script's text. */
static void put_help(cf_buf *out, const char *help)
{
    for (; *help != '\0'; help++) {
        if (*help == '\'')
            cf_buf_printf(out, "'\\''");
        else
            cf_buf_add(out, *help == '\n' || *help == '\t' ? " " : help, 1);
    }
    cf_buf_printf(out, "\n");
}

static void put_option(cf_buf *out, const cf_option *o)
{
    cf_buf_printf(out, "%s\t--%s", o->type == CF_OPTION_MANY ? "many" : "option", o->name);
    if (o->letter != 0) cf_buf_printf(out, ",-%c", o->letter);
    cf_buf_printf(out, "\t");
    if (o->argument == NULL)
        cf_buf_printf(out, "flag\t-\t");
    else
        put_kind(out, o->argument, strlen(o->argument), o->name);
    if (o->argument != NULL) cf_buf_printf(out, "\t%s\t", o->argument);
    put_help(out, o->help);
}

void cf_completion_of_verb(const cf_verb *verb, const cf_option *options, int n_options,
                           cf_buf *out)
{
    cf_buf_printf(out, "verb\t%s\t-\t-\t", verb->name);
    put_help(out, verb->summary);
    put_operands(out, verb->usage);
    for (int i = 0; i < n_options; i++) put_option(out, &options[i]);
    cf_buf_printf(out, "option\t--help\tflag\t-\ttell the options\n");
}

static const char *key_kind(const cf_key *key)
{
    if (key->type == CF_KEY_BOOL) return "words:true false";
    if (key->type != CF_KEY_TEXT) return "none";
    if (strcmp(key->name, "cells") == 0) return "cells";
    return strcmp(key->name, "scheme") == 0 ? "scheme" : "file";
}

void cf_completion_of_keys(cf_buf *out)
{
    int n = 0;
    const cf_key *keys = cf_config_keys(&n);
    for (int i = 0; i < n; i++) {
        cf_buf_printf(out, "key\t%s\t", keys[i].path);
        if (keys[i].type == CF_KEY_WORD)
            put_words(out, keys[i].words, strlen(keys[i].words));
        else
            cf_buf_printf(out, "%s", key_kind(&keys[i]));
        cf_buf_printf(out, "\t-\t");
        put_help(out, keys[i].help);
    }
}
