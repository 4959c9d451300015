#include "launch/compare_files.h"

#include <stdio.h>

#include "coordinator/run_predictions.h"
#include "kernels/base/log.h"

static cf_err save(const char *path, const cf_buf *text)
{
    return path == NULL ? CF_OK : cf_file_save(path, cf_buf_text(text), text->len);
}

/* Of both sides the one that leaves images without their patients. */
static cf_patients_found patients_of(cf_patients_found a, cf_patients_found b)
{
    return a > b ? a : b;
}

static void tell_left_out(const cf_comparison *c)
{
    if (c->only_a > 0 || c->only_b > 0)
        cf_log_warn("over the %lld images of both; left out: %lld that only A has, %lld that only "
                    "B has",
                    (long long)c->n, (long long)c->only_a, (long long)c->only_b);
}

cf_err cf_compare_files(const cf_scheme *s, const cf_compare_job *job)
{
    const cf_bootstrap_options options = {job->n_resamples, CF_BOOTSTRAP_SEED, 0};
    cf_predictions b = {0};
    cf_comparison c = {0};
    cf_patients_found patients;
    cf_buf json = {0}, markdown = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_run_predictions_read(job->b, s, &b, &patients), out);
    CF_TRY_GOTO(cf_where(cf_compare(s, job->rows, &b, &options, &c), "A %s, B %s", job->a, job->b),
                out);
    c.resampling.patients = patients_of(job->patients, patients);
    tell_left_out(&c);
    CF_TRY_GOTO(cf_comparison_json(s, &c, job->a, job->b, &json), out);
    CF_TRY_GOTO(cf_comparison_markdown(s, &c, job->a, job->b, &markdown), out);
    CF_TRY_GOTO(save(job->json, &json), out);
    CF_TRY_GOTO(save(job->markdown, &markdown), out);
    fputs(cf_buf_text(job->print_json ? &json : &markdown), stdout);
out:
    cf_buf_fini(&markdown);
    cf_buf_fini(&json);
    cf_comparison_fini(&c);
    cf_predictions_fini(&b);
    return err;
}
