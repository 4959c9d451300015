#include "launch/submit_template.h"

#include <stdbool.h>
#include <string.h>

#define DIRECTIVE "#SBATCH "
#define EXAMPLE   "##SBATCH "
#define MARK      "<- "

typedef struct filling {
    const cf_submit_value *values;
    int n_values;
    const char *options;
    bool used[32]; /* of values */
    bool examples; /* were met */
    cf_buf *out;
} filling;

static bool starts(const char *line, const char *with)
{
    return strncmp(line, with, strlen(with)) == 0;
}

/* The value for a line that begins "name=", at `text`; -1: none. */
static int find_value(const filling *f, const char *text)
{
    for (int i = 0; i < f->n_values; i++) {
        size_t n = strlen(f->values[i].name);
        if (strncmp(text, f->values[i].name, n) == 0 && (text[n] == '=' || text[n] == '\n'))
            return i;
    }
    return -1;
}

/* A comment without the mark of what people are to change. */
static void add_comment(cf_buf *out, const char *line, size_t n)
{
    const char *mark = memmem(line, n, MARK, strlen(MARK));
    size_t before = mark != NULL ? (size_t)(mark - line) : n;
    cf_buf_add(out, line, before);
    if (mark == NULL) return;
    cf_buf_add(out, mark + strlen(MARK), n - before - strlen(MARK));
}

/* One line with its newline. */
static void fill_line(filling *f, const char *line, size_t n)
{
    bool directive = starts(line, DIRECTIVE);
    if (starts(line, EXAMPLE)) {
        if (!f->examples) cf_buf_printf(f->out, "%s", f->options);
        f->examples = true;
        return;
    }
    int i = find_value(f, directive ? line + strlen(DIRECTIVE) : line);
    if (i < 0 || f->used[i]) { /* a script may build upon what it was given */
        if (line[0] == '#' && !directive)
            add_comment(f->out, line, n);
        else
            cf_buf_add(f->out, line, n);
        return;
    }
    const cf_submit_value *v = &f->values[i];
    f->used[i] = true;
    if (v->value == NULL) return;
    cf_buf_printf(f->out, "%s%s=%s\n", directive ? DIRECTIVE : "", v->name, v->value);
}

/* The introduction ends at the first empty line. */
static const char *skip_introduction(const char *text)
{
    const char *end = strstr(text, "\n\n");
    return end != NULL ? end + 1 : text;
}

cf_err cf_submit_fill(const char *name, const char *title, const cf_submit_value *values,
                      int n_values, const char *options, cf_buf *out)
{
    const cf_submit_template *t = cf_submit_templates;
    filling f = {.values = values, .n_values = n_values, .options = options, .out = out};
    while (t->name != NULL && strcmp(t->name, name) != 0) t++;
    if (t->name == NULL || n_values > (int)(sizeof f.used / sizeof f.used[0]))
        return cf_fail(CF_E_UNEXPECTED, "no job script %s with %d values", name, n_values);
    cf_buf_printf(out, "#!/bin/bash\n# %s\n", title);
    const char *line = skip_introduction(t->text);
    while (*line != '\0') {
        size_t n = strcspn(line, "\n") + 1;
        fill_line(&f, line, n);
        line += n;
    }
    for (int i = 0; i < n_values; i++)
        if (!f.used[i])
            return cf_fail(CF_E_UNEXPECTED, "%s.sbatch has no line for %s", name, values[i].name);
    return cf_buf_check(out);
}
