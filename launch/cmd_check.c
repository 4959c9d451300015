/* cytofold check: what is wrong with a data set before it is trained on. */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/folds.h"
#include "kernels/base/mem.h"
#include "launch/check_report.h"
#include "launch/progress.h"
#include "launch/verbs.h"

typedef struct check_job {
    const char *path, *folds, *folder;
    double similarity;
    int64_t threads, few, show;
    bool json, strict;
    cf_progress progress;
    const char *stage; /* what the progress counts now */
    int64_t done;
} check_job;

/* A new stage, or a new count within one, starts a new line. */
static bool on_progress(void *context, const char *what, int64_t done, int64_t total)
{
    check_job *job = context;
    if (what != job->stage || done < job->done) {
        if (job->stage) cf_progress_end(&job->progress);
        cf_progress_begin(&job->progress, what);
        job->stage = what;
    }
    job->done = done;
    cf_progress_update(&job->progress, done, total);
    return true;
}

static cf_err print(const check_job *job, const cf_check_options *options,
                    const cf_check_result *result, double seconds)
{
    cf_check_report report = {.path = job->path,
                              .folder = job->folder,
                              .options = options,
                              .result = result,
                              .few = job->few,
                              .show = job->show,
                              .seconds = seconds};
    cf_buf out = {0};
    cf_err err = CF_OK;
    if (job->json)
        cf_check_report_json(&report, &out);
    else
        err = cf_check_report_text(&report, &out);
    if (err == CF_OK) err = cf_buf_check(&out);
    if (err == CF_OK) fputs(cf_buf_text(&out), stdout);
    cf_buf_fini(&out);
    return err;
}

/* A damaged file cannot be trained on; other findings are for people to judge. */
static cf_err judge(const check_job *job, const cf_check_result *r)
{
    if (r->n_damaged > 0)
        return cf_fail(CF_E_DATA, "%s: the pixels of %lld images are damaged", job->path,
                       (long long)r->n_damaged);
    if (job->strict && cf_check_findings(r) > 0)
        return cf_fail(CF_E_DATA, "%s: %lld duplicates and %lld odd images (--strict)", job->path,
                       (long long)r->n_duplicates, (long long)r->n_odd);
    return CF_OK;
}

static cf_err check(check_job *job, const cf_cells *cells)
{
    cf_check_options options = {.cells = cells,
                                .similarity = (float)job->similarity,
                                .threads = (int)job->threads,
                                .progress = on_progress,
                                .context = job};
    cf_check_result result = {0};
    uint8_t *fold_of = NULL;
    int n_folds;
    cf_err err = CF_OK;
    cf_progress whole;
    if (job->folds) {
        CF_TRY(cf_new(&fold_of, (size_t)cells->n, 1));
        CF_TRY_GOTO(cf_folds_read(job->folds, cells, &n_folds, fold_of), out);
        options.fold_of = fold_of;
    }
    /* before the search, which may take long, and printed before it is written: a folder that
     * cannot be made, or a disk that is full, must not cost the findings */
    if (job->folder) CF_TRY_GOTO(cf_dir_make(job->folder), out);
    cf_progress_begin(&whole, "checked");
    err = cf_check(&options, &result);
    if (job->stage) cf_progress_end(&job->progress);
    if (err != CF_OK) goto out;
    CF_TRY_GOTO(print(job, &options, &result, cf_progress_end(&whole)), out);
    if (job->folder) CF_TRY_GOTO(cf_check_write(&options, &result, job->folder), out);
    err = judge(job, &result);
out:
    cf_check_result_fini(&result);
    free(fold_of);
    return err;
}

static cf_err open_and_check(check_job *job)
{
    cf_cells cells;
    if (cf_path_is_dir(job->path))
        return cf_fail(CF_E_USAGE,
                       "%s is a folder; check reads cells files. First: cytofold pack %s --scheme "
                       "S -o X.cells",
                       job->path, job->path);
    CF_TRY(cf_cells_open_any(job->path, &cells));
    cf_err err = check(job, &cells);
    cf_cells_close(&cells);
    return err;
}

static cf_err run(int argc, char **argv)
{
    check_job job = {.similarity = CF_NEAR_SIMILARITY, .few = 50, .show = 5};
    bool help = false;
    const cf_option options[] = {
        {"folds", 0, CF_OPTION_TEXT, &job.folds, 0, 0, "FILE",
         "folds.csv of split or of a run: also looks for leaks between folds"},
        {"output", 'o', CF_OPTION_TEXT, &job.folder, 0, 0, "DIR",
         "folder for tables (CSV) and contact sheets (PNG)"},
        {"similarity", 0, CF_OPTION_NUM, &job.similarity, 0.3, 1, "S",
         "correlation of details from which pictures are near duplicates (default: 0.9)"},
        {"few", 0, CF_OPTION_INT, &job.few, 0, 1e9, "N",
         "name classes with fewer images (default: 50)"},
        {"show", 0, CF_OPTION_INT, &job.show, 0, 1e6, "N",
         "examples of each finding in the text (default: 5)"},
        {"threads", 0, CF_OPTION_INT, &job.threads, 0, 256, "N",
         "threads; 0: one a core (default: 0). The result is the same"},
        {"strict", 0, CF_OPTION_FLAG, &job.strict, 0, 0, NULL,
         "exit code 3 when there are duplicates or odd images"},
        {"json", 0, CF_OPTION_FLAG, &job.json, 0, 0, NULL, "print the result as JSON"},
    };
    cf_strings operands = {0};
    cf_err err = cf_options_parse(&cf_verb_check, options, sizeof options / sizeof options[0], argc,
                                  argv, 1, 1, &operands, &help);
    if (err == CF_OK && !help) {
        job.path = operands.items[0];
        err = open_and_check(&job);
    }
    cf_strings_fini(&operands);
    return err;
}

const cf_verb cf_verb_check = {
    "check", "find duplicates, leaks, odd and damaged images", "X.cells [options]",
    "Exact duplicates are equal in every pixel. Near ones are found by descriptors that shifts, "
    "turns and\nbrightness hardly change, then aligned and compared in their details, so that two "
    "cells that look alike\nare not taken for one. Odd images: one colour, nearly black or white, "
    "faint, without colour, bars at\nthe border, blurred or of other colours than the rest of "
    "their site.\n"
    "Findings are a result: the exit code is 0, and 3 for a file whose pixels are damaged or, with "
    "--strict,\nfor any finding.",
    run};
