#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/markdown.h"
#include "kernels/base/mem.h"
#include "launch/inspect.h"
#include "proto/checkpoint.h"

/* L2 norm; summed in double, so that millions of weights lose nothing that is printed. */
static double norm_of(const float *values, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

static int64_t entry_count(const cf_tensor_entry *e)
{
    int64_t count = 1;
    for (int d = 0; d < e->rank; d++) count *= e->dim[d];
    return count;
}

/* The values of a tensor, or NULL where the table points outside its flat buffer. */
static const float *entry_values(const cf_checkpoint *c, const cf_tensor_entry *e)
{
    for (int i = 0; i < c->n_flats; i++) {
        const cf_flat *flat = &c->flats[i];
        if (strcmp(flat->name, e->flat) != 0) continue;
        int64_t count = entry_count(e);
        bool inside = e->offset >= 0 && count >= 0 && count <= flat->count &&
                      e->offset <= flat->count - count;
        return inside ? flat->data + e->offset : NULL;
    }
    return NULL;
}

static double entry_norm(const cf_checkpoint *c, const cf_tensor_entry *e)
{
    const float *values = entry_values(c, e);
    return values != NULL ? norm_of(values, entry_count(e)) : (double)NAN;
}

/* ---- JSON -------------------------------------------------------------------------------------
 */

static void put_hash(cf_json *j, const char *key, uint64_t hash)
{
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    cf_json_string(j, key, text);
}

static void put_tensors(const cf_checkpoint *c, cf_json *j)
{
    cf_json_array(j, "tensors");
    for (int i = 0; i < c->n_entries; i++) {
        const cf_tensor_entry *e = &c->entries[i];
        cf_json_object(j, NULL);
        cf_json_string(j, "name", e->name);
        cf_json_string(j, "buffer", e->flat);
        cf_json_array(j, "shape");
        for (int d = 0; d < e->rank; d++) cf_json_integer(j, NULL, e->dim[d]);
        cf_json_end_array(j);
        cf_json_number(j, "norm", entry_norm(c, e));
        cf_json_end_object(j);
    }
    cf_json_end_array(j);
}

static void print_json(const cf_inspection *inspection, const cf_checkpoint *c, cf_buf *out)
{
    cf_json j;
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "kind", "checkpoint");
    cf_json_string(&j, "file", inspection->path);
    cf_json_string(&j, "program_version", c->program_version);
    cf_json_integer(&j, "fold", c->fold);
    cf_json_integer(&j, "step", c->step);
    cf_json_integer(&j, "total_steps", c->total_steps);
    cf_json_integer(&j, "epoch", c->epoch);
    cf_json_integer(&j, "steps_per_epoch", c->steps_per_epoch);
    put_hash(&j, "config_hash", c->config_hash);
    put_hash(&j, "data_hash", c->data_hash);
    cf_json_array(&j, "buffers");
    for (int i = 0; i < c->n_flats; i++) {
        cf_json_object(&j, NULL);
        cf_json_string(&j, "name", c->flats[i].name);
        cf_json_integer(&j, "elements", c->flats[i].count);
        cf_json_number(&j, "norm", norm_of(c->flats[i].data, c->flats[i].count));
        cf_json_end_object(&j);
    }
    cf_json_end_array(&j);
    put_tensors(c, &j);
    cf_json_string(&j, "config", c->config);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}

/* ---- text -------------------------------------------------------------------------------------
 */

static cf_err print_buffers(const cf_checkpoint *c, cf_buf *out)
{
    cf_markdown t;
    cf_markdown_begin(&t, "lrr");
    cf_markdown_put(&t, "buffer");
    cf_markdown_put(&t, "elements");
    cf_markdown_put(&t, "norm");
    for (int i = 0; i < c->n_flats; i++) {
        cf_markdown_put(&t, c->flats[i].name);
        cf_markdown_putf(&t, "%" PRId64, c->flats[i].count);
        cf_markdown_putf(&t, "%.6g", norm_of(c->flats[i].data, c->flats[i].count));
    }
    return cf_markdown_print(&t, out);
}

static cf_err print_tensors(const cf_checkpoint *c, cf_buf *out)
{
    cf_markdown t;
    cf_markdown_begin(&t, "llrr");
    cf_markdown_put(&t, "tensor");
    cf_markdown_put(&t, "shape");
    cf_markdown_put(&t, "elements");
    cf_markdown_put(&t, "norm");
    for (int i = 0; i < c->n_entries; i++) {
        const cf_tensor_entry *e = &c->entries[i];
        char shape[96];
        int n = 0;
        for (int d = 0; d < e->rank; d++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%" PRId64, d ? " x " : "",
                          e->dim[d]);
        cf_markdown_put(&t, e->name);
        cf_markdown_put(&t, n > 0 ? shape : "");
        cf_markdown_putf(&t, "%" PRId64, entry_count(e));
        cf_markdown_putf(&t, "%.6g", entry_norm(c, e));
    }
    return cf_markdown_print(&t, out);
}

static cf_err print_text(const cf_inspection *inspection, const cf_checkpoint *c, cf_buf *out)
{
    cf_buf_printf(out, "checkpoint     %s (version %u, cytofold %s)\n", inspection->path,
                  CF_CHECKPOINT_VERSION, c->program_version);
    cf_buf_printf(out, "fold           %d\n", c->fold);
    cf_buf_printf(out, "step           %" PRId64 " of %" PRId64 "\n", c->step, c->total_steps);
    cf_buf_printf(out, "epoch          %" PRId64 ", of %" PRId64 " steps\n", c->epoch,
                  c->steps_per_epoch);
    cf_buf_printf(out, "config hash    %016" PRIx64 "\n", c->config_hash);
    cf_buf_printf(out, "data hash      %016" PRIx64 "\n\n", c->data_hash);
    CF_TRY(print_buffers(c, out));
    cf_buf_printf(out, "\n");
    CF_TRY(print_tensors(c, out));
    cf_buf_printf(out, "\nconfiguration:\n\n%s", c->config);
    return CF_OK;
}

cf_err cf_inspect_checkpoint(const cf_inspection *inspection, cf_buf *out)
{
    cf_checkpoint *c = NULL; /* too large for the stack */
    CF_TRY(cf_new(&c, 1, sizeof *c));
    cf_err err = cf_checkpoint_read(inspection->path, c);
    if (err == CF_OK && inspection->json)
        print_json(inspection, c, out);
    else if (err == CF_OK)
        err = print_text(inspection, c, out);
    if (err == CF_OK) err = cf_buf_check(out);
    cf_checkpoint_fini(c);
    free(c);
    return err;
}
