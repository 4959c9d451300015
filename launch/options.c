#include "launch/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/help.h"

static cf_err print_help(cf_help_writer writer, const cf_verb *verb, const cf_option *options,
                         int n_options)
{
    cf_buf text = {0};
    writer(verb, options, n_options, &text);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK) fputs(cf_buf_text(&text), stdout);
    cf_buf_fini(&text);
    return err;
}

static const cf_option *find_long(const cf_option *options, int n, const char *name, size_t length)
{
    for (int i = 0; i < n; i++)
        if (strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0)
            return &options[i];
    return NULL;
}

static const cf_option *find_letter(const cf_option *options, int n, char letter)
{
    for (int i = 0; i < n; i++)
        if (options[i].letter == letter) return &options[i];
    return NULL;
}

/* A finite decimal number with nothing after it. */
static bool read_number(const char *text, double *value)
{
    char *end = NULL;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && isfinite(*value) &&
           strpbrk(text, "xXpPnN \t") == NULL;
}

static cf_err check_range(const cf_option *o, double value, const char *text)
{
    if ((o->min != 0 || o->max != 0) && (value < o->min || value > o->max))
        return cf_fail(CF_E_USAGE, "--%s takes a number from %.15g to %.15g, found %s", o->name,
                       o->min, o->max, text);
    return CF_OK;
}

static cf_err store_value(const cf_option *o, const char *text)
{
    double value = 0;
    switch (o->type) {
    case CF_OPTION_FLAG:
        *(bool *)o->target = true;
        return CF_OK;
    case CF_OPTION_TEXT:
        *(const char **)o->target = text;
        return CF_OK;
    case CF_OPTION_MANY:
        return cf_strings_add(o->target, text);
    case CF_OPTION_INT:
        if (!read_number(text, &value) || value != floor(value) || fabs(value) > 9007199254740992.0)
            return cf_fail(CF_E_USAGE, "--%s takes a whole number, found '%s'", o->name, text);
        CF_TRY(check_range(o, value, text));
        *(int64_t *)o->target = (int64_t)value;
        return CF_OK;
    case CF_OPTION_NUM:
        if (!read_number(text, &value))
            return cf_fail(CF_E_USAGE, "--%s takes a number, found '%s'", o->name, text);
        CF_TRY(check_range(o, value, text));
        *(double *)o->target = value;
        return CF_OK;
    }
    return cf_fail(CF_E_UNEXPECTED, "option --%s has no type", o->name);
}

/* One option at argv[*i]; moves *i past its argument. */
static cf_err parse_option(const cf_verb *verb, const cf_option *options, int n_options, int argc,
                           char **argv, int *i)
{
    const char *word = argv[*i], *value = NULL;
    const cf_option *o = NULL;
    if (word[1] == '-') {
        const char *equals = strchr(word, '=');
        size_t length = equals != NULL ? (size_t)(equals - word) - 2 : strlen(word + 2);
        o = find_long(options, n_options, word + 2, length);
        if (equals != NULL) value = equals + 1;
    } else if (word[2] == '\0') {
        o = find_letter(options, n_options, word[1]);
    }
    if (o == NULL)
        return cf_fail(CF_E_USAGE, "%s: unknown option %s; see cytofold %s --help", verb->name,
                       word, verb->name);
    if (o->type == CF_OPTION_FLAG) {
        if (value != NULL) return cf_fail(CF_E_USAGE, "--%s takes no value", o->name);
    } else if (value == NULL) {
        if (*i + 1 >= argc) return cf_fail(CF_E_USAGE, "--%s needs %s", o->name, o->argument);
        value = argv[++*i];
    }
    return store_value(o, value);
}

cf_err cf_options_parse(const cf_verb *verb, const cf_option *options, int n_options, int argc,
                        char **argv, int n_min, int n_max, cf_strings *operands, bool *help)
{
    *help = false;
    bool only_operands = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        cf_help_writer writer = only_operands ? NULL : cf_help_writer_of(word);
        if (writer != NULL) {
            *help = true;
            return print_help(writer, verb, options, n_options);
        }
        if (!only_operands && strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (!only_operands && word[0] == '-' && word[1] != '\0') {
            CF_TRY(parse_option(verb, options, n_options, argc, argv, &i));
        } else {
            CF_TRY(cf_strings_add(operands, word));
        }
    }
    if (operands->n < (size_t)n_min || (n_max >= 0 && operands->n > (size_t)n_max))
        return cf_fail(CF_E_USAGE, "%s: found %zu operand%s; usage: cytofold %s %s", verb->name,
                       operands->n, operands->n == 1 ? "" : "s", verb->name, verb->usage);
    return CF_OK;
}
