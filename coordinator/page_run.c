/* What a reader needs to make the run again: versions, hashes, configuration, data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/html.h"
#include "coordinator/page_parts.h"
#include "kernels/base/file.h"
#include "kernels/base/hash.h"

enum { YAML_MAX_BYTES = 1 << 20 };

static void put_fact(cf_buf *out, const char *name, const char *value)
{
    cf_buf_printf(out, "<tr><th scope=\"row\">");
    cf_html_text(out, name);
    cf_buf_printf(out, "</th><td><code>");
    cf_html_text(out, value);
    cf_buf_printf(out, "</code></td></tr>\n");
}

/* "# cytofold 0.1.0" and "# configuration: b78b..." at the head of run.yaml. */
static void put_mark(cf_buf *out, const char *line, size_t n)
{
    char text[256];
    snprintf(text, sizeof text, "%.*s", (int)(n < sizeof text ? n : sizeof text - 1), line);
    char *value = strstr(text, ": ");
    if (value)
        *value = '\0', value += 2;
    else if ((value = strchr(text, ' ')) != NULL)
        *value++ = '\0';
    put_fact(out, text, value ? value : "");
}

/* XXH3 of each fold's predictions: what all figures come from. */
static cf_err put_prediction_hashes(const cf_page *p, cf_buf *out)
{
    enum { PREDICTIONS_MAX_BYTES = 1 << 30 };
    for (int f = 0; f < p->metrics->n_folds; f++) {
        char name[64], path[CF_PATH_MAX], hash[32], *text = NULL;
        size_t n = 0;
        snprintf(name, sizeof name, "fold-%d/predictions.csv", p->metrics->folds[f].fold);
        CF_TRY(cf_path_join(path, sizeof path, p->run_dir, name));
        if (!cf_path_exists(path)) continue;
        CF_TRY(cf_file_read(path, PREDICTIONS_MAX_BYTES, &text, &n));
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)cf_hash64(text, n));
        free(text);
        put_fact(out, name, hash);
    }
    return CF_OK;
}

/* The line as it may be shown: of a path the last part, since the folders before it are this
 * machine's and no part of the result. */
static void put_line(cf_buf *out, const char *line, size_t n)
{
    static const char *const paths[] = {"  cells: ", "  scheme: ", "  folds_file: ", "  init: "};
    char text[2048];
    snprintf(text, sizeof text, "%.*s", (int)(n < sizeof text ? n : sizeof text - 1), line);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char *slash = strrchr(text, '/');
        if (strncmp(text, paths[i], strlen(paths[i])) != 0 || slash == NULL) continue;
        cf_html_text(out, paths[i]);
        cf_html_text(out, "\"");
        cf_html_text(out, slash + 1);
        cf_buf_printf(out, "\n");
        return;
    }
    cf_html_text(out, text);
    cf_buf_printf(out, "\n");
}

/* All of run.yaml but its marks and its section run, which no result depends on. */
static void put_configuration(const char *yaml, cf_buf *out)
{
    bool shown = true;
    cf_buf_printf(out, "<details><summary>Configuration</summary>\n<pre tabindex=\"0\">");
    for (const char *line = yaml, *end; *line; line = end) {
        end = strchr(line, '\n');
        size_t n = end ? (size_t)(end - line) : strlen(line);
        end = end ? end + 1 : line + n;
        if (*line == '#') continue;
        if (n > 0 && *line != ' ') shown = strncmp(line, "run:", 4) != 0;
        if (shown) put_line(out, line, n);
    }
    cf_buf_printf(out, "</pre></details>\n");
}

static void put_marks(const char *yaml, cf_buf *out)
{
    for (const char *line = yaml; strncmp(line, "# ", 2) == 0;) {
        size_t n = strcspn(line, "\n");
        put_mark(out, line + 2, n - 2);
        line += n + (line[n] == '\n');
    }
}

cf_err cf_page_run(const cf_page *p, cf_buf *out)
{
    char path[CF_PATH_MAX], *yaml = NULL;
    size_t n = 0;
    cf_err err = CF_OK;
    CF_TRY(cf_path_join(path, sizeof path, p->run_dir, "run.yaml"));
    if (cf_path_exists(path)) CF_TRY(cf_file_read(path, YAML_MAX_BYTES, &yaml, &n));
    cf_page_section(out, "run", "Run");
    cf_buf_printf(out, "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Versions "
                       "and hashes\"><table class=\"facts\">\n<caption>Versions and "
                       "hashes</caption>\n<thead><tr><th scope=\"col\">what</th><th "
                       "scope=\"col\">value</th></tr></thead>\n<tbody>\n");
    if (yaml) put_marks(yaml, out);
    CF_TRY_GOTO(put_prediction_hashes(p, out), out);
    cf_buf_printf(out, "</tbody></table></div>\n");
    if (yaml)
        put_configuration(yaml, out);
    else
        cf_buf_printf(out, "<p class=\"warning\">No run.yaml in the folder: the configuration is "
                           "not known.</p>\n");
    cf_page_end(out);
out:
    free(yaml);
    return err;
}

void cf_page_data(const cf_page *p, cf_buf *out)
{
    const cf_scheme *s = p->scheme;
    cf_page_section(out, "data", "Data and scheme");
    cf_buf_printf(out, "<p>Class scheme <strong>");
    cf_html_text(out, s->name);
    cf_buf_printf(out, "</strong>, %d classes, %d output nodes.</p>\n", s->n_classes, s->n_nodes);
    if (s->citation[0]) {
        cf_buf_printf(out, "<p>To cite: ");
        cf_html_text(out, s->citation);
        cf_buf_printf(out, "</p>\n");
    }
    if (cf_page_has_tolerance(s)) {
        cf_buf_printf(out, "<p>Tolerance pairs: ");
        const char *comma = "";
        for (int i = 0; i < s->n_classes; i++)
            for (int k = i + 1; k < s->n_classes; k++) {
                if (!s->tolerant[(int64_t)i * s->n_classes + k]) continue;
                cf_html_textf(out, "%s%s–%s", comma, s->classes[i].code, s->classes[k].code);
                comma = ", ";
            }
        cf_buf_printf(out, ".</p>\n");
    }
    cf_page_end(out);
}
