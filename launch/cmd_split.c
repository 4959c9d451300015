/* cytofold split: folds as a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/folds.h"
#include "coordinator/folds_make.h"
#include "kernels/base/buf.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/verbs.h"

enum { DEFAULT_FOLDS = 5 };

typedef struct split_job {
    const char *path, *output;
    cf_split split;
    bool json;
    cf_cells cells;
    int n_folds;
    int n_columns;    /* the folds, then images that are only trained on where there are any */
    uint8_t *fold_of; /* owned, [cells.n] */
    int64_t *counts;  /* owned, [n_classes + 1][n_columns]; the last row is the total */
} split_job;

static void count_images(split_job *job)
{
    const cf_cells *cells = &job->cells;
    int total = cells->scheme.n_classes;
    for (int64_t i = 0; i < cells->n; i++) {
        int column = job->fold_of[i] == CF_FOLD_TRAIN ? job->n_folds : job->fold_of[i];
        job->counts[cells->labels[i] * job->n_columns + column]++;
        job->counts[total * job->n_columns + column]++;
    }
}

/* Folds that are sites bear their names. */
static const char *column_name(const split_job *job, int column, char text[32])
{
    snprintf(text, 32, "fold %d", column);
    if (column == job->n_folds) return "train";
    if (job->split.kind == CF_SPLIT_HOLDOUT) return "test";
    if (job->split.kind != CF_SPLIT_LEAVE_SITE_OUT) return text;
    for (int64_t i = 0; i < job->cells.n; i++)
        if (job->fold_of[i] == column) return job->cells.site_names.items[job->cells.sites[i]];
    return text;
}

static void print_text(const split_job *job)
{
    const cf_scheme *s = &job->cells.scheme;
    char text[32];
    printf("%-8s", "class");
    for (int f = 0; f < job->n_columns; f++) printf(" %7s", column_name(job, f, text));
    printf("   total\n");
    for (int c = 0; c <= s->n_classes; c++) {
        const int64_t *counts = job->counts + (int64_t)c * job->n_columns;
        int64_t total = 0;
        for (int f = 0; f < job->n_columns; f++) total += counts[f];
        if (total == 0) continue;
        printf("%-8s", c == s->n_classes ? "total" : s->classes[c].code);
        for (int f = 0; f < job->n_columns; f++) {
            int width = (int)strlen(column_name(job, f, text));
            printf(" %*lld", width > 7 ? width : 7, (long long)counts[f]);
        }
        printf(" %7lld\n", (long long)total);
    }
    printf("%s: %lld images in %d fold%s\n", job->output, (long long)job->cells.n, job->n_folds,
           job->n_columns > job->n_folds ? " to test, the rest to train on" : "s");
}

static cf_err print_json(const split_job *job)
{
    const cf_scheme *s = &job->cells.scheme;
    cf_buf out = {0};
    cf_json j;
    char text[32];
    cf_json_begin(&j, &out, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "file", job->output);
    cf_json_integer(&j, "images", job->cells.n);
    cf_json_integer(&j, "folds", job->n_folds);
    cf_json_integer(&j, "seed", (int64_t)job->split.seed);
    cf_json_array(&j, "columns");
    for (int f = 0; f < job->n_columns; f++) cf_json_string(&j, NULL, column_name(job, f, text));
    cf_json_end_array(&j);
    cf_json_object(&j, "classes");
    for (int c = 0; c < s->n_classes; c++) {
        cf_json_array(&j, s->classes[c].code);
        for (int f = 0; f < job->n_columns; f++)
            cf_json_integer(&j, NULL, job->counts[(int64_t)c * job->n_columns + f]);
        cf_json_end_array(&j);
    }
    cf_json_end_object(&j);
    cf_json_end_object(&j);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) puts(cf_buf_text(&out));
    cf_buf_fini(&out);
    return err;
}

static cf_err split(split_job *job)
{
    cf_cells *cells = &job->cells;
    cf_err err;
    CF_TRY(cf_cells_open(job->path, cells));
    CF_TRY_GOTO(cf_new(&job->fold_of, (size_t)cells->n, 1), out);
    CF_TRY_GOTO(
        cf_where(cf_folds_make(cells, &job->split, &job->n_folds, job->fold_of), "%s", job->path),
        out);
    job->n_columns = job->n_folds + (job->split.kind == CF_SPLIT_HOLDOUT);
    CF_TRY_GOTO(cf_new(&job->counts, ((size_t)cells->scheme.n_classes + 1) * (size_t)job->n_columns,
                       sizeof *job->counts),
                out);
    CF_TRY_GOTO(cf_folds_write(job->output, cells, job->fold_of), out);
    count_images(job);
    if (job->json)
        err = print_json(job);
    else
        print_text(job);
out:
    free(job->counts);
    free(job->fold_of);
    cf_cells_close(cells);
    return err;
}

/* ---- options ----------------------------------------------------------------------------------
 */

typedef struct split_options {
    const char *output, *group, *leave_out, *missing;
    int64_t n_folds, seed;
    double test_share;
    bool json;
} split_options;

/* The place of `given` among the words, or CF_E_USAGE naming them. NULL: the first. */
static cf_err find_word(const char *option, const char *given, const char *const *words, int *place)
{
    *place = 0;
    if (!given) return CF_OK;
    for (; words[*place]; (*place)++)
        if (strcmp(words[*place], given) == 0) return CF_OK;
    cf_buf list = {0};
    for (int i = 0; words[i]; i++) cf_buf_printf(&list, "%s%s", i > 0 ? " or " : "", words[i]);
    cf_err err =
        cf_fail(CF_E_USAGE, "split: %s %s, expected %s", option, given, cf_buf_text(&list));
    cf_buf_fini(&list);
    return err;
}

static cf_err read_options(const split_options *o, split_job *job)
{
    static const char *const groups[] = {"none", "patient", "site", NULL};
    static const char *const missing[] = {"refuse", "own", NULL};
    static const char *const left_out[] = {"site", NULL};
    int group, what, rule;
    if (!o->output) return cf_fail(CF_E_USAGE, "split needs -o FILE");
    CF_TRY(find_word("--group", o->group, groups, &group));
    CF_TRY(find_word("--missing-patient", o->missing, missing, &rule));
    CF_TRY(find_word("--leave-out", o->leave_out, left_out, &what));
    if (o->test_share > 0 && (o->n_folds > 0 || o->leave_out))
        return cf_fail(CF_E_USAGE, "split: --test-share makes one test set; expected no %s with it",
                       o->leave_out ? "--leave-out" : "--folds");
    if (o->leave_out && o->n_folds > 0)
        cf_log_warn("--folds %lld is not used: --leave-out site makes a fold for each site",
                    (long long)o->n_folds);
    job->output = o->output;
    job->json = o->json;
    job->split = (cf_split){.kind = o->leave_out        ? CF_SPLIT_LEAVE_SITE_OUT
                                    : o->test_share > 0 ? CF_SPLIT_HOLDOUT
                                                        : CF_SPLIT_FOLDS,
                            .group = (cf_group_by)group,
                            .missing = (cf_missing_patient)rule,
                            .n_folds = o->n_folds > 0 ? (int)o->n_folds : DEFAULT_FOLDS,
                            .test_share = o->test_share,
                            .seed = (uint64_t)o->seed};
    return CF_OK;
}

static cf_err run(int argc, char **argv)
{
    split_options o = {.seed = 1};
    split_job job = {0};
    bool help = false;
    const cf_option options[] = {
        {"folds", 0, CF_OPTION_INT, &o.n_folds, 2, 100, "N", "number of folds (default: 5)"},
        {"seed", 0, CF_OPTION_INT, &o.seed, 0, 4294967295.0, "N", "seed of the split (default: 1)"},
        {"group", 0, CF_OPTION_TEXT, &o.group, 0, 0, "patient|site",
         "images of one are never in two folds (default: none)"},
        {"missing-patient", 0, CF_OPTION_TEXT, &o.missing, 0, 0, "refuse|own",
         "with --group patient, images without one: refused (default), or each by itself"},
        {"leave-out", 0, CF_OPTION_TEXT, &o.leave_out, 0, 0, "site",
         "a fold for each site: trained on the others"},
        {"test-share", 0, CF_OPTION_NUM, &o.test_share, 0.01, 0.99, "S",
         "one test set of this share (fold 0), all else to train on: 0.2, 0.3"},
        {"output", 'o', CF_OPTION_TEXT, &o.output, 0, 0, "FILE", "CSV to write"},
        {"json", 0, CF_OPTION_FLAG, &o.json, 0, 0, NULL, "print the counts as JSON"},
    };
    cf_strings operands = {0};
    cf_err err = cf_options_parse(&cf_verb_split, options, sizeof options / sizeof options[0], argc,
                                  argv, 1, 1, &operands, &help);
    if (err == CF_OK && !help) err = read_options(&o, &job);
    if (err == CF_OK && !help) {
        job.path = operands.items[0];
        err = split(&job);
    }
    cf_strings_fini(&operands);
    return err;
}

const cf_verb cf_verb_split = {
    "split", "divide a cells file into folds", "X.cells -o folds.csv [options]",
    "By image, each class is dealt out evenly: in every class, and in all, folds differ by at most "
    "one\nimage. With --group every class is spread as evenly as whole patients (or sites) allow. "
    "A split that\ncannot be made is refused with the reason: a class with fewer images, patients "
    "or sites than folds.\n"
    "The file has one row id,fold an image, where a fold is a number or the word train, and can be "
    "given\nto train as data.folds_file. The keys data.split, data.group, data.test_share and "
    "data.missing_patient\nmake train split in the same way by itself.",
    run};
