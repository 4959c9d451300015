/* The figures of a report, drawn once for the page and for RUN/plots. Threads: one caller. Read
 * first: cf_figures_make. */
#ifndef CF_COORDINATOR_FIGURES_H
#define CF_COORDINATOR_FIGURES_H

#include "coordinator/canvas.h"
#include "coordinator/learning.h"
#include "coordinator/metrics.h"

typedef enum cf_figure {
    CF_FIGURE_CONFUSION,
    CF_FIGURE_ROC,
    CF_FIGURE_PRECISION_RECALL,
    CF_FIGURE_QUESTIONS_ROC,
    CF_FIGURE_QUESTIONS_PRECISION_RECALL,
    CF_FIGURE_RELIABILITY,
    CF_FIGURE_LOSS,
    CF_FIGURE_ACCURACY,
    CF_FIGURE_FREQUENCIES,
    CF_N_FIGURES
} cf_figure;

typedef struct cf_figures {
    cf_canvas *canvas[CF_N_FIGURES]; /* owned; NULL: nothing to draw */
} cf_figures;

/* File names below plots/, without the suffix. */
extern const char *const cf_figure_names[CF_N_FIGURES];

/* p: the rows that m was computed from. Release with fini in any case. */
CF_CHECKED cf_err cf_figures_make(const cf_scheme *s, const cf_predictions *p, const cf_metrics *m,
                                  const cf_learning *learning, cf_figures *figures);
/* plots/NAME.png and .svg of every figure there is; the folder is made. */
CF_CHECKED cf_err cf_figures_save(const cf_figures *figures, const char *run_dir);
void cf_figures_fini(cf_figures *figures);

#endif
