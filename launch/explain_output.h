/* What `explain` writes: pictures, raw arrays, the summary. Threads: main only. Read first:
 * cf_explain_write. */
#ifndef CF_LAUNCH_EXPLAIN_OUTPUT_H
#define CF_LAUNCH_EXPLAIN_OUTPUT_H

#include "kernels/base/buf.h"
#include "proto/cells.h"
#include "worker/data/sheet.h"
#include "worker/insight/explain.h"
#include "worker/insight/heat.h"

/* One image's line of the summary. */
typedef struct cf_explained {
    char *picture; /* owned: file name in the output folder */
    int fold, predicted, class;
    double p_predicted, p_class, score;
} cf_explained;

typedef struct cf_explain_output {
    const cf_saved *run; /* borrowed, as all but what is owned */
    const cf_cells *cells;
    const cf_explain_options *options;
    const char *folder, *layer;
    bool raw; /* arrays, too */
    cf_heat heat;
    cf_sheet *sheet; /* owned: all images together; NULL: one image only */
    int n_rows, n_sheets;
    cf_explained *items; /* owned, [options->n_images] */
} cf_explain_output;

/* Makes the folder, and room for the items. Release with fini in any case. */
CF_CHECKED cf_err cf_explain_output_init(cf_explain_output *o);
void cf_explain_output_fini(cf_explain_output *o);
/* One image: <name>.png, with raw <name>.gradcam.npy (fp32 [h][w], the layer's own pixels, before
 * any scale) and <name>.smoothgrad.npy (fp32 [size][size][3], the mean gradient by the normalised
 * image); its row of the sheet. name: the image's id with what no file name should have as '_'. */
CF_CHECKED cf_err cf_explain_write(cf_explain_output *o, const cf_explanation *x);
/* The last sheet, where there is one. */
CF_CHECKED cf_err cf_explain_output_finish(cf_explain_output *o);

void cf_explain_text(const cf_explain_output *o, cf_buf *out);
void cf_explain_json(const cf_explain_output *o, const cf_explain_report *r, cf_buf *out);

#endif
