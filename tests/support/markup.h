/* A strict check of markup as this program writes it: elements nest and close, attributes are
 * quoted and stand once, & begins a known reference. Stricter than HTML asks, which is the point:
 * what passes cannot be read in two ways. */
#ifndef CF_TESTS_SUPPORT_MARKUP_H
#define CF_TESTS_SUPPORT_MARKUP_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MARKUP_DEPTH = 64, MARKUP_NAME = 32 };

typedef struct markup {
    const char *at;
    char open[MARKUP_DEPTH][MARKUP_NAME];
    int depth;
    char fault[160]; /* "" where there is none */
} markup;

static bool markup_fail(markup *m, const char *what)
{
    if (!m->fault[0]) snprintf(m->fault, sizeof m->fault, "%s at: %.60s", what, m->at);
    return false;
}

static bool markup_reference(markup *m)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(m->at, known[i], strlen(known[i])) == 0) {
            m->at += strlen(known[i]);
            return true;
        }
    return markup_fail(m, "an unknown reference");
}

static bool markup_name(markup *m, char name[MARKUP_NAME])
{
    size_t n = 0;
    while ((isalnum((unsigned char)*m->at) || strchr("-_:", *m->at)) && *m->at &&
           n < MARKUP_NAME - 1)
        name[n++] = *m->at++;
    name[n] = '\0';
    return n > 0 ? true : markup_fail(m, "a name is missing");
}

static bool markup_attributes(markup *m)
{
    char names[32][MARKUP_NAME];
    int n = 0;
    while (isspace((unsigned char)*m->at)) {
        while (isspace((unsigned char)*m->at)) m->at++;
        if (*m->at == '/' || *m->at == '>') return true;
        if (n == 32 || !markup_name(m, names[n])) return markup_fail(m, "attributes");
        for (int i = 0; i < n; i++)
            if (strcmp(names[i], names[n]) == 0) return markup_fail(m, "an attribute twice");
        n++;
        if (strncmp(m->at, "=\"", 2) != 0) return markup_fail(m, "an attribute without quotes");
        m->at += 2;
        while (*m->at && *m->at != '"') {
            if (*m->at == '<' || *m->at == '>') return markup_fail(m, "< or > in an attribute");
            if (*m->at != '&')
                m->at++;
            else if (!markup_reference(m))
                return false;
        }
        if (*m->at++ != '"') return markup_fail(m, "a quote left open");
    }
    return true;
}

/* Text that HTML does not read as markup, up to its own end tag. */
static bool markup_raw(markup *m, const char *name)
{
    char end[MARKUP_NAME + 4];
    snprintf(end, sizeof end, "</%s>", name);
    m->at = strstr(m->at, end) ? strstr(m->at, end) : m->at + strlen(m->at);
    return *m->at ? true : markup_fail(m, "a raw element left open");
}

static bool markup_tag(markup *m)
{
    char name[MARKUP_NAME];
    if (m->at[1] == '/') {
        m->at += 2;
        if (!markup_name(m, name)) return false;
        if (*m->at++ != '>') return markup_fail(m, "an end tag left open");
        if (m->depth == 0 || strcmp(m->open[m->depth - 1], name) != 0)
            return markup_fail(m, "an end tag without its begin");
        m->depth--;
        return true;
    }
    m->at++;
    if (!markup_name(m, name) || !markup_attributes(m)) return false;
    if (strncmp(m->at, "/>", 2) == 0) {
        m->at += 2;
        return true;
    }
    if (*m->at++ != '>') return markup_fail(m, "a tag left open");
    if (m->depth == MARKUP_DEPTH) return markup_fail(m, "too deep");
    snprintf(m->open[m->depth++], MARKUP_NAME, "%s", name);
    if (strcmp(name, "script") == 0 || strcmp(name, "style") == 0) return markup_raw(m, name);
    return true;
}

/* "" or the first fault; static text of the caller's struct. A leading <!doctype html> is passed.
 */
static const char *markup_check(markup *m, const char *text)
{
    *m = (markup){.at = text};
    if (strncmp(text, "<!doctype html>", 15) == 0) m->at += 15;
    while (*m->at) {
        bool good = true;
        if (*m->at == '<')
            good = markup_tag(m);
        else if (*m->at == '&')
            good = markup_reference(m);
        else if (*m->at == '>')
            good = markup_fail(m, "a stray >");
        else
            m->at++;
        if (!good) return m->fault;
    }
    if (m->depth > 0) snprintf(m->fault, sizeof m->fault, "%s is left open", m->open[m->depth - 1]);
    return m->fault;
}

#endif
