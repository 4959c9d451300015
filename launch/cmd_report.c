/* cytofold report: the tables of a run, again, from what is on disk. */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/bootstrap.h"
#include "coordinator/report.h"
#include "coordinator/run_predictions.h"
#include "coordinator/sweep_folder.h"
#include "coordinator/sweep_report.h"
#include "coordinator/tensorboard.h"
#include "kernels/base/mem.h"
#include "launch/compare_files.h"
#include "launch/report_images.h"
#include "launch/verbs.h"

static cf_err run_report(int argc, char **argv);

const cf_verb cf_verb_report = {
    .name = "report",
    .summary = "per-class precision and recall of a run, again from what is on disk",
    .usage = "DIR [--scheme S] [--against B] [--bootstrap N] [--json]",
    .details =
        "Reads fold-K/predictions.csv of the run folder and writes metrics.json, table.csv,\n"
        "confusion.csv, table.md, fold-K/metrics.json, report.html and plots/ there. Folds that\n"
        "are missing are named. The page's pictures come from the cells file that run.yaml names.\n"
        "With --against the run's predictions are compared with B's on the images of both (paired\n"
        "bootstrap, McNemar's test, over folds a corrected t-test), and only compare.json and\n"
        "compare.md are written.",
    .run = run_report,
};

/* A file as it was just written. */
static cf_err print_file(const char *dir, const char *name)
{
    enum { METRICS_MAX_BYTES = 1 << 30 };
    char path[CF_PATH_MAX], *text = NULL;
    size_t n = 0;
    CF_TRY(cf_path_join(path, sizeof path, dir, name));
    CF_TRY(cf_file_read(path, METRICS_MAX_BYTES, &text, &n));
    fputs(text, stdout);
    free(text);
    return CF_OK;
}

static cf_err report_sweep(const char *dir, bool json)
{
    cf_buf table = {0};
    cf_err err = cf_sweep_report_write(dir, NULL, &table);
    if (err == CF_OK && json)
        err = print_file(dir, "sweep.json");
    else if (err == CF_OK)
        fputs(cf_buf_text(&table), stdout);
    cf_buf_fini(&table);
    return err;
}

/* run.tensorboard of the run; as it is by default where there is no run.yaml to ask. */
static bool wants_events(const char *dir)
{
    char path[CF_PATH_MAX];
    cf_config *config = NULL;
    bool wanted = true;
    if (cf_path_join(path, sizeof path, dir, "run.yaml") != CF_OK || !cf_path_exists(path))
        return true;
    if (cf_new(&config, 1, sizeof *config) == CF_OK && cf_config_read(path, config) == CF_OK)
        wanted = config->run_tensorboard;
    free(config);
    return wanted;
}

/* Tables, page and plots, with the pictures of the run's cells file. */
static cf_err write_report(const char *dir, const cf_scheme *s, int n_resamples, cf_buf *table)
{
    cf_report_images images;
    cf_report_source source;
    cf_report_images_init(&images, &source);
    cf_err err = cf_report_run(dir, s, &source, n_resamples, table);
    if (err == CF_OK && wants_events(dir)) cf_tensorboard_finish(dir, -1, s, &source);
    cf_report_images_fini(&images);
    return err;
}

typedef struct report_options {
    const char *scheme, *against; /* NULL: not given */
    int64_t n_resamples;          /* -1: not given */
    bool json;
} report_options;

static int resamples(const report_options *o)
{
    return o->n_resamples < 0 ? CF_BOOTSTRAP_RESAMPLES : (int)o->n_resamples;
}

static cf_err compare(const char *dir, const report_options *o, const cf_scheme *s)
{
    char json[CF_PATH_MAX], markdown[CF_PATH_MAX];
    cf_predictions a = {0};
    cf_patients_found patients;
    CF_TRY(cf_path_join(json, sizeof json, dir, "compare.json"));
    CF_TRY(cf_path_join(markdown, sizeof markdown, dir, "compare.md"));
    CF_TRY(cf_run_predictions_read(dir, s, &a, &patients));
    const cf_compare_job job = {.a = dir,
                                .b = o->against,
                                .rows = &a,
                                .patients = patients,
                                .n_resamples = resamples(o),
                                .json = json,
                                .markdown = markdown,
                                .print_json = o->json};
    cf_err err = cf_compare_files(s, &job);
    cf_predictions_fini(&a);
    return err;
}

static cf_err report(const char *dir, const report_options *o)
{
    char path[CF_PATH_MAX];
    const char *scheme = o->scheme;
    cf_scheme s = {0};
    cf_buf table = {0};
    cf_err err = CF_OK;
    if (!cf_path_is_dir(dir)) return cf_fail(CF_E_DATA, "%s: not a run folder", dir);
    if (cf_sweep_folder_is_one(dir)) {
        if (o->against) return cf_fail(CF_E_USAGE, "%s: a sweep; compare one of its points", dir);
        if (o->n_resamples >= 0)
            return cf_fail(CF_E_USAGE,
                           "%s: a sweep; how many resamples its comparisons take follows from the "
                           "number of its points",
                           dir);
        if (scheme)
            return cf_fail(CF_E_USAGE, "%s: a sweep; its points keep the scheme of their runs",
                           dir);
        return report_sweep(dir, o->json);
    }
    if (scheme == NULL) {
        CF_TRY(cf_path_join(path, sizeof path, dir, "scheme.yaml"));
        if (!cf_path_exists(path))
            return cf_fail(CF_E_DATA, "%s: no scheme.yaml in it; name the scheme with --scheme",
                           dir);
        scheme = path;
    }
    CF_TRY_GOTO(cf_scheme_read(scheme, &s), out);
    if (o->against) {
        err = compare(dir, o, &s);
        goto out;
    }
    CF_TRY_GOTO(write_report(dir, &s, resamples(o), &table), out);
    if (o->json)
        err = print_file(dir, "metrics.json");
    else
        fputs(cf_buf_text(&table), stdout);
out:
    cf_buf_fini(&table);
    cf_scheme_fini(&s);
    return err;
}

static cf_err run_report(int argc, char **argv)
{
    report_options o = {.n_resamples = -1};
    bool help = false;
    const cf_option options[] = {
        {"scheme", 0, CF_OPTION_TEXT, &o.scheme, 0, 0, "S",
         "class scheme: a name or a file (default: scheme.yaml of the run)"},
        {"against", 0, CF_OPTION_TEXT, &o.against, 0, 0, "B",
         "compare with B: a run folder or a predictions file"},
        {"bootstrap", 0, CF_OPTION_INT, &o.n_resamples, 0, CF_BOOTSTRAP_MAX, "N",
         "resamples for intervals (default: 1000; 0: none)"},
        {"json", 0, CF_OPTION_FLAG, &o.json, 0, 0, NULL,
         "print metrics.json (with --against compare.json, of a sweep sweep.json), not tables"},
    };
    cf_strings operands = {0};
    cf_err err = cf_options_parse(&cf_verb_report, options, sizeof options / sizeof options[0],
                                  argc, argv, 1, 1, &operands, &help);
    if (err == CF_OK && !help) err = report(operands.items[0], &o);
    cf_strings_fini(&operands);
    return err;
}
