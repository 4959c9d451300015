#include "launch/sources.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "proto/text.h"

enum { MAX_LISTED = 20 };

void cf_sources_list_damaged(const cf_strings *damaged, const char *hint)
{
    for (size_t i = 0; i < damaged->n && i < MAX_LISTED; i++) cf_log_warn("%s", damaged->items[i]);
    if (damaged->n > MAX_LISTED)
        cf_log_warn("and %zu more that cannot be read%s", damaged->n - MAX_LISTED, hint);
}

void cf_source_wishes_fini(cf_source_wishes *w)
{
    cf_strings_fini(&w->operands);
    cf_strings_fini(&w->scales);
    cf_strings_fini(&w->site_names);
    free(w->sources);
}

/* The '=' of NAME=REST, or NULL: a name has no slash, and what exists as it stands is a path. */
static const char *name_end(const char *text)
{
    const char *equals = strchr(text, '='), *slash = strchr(text, '/');
    if (!equals || equals == text || (slash && slash < equals) || cf_path_exists(text)) return NULL;
    return equals;
}

/* list gets text[0..end), "" for NULL. */
static cf_err add_name(cf_strings *list, const char *text, const char *end)
{
    char name[CF_PATH_MAX];
    size_t n = end ? (size_t)(end - text) : 0;
    if (n >= sizeof name) n = sizeof name - 1;
    memcpy(name, text, n);
    name[n] = '\0';
    if (n > 0 && !cf_name_is_safe(name))
        return cf_fail(CF_E_USAGE, "NAME=SRC: the site is not a plain name of at most 200 bytes");
    return cf_strings_add(list, name);
}

/* Sets the scale of the sources that a --um-per-px is for. */
static cf_err set_scale(cf_source_wishes *w, const char *text)
{
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : 0;
    double value;
    bool found = false;
    if (!cf_text_number(equals ? equals + 1 : text, &value) || value <= 0.0 || value > 1000.0)
        return cf_fail(CF_E_USAGE,
                       "--um-per-px takes F or NAME=F, a number above 0 to 1000, found "
                       "'%.80s'",
                       text);
    for (size_t i = 0; i < w->operands.n; i++) {
        cf_source *s = &w->sources[i];
        bool mine =
            equals ? strlen(s->site) == n && memcmp(s->site, text, n) == 0 : s->um_per_px == 0.0;
        if (mine) s->um_per_px = value;
        found |= mine;
    }
    if (equals && !found)
        return cf_fail(CF_E_USAGE, "--um-per-px %.80s: no source of that site", text);
    return CF_OK;
}

cf_err cf_sources_make(cf_source_wishes *w)
{
    if (*w->site && !cf_name_is_safe(w->site))
        return cf_fail(CF_E_USAGE, "--site: not a plain name of at most 200 bytes");
    CF_TRY(cf_new(&w->sources, w->operands.n, sizeof *w->sources));
    for (size_t i = 0; i < w->operands.n; i++) {
        const char *text = w->operands.items[i], *equals = name_end(text);
        CF_TRY(add_name(&w->site_names, text, equals));
        const char *name = w->site_names.items[i];
        w->sources[i] = (cf_source){
            .path = equals ? equals + 1 : text, .site = *name ? name : w->site, .name = name};
    }
    size_t n_general = 0;
    for (size_t i = 0; i < w->scales.n; i++) n_general += strchr(w->scales.items[i], '=') == NULL;
    if (n_general > 1)
        return cf_fail(CF_E_USAGE, "--um-per-px without NAME= was given %zu times", n_general);
    /* those for one site first: the general one is for the others */
    for (int named = 1; named >= 0; named--)
        for (size_t i = 0; i < w->scales.n; i++)
            if ((strchr(w->scales.items[i], '=') != NULL) == (named == 1))
                CF_TRY(set_scale(w, w->scales.items[i]));
    return CF_OK;
}
