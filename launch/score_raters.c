#include "launch/score_raters.h"

#include <stdio.h>

#include "coordinator/bootstrap.h"
#include "coordinator/raters.h"

cf_err cf_score_raters(const char *path, const cf_scheme *s, const cf_predictions *p,
                       int n_resamples, const char *output, bool json)
{
    cf_raters raters = {0};
    cf_rater_study study = {0};
    cf_buf text = {0}, table = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_raters_read(path, s, &raters), out);
    CF_TRY_GOTO(cf_where(cf_raters_compare(s, p, &raters, n_resamples, CF_BOOTSTRAP_SEED, &study),
                         "%s", path),
                out);
    CF_TRY_GOTO(cf_rater_study_json(&study, &text), out);
    if (output != NULL) CF_TRY_GOTO(cf_file_save(output, cf_buf_text(&text), text.len), out);
    if (!json) CF_TRY_GOTO(cf_rater_study_markdown(&study, &table), out);
    fputs(cf_buf_text(json ? &text : &table), stdout);
out:
    cf_buf_fini(&table);
    cf_buf_fini(&text);
    cf_rater_study_fini(&study);
    cf_raters_fini(&raters);
    return err;
}
