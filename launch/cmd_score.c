/* cytofold score: every metric from a predictions file, whoever made it. */
#include <stdio.h>

#include "coordinator/report.h"
#include "kernels/base/log.h"
#include "launch/verbs.h"

static cf_err run_score(int argc, char **argv);

const cf_verb cf_verb_score = {
    .name = "score",
    .summary = "every metric from a predictions file, whoever made it",
    .usage = "PREDICTIONS.csv --scheme S [-o metrics.json] [--json]",
    .details =
        "PREDICTIONS.csv has the columns id, label, predicted and p_<CODE> for every class\n"
        "(probabilities), or p_<NODE> or z_<NODE> (logits) for every output node of the scheme; "
        "site\n"
        "and fold may be there. Rows whose label is empty are left out, and counted. The table "
        "goes to standard output, with --json metrics.json does.",
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

static cf_err score(const char *predictions, const char *scheme, const char *output, bool json)
{
    cf_scheme s = {0};
    cf_predictions p = {0};
    cf_metrics m = {0};
    cf_buf text = {0}, table = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_scheme_read(scheme, &s), out);
    CF_TRY_GOTO(cf_predictions_read_any(predictions, &s, &p), out);
    CF_TRY_GOTO(leave_out_unlabelled(predictions, &p), out);
    CF_TRY_GOTO(cf_where(cf_metrics_compute(&s, &p, &m), "%s", predictions), out);
    CF_TRY_GOTO(cf_metrics_write_json(&s, &m, &text), out);
    if (output != NULL) CF_TRY_GOTO(cf_file_save(output, cf_buf_text(&text), text.len), out);
    if (!json) CF_TRY_GOTO(cf_report_markdown(&s, &m, &table), out);
    fputs(cf_buf_text(json ? &text : &table), stdout);
out:
    cf_buf_fini(&table);
    cf_buf_fini(&text);
    cf_metrics_fini(&m);
    cf_predictions_fini(&p);
    cf_scheme_fini(&s);
    return err;
}

static cf_err run_score(int argc, char **argv)
{
    const char *scheme = NULL, *output = NULL;
    bool json = false, help = false;
    const cf_option options[] = {
        {"scheme", 0, CF_OPTION_TEXT, &scheme, 0, 0, "S",
         "class scheme: a name or a file (required)"},
        {"output", 'o', CF_OPTION_TEXT, &output, 0, 0, "FILE", "also write metrics.json to FILE"},
        {"json", 0, CF_OPTION_FLAG, &json, 0, 0, NULL, "print metrics.json instead of the table"},
    };
    cf_strings operands = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_options_parse(&cf_verb_score, options, sizeof options / sizeof options[0], argc,
                                 argv, 1, 1, &operands, &help),
                out);
    if (help) goto out;
    if (scheme == NULL) {
        err = cf_fail(CF_E_USAGE, "score: --scheme is missing; usage: cytofold score %s",
                      cf_verb_score.usage);
        goto out;
    }
    err = score(operands.items[0], scheme, output, json);
out:
    cf_strings_fini(&operands);
    return err;
}
