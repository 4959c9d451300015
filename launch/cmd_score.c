/* cytofold score: every metric from a predictions file, whoever made it. */
#include <stdio.h>

#include "coordinator/bootstrap.h"
#include "coordinator/report.h"
#include "kernels/base/log.h"
#include "launch/compare_files.h"
#include "launch/score_raters.h"
#include "launch/verbs.h"

static cf_err run_score(int argc, char **argv);

const cf_verb cf_verb_score = {
    .name = "score",
    .summary = "every metric from a predictions file, whoever made it",
    .usage =
        "PREDICTIONS.csv --scheme S [--against B | --raters R.csv] [-o FILE.json] [--bootstrap N] "
        "[--json]",
    .details =
        "PREDICTIONS.csv has the columns id, label, predicted and p_<CODE> for every class\n"
        "(probabilities), or p_<NODE> or z_<NODE> (logits) for every output node of the scheme;\n"
        "site, fold and patient may be there. Rows whose label is empty are left out, and "
        "counted.\n"
        "Intervals come from a bootstrap, by patient where a column patient names them.\n"
        "Tables go to standard output; -o saves, and --json prints, one of three forms of JSON:\n"
        "metrics.json, as in a run folder; with --against compare.json, the predictions beside\n"
        "those of B on the images of both (paired bootstrap, McNemar's test, over folds a "
        "corrected\n"
        "t-test); with --raters the study of R.csv.\n"
        "R.csv has the columns id, rater, label, and round where a rater labelled an image more\n"
        "than once. The study tells how far people agree with each other, with themselves, with\n"
        "the predictions and with their labels, which may be empty then. Its keys: scheme, "
        "images,\n"
        "images_without_prediction, patients, resamples, classes, raters, comparisons (of each "
        "two:\n"
        "rows, columns, pairs of labels, agreement, Cohen's kappa, confusion), "
        "krippendorff_alpha,\n"
        "fleiss_kappa.",
    .run = run_score,
};

static cf_err leave_out_unlabelled(const char *path, cf_predictions *p)
{
    if (p->n_unknown == 0) return CF_OK;
    if (p->n_unknown == p->n)
        return cf_fail(CF_E_DATA, "%s: none of %lld images has a label to score against", path,
                       (long long)p->n);
    cf_log_info("%s: over %lld of %lld images; the others have no label", path,
                (long long)(p->n - p->n_unknown), (long long)p->n);
    cf_predictions_drop_unknown(p);
    return CF_OK;
}

typedef struct score_options {
    const char *scheme, *output, *against, *raters; /* but for scheme: NULL for none */
    int64_t n_resamples;
    bool json;
} score_options;

static cf_err compare(const char *predictions, const score_options *o, const cf_scheme *s,
                      const cf_predictions *p)
{
    const cf_compare_job job = {.a = predictions,
                                .b = o->against,
                                .rows = p,
                                .n_resamples = (int)o->n_resamples,
                                .json = o->output,
                                .print_json = o->json};
    return cf_compare_files(s, &job);
}

static cf_err print_metrics(const char *predictions, const score_options *o, const cf_scheme *s,
                            const cf_predictions *p)
{
    const cf_bootstrap_options intervals = {(int)o->n_resamples, CF_BOOTSTRAP_SEED, 0};
    cf_metrics m = {0};
    cf_buf text = {0}, table = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_where(cf_metrics_compute(s, p, &m), "%s", predictions), out);
    CF_TRY_GOTO(cf_bootstrap(s, p, &intervals, &m), out);
    CF_TRY_GOTO(cf_metrics_write_json(s, &m, &text), out);
    if (o->output != NULL) CF_TRY_GOTO(cf_file_save(o->output, cf_buf_text(&text), text.len), out);
    if (!o->json) CF_TRY_GOTO(cf_report_markdown(s, &m, &table), out);
    fputs(cf_buf_text(o->json ? &text : &table), stdout);
out:
    cf_buf_fini(&table);
    cf_buf_fini(&text);
    cf_metrics_fini(&m);
    return err;
}

static cf_err score(const char *predictions, const score_options *o)
{
    cf_scheme s = {0};
    cf_predictions p = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_scheme_read(o->scheme, &s), out);
    CF_TRY_GOTO(cf_predictions_read_any(predictions, &s, &p), out);
    if (o->raters != NULL) {
        err = cf_score_raters(o->raters, &s, &p, (int)o->n_resamples, o->output, o->json);
        goto out;
    }
    CF_TRY_GOTO(leave_out_unlabelled(predictions, &p), out);
    err = o->against ? compare(predictions, o, &s, &p) : print_metrics(predictions, o, &s, &p);
out:
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
    return err;
}

static cf_err run_score(int argc, char **argv)
{
    score_options o = {.n_resamples = CF_BOOTSTRAP_RESAMPLES};
    bool help = false;
    const cf_option options[] = {
        {"scheme", 0, CF_OPTION_TEXT, &o.scheme, 0, 0, "S",
         "class scheme: a name or a file (required)"},
        {"output", 'o', CF_OPTION_TEXT, &o.output, 0, 0, "FILE", "also write the JSON to FILE"},
        {"against", 0, CF_OPTION_TEXT, &o.against, 0, 0, "B",
         "compare with B: a predictions file or a run folder"},
        {"raters", 0, CF_OPTION_TEXT, &o.raters, 0, 0, "R.csv",
         "agreement of these labels with each other and with the predictions, instead"},
        {"bootstrap", 0, CF_OPTION_INT, &o.n_resamples, 0, CF_BOOTSTRAP_MAX, "N",
         "resamples for intervals (default: 1000; 0: none)"},
        {"json", 0, CF_OPTION_FLAG, &o.json, 0, 0, NULL, "print the JSON instead of the tables"},
    };
    cf_strings operands = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_options_parse(&cf_verb_score, options, sizeof options / sizeof options[0], argc,
                                 argv, 1, 1, &operands, &help),
                out);
    if (help) goto out;
    if (o.scheme == NULL) {
        err = cf_fail(CF_E_USAGE, "score: --scheme is missing; usage: cytofold score %s",
                      cf_verb_score.usage);
        goto out;
    }
    if (o.against != NULL && o.raters != NULL) {
        err = cf_fail(CF_E_USAGE, "score: either --against or --raters, not both");
        goto out;
    }
    err = score(operands.items[0], &o);
out:
    cf_strings_fini(&operands);
    return err;
}
