#include "kernels/cuda/engines_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"

#define HEADING "cytofold engines 1"

enum { MAX_BYTES = 16 << 20, N_FIELDS = 5, N_SHAPE = 12 };

/* ---- keys -------------------------------------------------------------------------------------
 */

const char *cf_conv_pass_name(cf_conv_pass pass)
{
    return pass == CF_CONV_FORWARD ? "forward" : pass == CF_CONV_DATA ? "data" : "weights";
}

void cf_geometry_text(const cf_geometry *g, char *text, size_t n)
{
    snprintf(text, n, "%dx%dx%d -> %dx%dx%d, kernel %d, stride %d, groups %d, batch %d, %s", g->h,
             g->w, g->c, g->p, g->q, g->k, g->kernel, g->stride, g->groups, g->n,
             cf_dtype_name(g->dtype));
}

void cf_engine_key(const char *device, const cf_geometry *g, cf_conv_pass pass,
                   const cf_engine_context *context, bool deterministic, char *key, size_t n)
{
    snprintf(key, n, "%s\t%s%s%s%s\t%s\t%d %d %d %d %d %d %d %d %d %d %d %d", device,
             cf_conv_pass_name(pass), context->want_view ? " view" : "",
             context->want_partials ? " sums" : "", deterministic ? "" : " any order",
             cf_dtype_name(g->dtype), g->n, g->h, g->w, g->c, g->k, g->p, g->q, g->kernel,
             g->stride, g->pad_top, g->pad_left, g->groups);
}

/* ---- lists ------------------------------------------------------------------------------------
 */

const cf_engine_line *cf_engine_lines_find(const cf_engine_lines *lines, const char *key)
{
    for (int i = 0; i < lines->n; i++)
        if (strcmp(lines->items[i].key, key) == 0) return &lines->items[i];
    return NULL;
}

cf_err cf_engine_lines_add(cf_engine_lines *lines, const char *key, const char *choice, int number)
{
    if (lines->n == lines->reserved) {
        int reserved = lines->reserved * 2 + 64;
        CF_TRY(cf_resize(&lines->items, (size_t)reserved, sizeof *lines->items));
        lines->reserved = reserved;
    }
    cf_engine_line line = {.number = number};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_strdup(key, &line.key), out);
    CF_TRY_GOTO(cf_strdup(choice, &line.choice), out);
    lines->items[lines->n++] = line;
    return CF_OK;
out:
    free(line.key);
    return err;
}

void cf_engine_lines_fini(cf_engine_lines *lines)
{
    for (int i = 0; i < lines->n; i++) {
        free(lines->items[i].choice);
        free(lines->items[i].key);
    }
    free(lines->items);
    *lines = (cf_engine_lines){0};
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static bool is_dtype(const char *name)
{
    for (int t = CF_F32; t <= CF_F16; t++)
        if (strcmp(name, cf_dtype_name((cf_dtype)t)) == 0) return true;
    return false;
}

static bool is_pass(const char *name)
{
    for (int p = CF_CONV_FORWARD; p <= CF_CONV_WEIGHTS; p++) {
        const char *word = cf_conv_pass_name((cf_conv_pass)p);
        size_t n = strlen(word);
        if (strncmp(name, word, n) == 0 && (name[n] == '\0' || name[n] == ' ')) return true;
    }
    return false;
}

static bool is_shape(const char *text)
{
    int n = 0;
    for (;; text++) {
        if (*text < '0' || *text > '9') return false;
        text += strspn(text, "0123456789");
        n++;
        if (*text == '\0') return n == N_SHAPE;
        if (*text != ' ') return false;
    }
}

static bool is_choice(const char *text)
{
    return strncmp(text, "kernel ", 7) == 0 || strncmp(text, "cudnn ", 6) == 0;
}

/* Cuts the line at its tabs; NULL, or what is wrong with it. */
static const char *split(char *line, char *fields[N_FIELDS])
{
    for (int i = 0; i < N_FIELDS; i++) {
        char *tab = strchr(line, '\t');
        if ((tab == NULL) != (i == N_FIELDS - 1)) return "expected five fields between tabs";
        if (tab) *tab = '\0';
        if (*line == '\0') return "a field is empty";
        fields[i] = line;
        line = tab + 1;
    }
    if (!is_pass(fields[1])) return "the second field is no pass of a convolution";
    if (!is_dtype(fields[2])) return "the third field is not fp32, bf16 or fp16";
    if (!is_shape(fields[3])) return "the fourth field is not a shape of twelve numbers";
    if (!is_choice(fields[4])) return "the fifth field is neither 'kernel ...' nor 'cudnn ...'";
    return NULL;
}

static cf_err read_line(const char *path, int number, char *line, cf_engine_lines *lines)
{
    char *fields[N_FIELDS];
    const char *wrong = split(line, fields);
    if (wrong) return cf_fail(CF_E_DATA, "%s:%d: %s", path, number, wrong);
    for (int i = 1; i < N_FIELDS - 1; i++) *(fields[i] - 1) = '\t'; /* one key again */
    const cf_engine_line *other = cf_engine_lines_find(lines, line);
    if (other)
        return cf_fail(CF_E_DATA, "%s:%d: the same shape as in line %d", path, number,
                       other->number);
    return cf_engine_lines_add(lines, line, fields[N_FIELDS - 1], number);
}

static cf_err read_text(const char *path, char *text, size_t n_bytes, cf_engine_lines *lines)
{
    if (strlen(text) != n_bytes) return cf_fail(CF_E_DATA, "%s: contains a NUL byte", path);
    for (int number = 1; *text || number == 1; number++) {
        char *end = strchr(text, '\n');
        if (!end) return cf_fail(CF_E_DATA, "%s:%d: the line is cut off", path, number);
        *end = '\0';
        if (number > 1)
            CF_TRY(read_line(path, number, text, lines));
        else if (strcmp(text, HEADING) != 0)
            return cf_fail(CF_E_DATA, "%s:1: '%.40s', expected '%s'", path, text, HEADING);
        text = end + 1;
    }
    return CF_OK;
}

cf_err cf_engine_lines_read(const char *path, cf_engine_lines *lines)
{
    char *text = NULL;
    size_t n_bytes = 0;
    if (!cf_path_exists(path)) return CF_OK;
    CF_TRY(cf_file_read(path, MAX_BYTES, &text, &n_bytes));
    cf_err err = read_text(path, text, n_bytes, lines);
    free(text);
    return err;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static int by_key(const void *a, const void *b)
{
    const cf_engine_line *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static cf_err write_lines(const char *path, const cf_engine_lines *lines)
{
    cf_buf text = {0};
    qsort(lines->items, (size_t)lines->n, sizeof *lines->items, by_key);
    cf_buf_printf(&text, "%s\n", HEADING);
    for (int i = 0; i < lines->n; i++)
        cf_buf_printf(&text, "%s\t%s\n", lines->items[i].key, lines->items[i].choice);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK) err = cf_file_save(path, cf_buf_text(&text), text.len);
    cf_buf_fini(&text);
    return err;
}

/* Another process may have written since. Where both chose, this run's choice stays: it computes
 * with it already. */
cf_err cf_engine_lines_save(const char *path, const cf_engine_lines *lines)
{
    cf_engine_lines all = {0}, there = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_engine_lines_read(path, &there), out);
    for (int i = 0; i < lines->n; i++)
        if (lines->items[i].number == 0)
            CF_TRY_GOTO(cf_engine_lines_add(&all, lines->items[i].key, lines->items[i].choice, 0),
                        out);
    for (int i = 0; i < there.n; i++)
        if (!cf_engine_lines_find(&all, there.items[i].key))
            CF_TRY_GOTO(cf_engine_lines_add(&all, there.items[i].key, there.items[i].choice, 0),
                        out);
    CF_TRY_GOTO(write_lines(path, &all), out);
out:
    cf_engine_lines_fini(&there);
    cf_engine_lines_fini(&all);
    return err;
}
