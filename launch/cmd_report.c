/* cytofold report: the tables of a run, again, from what is on disk. */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/report.h"
#include "coordinator/sweep_folder.h"
#include "coordinator/sweep_report.h"
#include "launch/report_images.h"
#include "launch/verbs.h"

static cf_err run_report(int argc, char **argv);

const cf_verb cf_verb_report = {
    .name = "report",
    .summary = "per-class precision and recall of a run, again from what is on disk",
    .usage = "DIR [--scheme S] [--json]",
    .details =
        "Reads fold-K/predictions.csv of the run folder and writes metrics.json, table.csv,\n"
        "confusion.csv, table.md, fold-K/metrics.json, report.html and plots/ there. Folds that\n"
        "are missing are named. The page's pictures come from the cells file that run.yaml names.",
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
    cf_err err = cf_sweep_report_write(dir, &table);
    if (err == CF_OK && json)
        err = print_file(dir, "sweep.json");
    else if (err == CF_OK)
        fputs(cf_buf_text(&table), stdout);
    cf_buf_fini(&table);
    return err;
}

/* Tables, page and plots, with the pictures of the run's cells file. */
static cf_err write_report(const char *dir, const cf_scheme *s, cf_buf *table)
{
    cf_report_images images;
    cf_report_source source;
    cf_report_images_init(&images, &source);
    cf_err err = cf_report_run(dir, s, &source, table);
    cf_report_images_fini(&images);
    return err;
}

static cf_err report(const char *dir, const char *scheme, bool json)
{
    char path[CF_PATH_MAX];
    cf_scheme s = {0};
    cf_buf table = {0};
    cf_err err = CF_OK;
    if (!cf_path_is_dir(dir)) return cf_fail(CF_E_DATA, "%s: not a run folder", dir);
    if (cf_sweep_folder_is_one(dir)) return report_sweep(dir, json);
    if (scheme == NULL) {
        CF_TRY(cf_path_join(path, sizeof path, dir, "scheme.yaml"));
        if (!cf_path_exists(path))
            return cf_fail(CF_E_DATA, "%s: no scheme.yaml in it; name the scheme with --scheme",
                           dir);
        scheme = path;
    }
    CF_TRY_GOTO(cf_scheme_read(scheme, &s), out);
    CF_TRY_GOTO(write_report(dir, &s, &table), out);
    if (json)
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
    const char *scheme = NULL;
    bool json = false, help = false;
    const cf_option options[] = {
        {"scheme", 0, CF_OPTION_TEXT, &scheme, 0, 0, "S",
         "class scheme: a name or a file (default: scheme.yaml of the run)"},
        {"json", 0, CF_OPTION_FLAG, &json, 0, 0, NULL, "print metrics.json instead of the table"},
    };
    cf_strings operands = {0};
    cf_err err = cf_options_parse(&cf_verb_report, options, sizeof options / sizeof options[0],
                                  argc, argv, 1, 1, &operands, &help);
    if (err == CF_OK && !help) err = report(operands.items[0], scheme, json);
    cf_strings_fini(&operands);
    return err;
}
