#include "proto/scheme.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/text.h"

void cf_scheme_fini(cf_scheme *scheme)
{
    free(scheme->classes);
    free(scheme->node_names);
    free(scheme->class_of);
    free(scheme->tolerant);
    free(scheme->questions);
    free(scheme->no_confident);
    free(scheme->aliases);
    free(scheme->text);
    memset(scheme, 0, sizeof *scheme);
}

int cf_scheme_find(const cf_scheme *scheme, const char *label)
{
    for (int i = 0; i < scheme->n_classes; i++)
        if (strcmp(scheme->classes[i].code, label) == 0) return i;
    for (int i = 0; i < scheme->n_classes; i++)
        if (strcmp(scheme->classes[i].name, label) == 0) return i;
    for (int i = 0; i < scheme->n_aliases; i++)
        if (strcmp(scheme->aliases[i].from, label) == 0) return scheme->aliases[i].to;
    return -2;
}

void cf_scheme_merge(const cf_scheme *scheme, const double *nodes, double *classes)
{
    for (int c = 0; c < scheme->n_classes; c++) classes[c] = 0.0;
    for (int o = 0; o < scheme->n_nodes; o++) classes[scheme->class_of[o]] += nodes[o];
}

void cf_scheme_probabilities(const cf_scheme *scheme, const float *logits, double *nodes,
                             double *classes)
{
    double peak = (double)logits[0], total = 0;
    for (int k = 1; k < scheme->n_nodes; k++) peak = fmax(peak, (double)logits[k]);
    for (int k = 0; k < scheme->n_nodes; k++) total += nodes[k] = exp((double)logits[k] - peak);
    for (int k = 0; k < scheme->n_nodes; k++) nodes[k] /= total;
    cf_scheme_merge(scheme, nodes, classes);
}

int cf_scheme_highest(const cf_scheme *scheme, const double *classes)
{
    int best = 0;
    for (int k = 1; k < scheme->n_classes; k++)
        if (classes[k] > classes[best]) best = k;
    return best;
}

/* The codes become a scheme file of their own, so that a cells file made without one says as much.
 */
cf_err cf_scheme_from_codes(const char *const *codes, int n, cf_scheme *scheme)
{
    char quoted[CF_QUOTE_MAX];
    memset(scheme, 0, sizeof *scheme);
    for (int i = 0; i < n; i++)
        if (!cf_name_is_safe(codes[i]))
            return cf_fail(CF_E_USAGE, "class code %s is no name that a folder can bear",
                           cf_text_quote(codes[i], quoted));
    cf_buf text = {0};
    cf_buf_printf(&text, "name: auto\ntitle: One class a folder\nclasses:\n");
    for (int i = 0; i < n; i++) {
        cf_buf_printf(&text, "  - {code: '");
        for (const char *p = codes[i]; *p != '\0'; p++) {
            if (*p == '\'') cf_buf_add(&text, p, 1); /* a quote is written twice */
            cf_buf_add(&text, p, 1);
        }
        cf_buf_printf(&text, "'}\n");
    }
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK) err = cf_scheme_parse("class codes", cf_buf_text(&text), text.len, scheme);
    cf_buf_fini(&text);
    return err;
}

static bool is_path(const char *name)
{
    const char *dot = strrchr(name, '.');
    return strchr(name, '/') || (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0));
}

enum { N_PLACES = 4 };

/* PREFIX/share/cytofold of the program PREFIX/bin/cytofold, so that an installed folder can be
 * moved; "" where that cannot be known. */
static void find_share(char share[CF_PATH_MAX])
{
    char program[CF_PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    share[0] = '\0';
    for (int up = 0; up < 2 && n > 0; up++) { /* the program, then bin */
        char *slash = strrchr(program, '/');
        if (!slash) return;
        *slash = '\0';
    }
    if (n <= 0 || cf_path_join(share, CF_PATH_MAX, program, "share/cytofold") != CF_OK)
        share[0] = '\0';
}

/* Folders that hold configs/schemes, the user's own first. NULL entries are to be skipped. */
static void list_places(char share[CF_PATH_MAX], const char *places[N_PLACES])
{
    const char *own = getenv("CYTOFOLD_SHARE");
    find_share(share);
    places[0] = own && own[0] != '\0' ? own : NULL;
    places[1] = share[0] != '\0' ? share : NULL;
    places[2] = CYTOFOLD_SHARE;
    places[3] = CYTOFOLD_SOURCE;
}

/* Appends the names of the schemes in `folder`, without ".yaml". */
static void list_schemes(const char *folder, cf_buf *names)
{
    cf_strings files = {0};
    if (cf_dir_list(folder, &files) != CF_OK) return;
    for (size_t i = 0; i < files.n; i++) {
        size_t n = strlen(files.items[i]);
        if (n > 5 && strcmp(files.items[i] + n - 5, ".yaml") == 0)
            cf_buf_printf(names, " %.*s", (int)(n - 5), files.items[i]);
    }
    cf_strings_fini(&files);
}

/* path = the file of scheme `name`. */
static cf_err find_file(const char *name, char path[CF_PATH_MAX])
{
    const char *places[N_PLACES];
    char share[CF_PATH_MAX], folder[CF_PATH_MAX], file[CF_CODE_MAX + 8], quoted[CF_QUOTE_MAX];
    cf_buf names = {0};
    list_places(share, places);
    bool safe = cf_name_is_safe(name) && strlen(name) < CF_CODE_MAX;
    for (int i = 0; i < N_PLACES; i++) {
        if (!places[i]) continue;
        CF_TRY(cf_path_join(folder, sizeof folder, places[i], "configs/schemes"));
        if (!cf_path_is_dir(folder)) continue;
        if (safe) {
            snprintf(file, sizeof file, "%s.yaml", name);
            CF_TRY(cf_path_join(path, CF_PATH_MAX, folder, file));
            if (cf_path_exists(path)) {
                cf_buf_fini(&names);
                return CF_OK;
            }
        }
        if (names.len == 0) list_schemes(folder, &names);
    }
    cf_err err = cf_fail(CF_E_USAGE, "no scheme %s; there are:%s (or give a file's path)",
                         cf_text_quote(name, quoted), names.len ? cf_buf_text(&names) : " none");
    cf_buf_fini(&names);
    return err;
}

cf_err cf_scheme_read(const char *name_or_path, cf_scheme *scheme)
{
    char path[CF_PATH_MAX];
    char *text = NULL;
    size_t n = 0;
    memset(scheme, 0, sizeof *scheme);
    if (is_path(name_or_path)) {
        if (strlen(name_or_path) >= sizeof path)
            return cf_fail(CF_E_USAGE, "the scheme's path is too long: %zu bytes",
                           strlen(name_or_path));
        strcpy(path, name_or_path);
    } else {
        CF_TRY(find_file(name_or_path, path));
    }
    cf_err err = cf_file_read(path, 1 << 20, &text, &n);
    if (err == CF_E_DATA) return CF_E_USAGE; /* a wrong name on the command line, not bad data */
    CF_TRY(err);
    err = cf_scheme_parse(path, text, n, scheme);
    free(text);
    return err;
}
