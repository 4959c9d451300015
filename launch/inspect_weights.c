#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/markdown.h"
#include "launch/inspect.h"
#include "proto/safetensors.h"

static int64_t count_numbers(const cf_safetensors *f)
{
    int64_t n = 0;
    for (int i = 0; i < f->n; i++) n += f->items[i].count; /* each lies in the file: no overflow */
    return n;
}

static void print_json(const cf_safetensors *f, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "kind", "safetensors");
    cf_json_string(&j, "file", f->path);
    cf_json_integer(&j, "numbers", count_numbers(f));
    cf_json_object(&j, "metadata");
    for (int i = 0; i < f->n_notes; i++) cf_json_string(&j, f->notes[i].key, f->notes[i].value);
    cf_json_end_object(&j);
    cf_json_array(&j, "tensors");
    for (int i = 0; i < f->n; i++) {
        const cf_safetensor *t = &f->items[i];
        cf_json_object(&j, NULL);
        cf_json_string(&j, "name", t->name);
        cf_json_string(&j, "type", cf_safetensor_type_name(t->type));
        cf_json_array(&j, "shape");
        for (int d = 0; d < t->rank; d++) cf_json_integer(&j, NULL, t->dim[d]);
        cf_json_end_array(&j);
        cf_json_end_object(&j);
    }
    cf_json_end_array(&j);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}

/* Values of many lines (a configuration, a scheme) are counted; --json has them whole. */
static cf_err print_notes(const cf_safetensors *f, cf_buf *out)
{
    cf_markdown t;
    if (f->n_notes == 0) return CF_OK;
    cf_markdown_begin(&t, "ll");
    cf_markdown_put(&t, "metadata");
    cf_markdown_put(&t, "value");
    for (int i = 0; i < f->n_notes; i++) {
        const char *value = f->notes[i].value;
        int lines = 0;
        for (const char *p = strchr(value, '\n'); p != NULL; p = strchr(p + 1, '\n')) lines++;
        cf_markdown_put(&t, f->notes[i].key);
        if (lines > 1)
            cf_markdown_putf(&t, "%d lines", lines);
        else
            cf_markdown_put(&t, value);
    }
    cf_buf_printf(out, "\n");
    return cf_markdown_print(&t, out);
}

static cf_err print_tensors(const cf_safetensors *f, cf_buf *out)
{
    cf_markdown t;
    cf_markdown_begin(&t, "lllr");
    cf_markdown_put(&t, "tensor");
    cf_markdown_put(&t, "type");
    cf_markdown_put(&t, "shape");
    cf_markdown_put(&t, "elements");
    for (int i = 0; i < f->n; i++) {
        const cf_safetensor *s = &f->items[i];
        char shape[CF_SAFETENSORS_MAX_RANK * 24] = "";
        int n = 0;
        for (int d = 0; d < s->rank; d++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%" PRId64, d > 0 ? " x " : "",
                          s->dim[d]);
        cf_markdown_put(&t, s->name);
        cf_markdown_put(&t, cf_safetensor_type_name(s->type));
        cf_markdown_put(&t, shape);
        cf_markdown_putf(&t, "%" PRId64, s->count);
    }
    return cf_markdown_print(&t, out);
}

cf_err cf_inspect_weights(const cf_inspection *inspection, cf_buf *out)
{
    cf_safetensors f;
    CF_TRY(cf_safetensors_open(inspection->path, &f));
    cf_err err = CF_OK;
    if (inspection->json) {
        print_json(&f, out);
    } else {
        cf_buf_printf(out, "safetensors    %s\ntensors        %d\nnumbers        %" PRId64 "\n",
                      inspection->path, f.n, count_numbers(&f));
        err = print_notes(&f, out);
        cf_buf_printf(out, "\n");
        if (err == CF_OK) err = print_tensors(&f, out);
    }
    cf_safetensors_close(&f);
    return err == CF_OK ? cf_buf_check(out) : err;
}
