#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "launch/class_table.h"
#include "launch/inspect.h"
#include "proto/cells.h"
#include "worker/memory.h"

/* Images of every class and site. */
typedef struct counts {
    int64_t *of_class;      /* owned, [n_classes] */
    int64_t *of_site;       /* owned, [n_sites] */
    int64_t *of_class_site; /* owned, [n_classes + 1][n_sites]; the last row: without a label */
    int64_t patients_known; /* images with a patient */
    int n_classes, n_sites;
} counts;

static void counts_fini(counts *c)
{
    free(c->of_class);
    free(c->of_site);
    free(c->of_class_site);
}

static cf_err counts_init(const cf_cells *cells, counts *c)
{
    *c = (counts){.n_classes = cells->scheme.n_classes, .n_sites = (int)cells->site_names.n};
    size_t classes = (size_t)c->n_classes, sites = (size_t)c->n_sites, both;
    if (!cf_size_mul(classes + 1, sites, &both)) return cf_fail(CF_E_DATA, "%zu sites", sites);
    CF_TRY(cf_new(&c->of_class, classes, sizeof(int64_t)));
    CF_TRY(cf_new(&c->of_site, sites, sizeof(int64_t)));
    CF_TRY(cf_new(&c->of_class_site, both, sizeof(int64_t)));
    for (int64_t i = 0; i < cells->n; i++) {
        c->of_site[cells->sites[i]]++;
        c->patients_known += cells->patients[i] >= 0;
        bool known = cells->labels[i] != CF_LABEL_UNKNOWN;
        int64_t row = known ? cells->labels[i] : c->n_classes;
        if (known) c->of_class[row]++;
        c->of_class_site[row * c->n_sites + cells->sites[i]]++;
    }
    return CF_OK;
}

static void print_json(const cf_inspection *i, const cf_cells *cells, const counts *c, cf_buf *out)
{
    char hash[24];
    cf_json j;
    snprintf(hash, sizeof hash, "%016" PRIx64, cells->content_hash);
    cf_json_begin(&j, out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "kind", "cells");
    cf_json_string(&j, "file", i->path);
    cf_json_integer(&j, "images", cells->n);
    cf_json_integer(&j, "height", cells->height);
    cf_json_integer(&j, "width", cells->width);
    cf_json_number(&j, "um_per_px", cells->um_per_px);
    cf_json_string(&j, "stored", cells->starts ? "encoded" : "decoded");
    cf_json_integer(&j, "bytes", (int64_t)cells->map.n_bytes);
    cf_json_boolean(&j, "stains", cells->stains != NULL);
    cf_json_string(&j, "content_hash", hash);
    cf_json_string(&j, "scheme", cells->scheme.name);
    cf_json_integer(&j, "patients", (int64_t)cells->patient_names.n);
    cf_json_integer(&j, "images_with_patient", c->patients_known);
    cf_json_integer(&j, "images_without_class", cells->n_unknown);
    cf_json_object(&j, "classes");
    for (int k = 0; k < c->n_classes; k++)
        cf_json_integer(&j, cells->scheme.classes[k].code, c->of_class[k]);
    cf_json_end_object(&j);
    cf_json_object(&j, "sites");
    for (int s = 0; s < c->n_sites; s++)
        cf_json_integer(&j, cells->site_names.items[s], c->of_site[s]);
    cf_json_end_object(&j);
    cf_json_end_object(&j);
    cf_buf_printf(out, "\n");
}

static cf_err print_text(const cf_inspection *i, const cf_cells *cells, const counts *c,
                         cf_buf *out)
{
    cf_buf_printf(out, "cells file     %s\n", i->path);
    cf_buf_printf(out, "images         %" PRId64 " of %d x %d px", cells->n, cells->width,
                  cells->height);
    if (cells->um_per_px > 0) cf_buf_printf(out, ", %g um a pixel", cells->um_per_px);
    cf_buf_printf(out, "\nbytes          ");
    cf_print_bytes(out, (double)cells->map.n_bytes);
    if (cells->starts) {
        cf_buf_printf(out, ", files as they were (");
        cf_print_bytes(out, 3.0 * cells->height * cells->width * (double)cells->n);
        cf_buf_printf(out, " decoded)");
    }
    cf_buf_printf(out, "\nstains         %s", cells->stains ? "of each image" : "none");
    cf_buf_printf(out, "\ncontent hash   %016" PRIx64 "\n", cells->content_hash);
    cf_buf_printf(out, "scheme         %s, %d classes, %d output nodes\n", cells->scheme.name,
                  cells->scheme.n_classes, cells->scheme.n_nodes);
    if (cells->n_unknown > 0) cf_buf_printf(out, "without class  %" PRId64 "\n", cells->n_unknown);
    cf_buf_printf(out, "patients       ");
    if (c->patients_known == 0)
        cf_buf_printf(out, "not known\n");
    else
        cf_buf_printf(out, "%zu, known for %" PRId64 " images\n", cells->patient_names.n,
                      c->patients_known);
    cf_buf_printf(out, "sites          %d:", c->n_sites);
    for (int s = 0; s < c->n_sites; s++)
        cf_buf_printf(out, "%s %s (%" PRId64 ")", s ? "," : "",
                      cells->site_names.items[s][0] ? cells->site_names.items[s] : "not named",
                      c->of_site[s]);
    cf_buf_printf(out, "\n\n");
    return cf_class_table(cells, c->of_class_site, out);
}

cf_err cf_inspect_cells(const cf_inspection *i, cf_buf *out)
{
    cf_cells cells;
    counts c = {0};
    CF_TRY(cf_cells_open_any(i->path, &cells));
    cf_err err = counts_init(&cells, &c);
    if (err == CF_OK && i->json)
        print_json(i, &cells, &c, out);
    else if (err == CF_OK)
        err = print_text(i, &cells, &c, out);
    counts_fini(&c);
    cf_cells_close(&cells);
    return err;
}
