#include "coordinator/report_html.h"

#include "coordinator/figures.h"
#include "coordinator/learning.h"
#include "coordinator/page.h"
#include "kernels/base/file.h"

static cf_err save_page(const cf_page *page)
{
    char path[CF_PATH_MAX];
    cf_buf text = {0};
    CF_TRY(cf_path_join(path, sizeof path, page->run_dir, "report.html"));
    cf_err err = cf_page_write(page, &text);
    if (err == CF_OK) err = cf_file_save(path, cf_buf_text(&text), text.len);
    cf_buf_fini(&text);
    return err;
}

cf_err cf_report_html(const char *run_dir, const cf_scheme *s, const cf_predictions *p,
                      const cf_metrics *m, const char *missing, const cf_report_source *source)
{
    cf_learning learning = {0};
    cf_figures figures = {0};
    const char *absent = source ? NULL : "this report was made without the images";
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_learning_read(run_dir, &learning), out);
    CF_TRY_GOTO(cf_figures_make(s, p, m, &learning, &figures), out);
    CF_TRY_GOTO(cf_figures_save(&figures, run_dir), out);
    if (source) CF_TRY_GOTO(source->begin(source->context, run_dir, &absent), out);
    const cf_page page = {.run_dir = run_dir,
                          .scheme = s,
                          .predictions = p,
                          .metrics = m,
                          .figures = &figures,
                          .source = absent ? NULL : source,
                          .absent = absent,
                          .missing = missing};
    CF_TRY_GOTO(save_page(&page), out);
out:
    cf_figures_fini(&figures);
    cf_learning_fini(&learning);
    return err;
}
