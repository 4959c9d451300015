/* cytofold submit: writes the job script of a training for Slurm, shows it, and hands it to sbatch
 * where it is told to. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/sbatch.h"
#include "launch/setup.h"
#include "launch/submit.h"
#include "launch/train_job.h"
#include "launch/verbs.h"

/* Words of run.device. */
enum { DEVICE_CPU = 1, DEVICE_CUDA = 2 };

static cf_err run_submit(int argc, char **argv);

const cf_verb cf_verb_submit = {
    .name = "submit",
    .summary = "the training as a job of Slurm: writes the script, submits it with --yes",
    .usage = "CONFIG --run DIR --time T [--nodes N] [--gpus-per-node M] [--array] [--set "
             "KEY=VALUE]... [--yes]",
    .details =
        "The script is one of share/cytofold/slurm, filled in; it is written to DIR/slurm, where "
        "the job's\nlog goes too. The job saves before its wall time is over, goes back into the "
        "queue and goes on.\nWithout --gpus-per-node it takes whole nodes and trains on their "
        "cores.",
    .run = run_submit,
};

typedef struct submit_options {
    const char *config_path, *run_dir;
    cf_strings operands, sets, options;
    cf_submit_job job;
    bool array, yes, json, help;
    bool sweep; /* its points were looked at, each by its own rules */
} submit_options;

/* What was written, and what became of it. */
typedef struct submitted {
    char run[PATH_MAX], config[PATH_MAX], program[PATH_MAX], folder[PATH_MAX];
    char script[CF_PATH_MAX], report[CF_PATH_MAX]; /* report: "" without an array */
    cf_sbatch_answer answer, report_answer;
} submitted;

static cf_err parse(int argc, char **argv, submit_options *o)
{
    const cf_option options[] = {
        {"run", 0, CF_OPTION_TEXT, &o->run_dir, 0, 0, "DIR",
         "run folder, where all nodes see it; the script and the log go to DIR/slurm"},
        {"set", 0, CF_OPTION_MANY, &o->sets, 0, 0, "KEY=VALUE",
         "override a key of the configuration; paths are relative to the current folder"},
        {"time", 0, CF_OPTION_TEXT, &o->job.time, 0, 0, "T",
         "wall time of one start: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S"},
        {"nodes", 0, CF_OPTION_INT, &o->job.nodes, 1, 65536, "N", "nodes (default 1)"},
        {"gpus-per-node", 0, CF_OPTION_INT, &o->job.gpus, 0, 1024, "M",
         "GPUs of a node, one task for each (default 0: train on cores)"},
        {"tasks-per-node", 0, CF_OPTION_INT, &o->job.tasks, 1, 65536, "K",
         "tasks of a node (default: one a GPU; on cores as many as fit on a whole node, with "
         "--array one)"},
        {"cpus-per-task", 0, CF_OPTION_INT, &o->job.cpus, 1, 65536, "C",
         "cores of a task (default: run.threads; with GPUs run.loader_threads and two)"},
        {"array", 0, CF_OPTION_FLAG, &o->array, 0, 0, NULL,
         "a job array, one task for each fold, or for each point of a sweep, and a job for the "
         "table after it"},
        {"partition", 0, CF_OPTION_TEXT, &o->job.partition, 0, 0, "P", "partition of the cluster"},
        {"account", 0, CF_OPTION_TEXT, &o->job.account, 0, 0, "A", "account that is charged"},
        {"sbatch", 0, CF_OPTION_MANY, &o->options, 0, 0, "OPTION",
         "any other option of sbatch, such as --mem=64G; may be given again and again"},
        {"stage", 0, CF_OPTION_TEXT, &o->job.stage, 0, 0, "FOLDER",
         "run.stage: where a node keeps its copy of the cells file; \"\": nowhere (default auto)"},
        {"lead", 0, CF_OPTION_INT, &o->job.lead_s, 1, 65535, "S",
         "seconds before the wall time at which the job is told to save (default 180)"},
        {"max-restarts", 0, CF_OPTION_INT, &o->job.max_restarts, 0, 100000, "N",
         "how often the job goes back into the queue by itself (default 50)"},
        {"yes", 0, CF_OPTION_FLAG, &o->yes, 0, 0, NULL, "submit it"},
        {"json", 0, CF_OPTION_FLAG, &o->json, 0, 0, NULL, "print JSON"},
    };
    CF_TRY(cf_options_parse(&cf_verb_submit, options, sizeof options / sizeof options[0], argc,
                            argv, 1, 1, &o->operands, &o->help));
    if (o->help) return CF_OK;
    if (o->run_dir == NULL || *o->run_dir == '\0')
        return cf_fail(CF_E_USAGE, "submit: --run DIR is missing");
    if (o->job.time == NULL)
        return cf_fail(CF_E_USAGE, "submit: --time T is missing: how long a job may run");
    o->config_path = o->operands.items[0];
    return CF_OK;
}

static cf_err check_network(const cf_setup *setup)
{
    cf_graph *graph = NULL;
    cf_err err = cf_setup_network(setup, &graph);
    if (err == CF_OK) err = cf_setup_check_init(setup, graph);
    cf_graph_destroy(graph);
    return err;
}

/* All that can be found wrong before a job waits in a queue for it. */
static cf_err check(const cf_setup *setup, const submit_options *o)
{
    const cf_config *c = &setup->config;
    int64_t seconds = 0;
    CF_TRY(cf_submit_time(o->job.time, &seconds));
    if (seconds <= o->job.lead_s)
        return cf_fail(CF_E_USAGE,
                       "--time %s is %lld s: expected more than the %lld s before its end at which "
                       "the job saves (--lead)",
                       o->job.time, (long long)seconds, (long long)o->job.lead_s);
    if (c->data_cells[0] == '\0')
        return cf_fail(CF_E_USAGE,
                       "%s: data.cells is empty: name the file that `cytofold pack` "
                       "made, there or with --set data.cells=FILE",
                       c->path);
    if (!setup->has_cells)
        return cf_fail(CF_E_DATA, "%s: data.cells: no such file: %s", c->path, c->data_cells);
    if (!o->sweep) CF_TRY(check_network(setup));
    if (c->run_device == DEVICE_CUDA && o->job.gpus == 0)
        return cf_fail(CF_E_USAGE, "%s: run.device is cuda: --gpus-per-node is missing", c->path);
    if (c->run_device == DEVICE_CPU && o->job.gpus > 0)
        return cf_fail(CF_E_USAGE, "%s: run.device is cpu, but --gpus-per-node is %lld", c->path,
                       (long long)o->job.gpus);
    if (o->yes && !cf_sbatch_is_there())
        return cf_fail(CF_E_USAGE,
                       "sbatch is not here: submit from a machine of the cluster, or without --yes "
                       "to write the script only");
    return CF_OK;
}

/* The points of a sweep, where there is one, each by its own rules. */
static cf_err check_points(submit_options *o)
{
    cf_train_wishes w = {.config_path = o->config_path,
                         .run_dir = o->run_dir,
                         .sets = o->sets, /* borrowed here */
                         .only_fold = -1,
                         .only_point = -1};
    cf_train_sweep sweep;
    cf_err err = cf_train_sweep_prepare(&w, &sweep);
    o->sweep = sweep.sweep.n_points > 0;
    cf_train_sweep_fini(&sweep);
    return err;
}

static cf_err make_absolute(const char *folder, const char *given, char path[PATH_MAX])
{
    if (given[0] != '/') return cf_path_join(path, PATH_MAX, folder, given);
    if (strlen(given) >= PATH_MAX) return cf_fail(CF_E_USAGE, "%s: the path is too long", given);
    strcpy(path, given);
    return CF_OK;
}

/* Absolute names: a job starts elsewhere, or later. Links stay: paths in a configuration start at
 * the folder that it was named in. */
static cf_err locate(const submit_options *o, submitted *s)
{
    if (getcwd(s->folder, sizeof s->folder) == NULL)
        return cf_fail_errno(CF_E_UNEXPECTED, "current folder");
    CF_TRY(make_absolute(s->folder, o->config_path, s->config));
    ssize_t n = readlink("/proc/self/exe", s->program, sizeof s->program - 1);
    if (n < 0) return cf_fail_errno(CF_E_UNEXPECTED, "/proc/self/exe");
    s->program[n] = '\0';
    return make_absolute(s->folder, o->run_dir, s->run);
}

/* DIR/slurm/submit-N.sbatch, N the first that is free, and its companion. */
static cf_err name_scripts(const char *run, bool array, submitted *s)
{
    char folder[CF_PATH_MAX], name[64];
    CF_TRY(cf_path_join(folder, sizeof folder, run, "slurm"));
    CF_TRY(cf_dir_make(folder));
    for (int number = 1;; number++) {
        snprintf(name, sizeof name, "submit-%d.sbatch", number);
        CF_TRY(cf_path_join(s->script, sizeof s->script, folder, name));
        int fd = open(s->script, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) close(fd);
        if (fd < 0 && errno != EEXIST) return cf_fail_errno(CF_E_DISK, "%s", s->script);
        if (fd < 0) continue;
        if (!array) return CF_OK;
        snprintf(name, sizeof name, "submit-%d-report.sbatch", number);
        return cf_path_join(s->report, sizeof s->report, folder, name);
    }
}

static cf_err write_scripts(const cf_submit_job *job, submitted *s, cf_buf *script, cf_buf *report)
{
    CF_TRY(cf_submit_script(job, script));
    if (job->array > 0) CF_TRY(cf_submit_report_script(job, report));
    CF_TRY(name_scripts(job->run, job->array > 0, s));
    CF_TRY(cf_file_save(s->script, script->data, script->len));
    if (job->array == 0) return CF_OK;
    return cf_file_save(s->report, report->data, report->len);
}

/* The table waits for every fold, however often one is requeued. */
static cf_err hand_over(submitted *s)
{
    char dependency[96];
    CF_TRY(cf_sbatch(s->script, NULL, &s->answer));
    if (s->report[0] == '\0') return CF_OK;
    snprintf(dependency, sizeof dependency, "--dependency=afterok:%s", s->answer.job);
    return cf_where(cf_sbatch(s->report, dependency, &s->report_answer),
                    "job %s is in the queue, the one for its table is not", s->answer.job);
}

static void print_text(const submit_options *o, const submitted *s, const cf_buf *script,
                       const cf_buf *report)
{
    printf("%s", cf_buf_text(script));
    if (report->len > 0) printf("\n%s", cf_buf_text(report));
    fflush(stdout);
    if (o->yes) {
        printf("\n%s", s->answer.text);
        if (s->report[0] != '\0') printf("%s", s->report_answer.text);
        cf_log_info("the log will be in %s/slurm", s->run);
        return;
    }
    cf_log_info("written to %s; nothing was submitted: --yes does, or sbatch %s", s->script,
                s->script);
}

static cf_err print_json(const submit_options *o, const submitted *s)
{
    cf_buf text = {0};
    cf_json j;
    cf_json_begin(&j, &text, false);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "script", s->script);
    if (s->report[0] != '\0') cf_json_string(&j, "report_script", s->report);
    cf_json_boolean(&j, "submitted", o->yes);
    if (o->yes) cf_json_string(&j, "job", s->answer.job);
    if (o->yes && s->report[0] != '\0') cf_json_string(&j, "report_job", s->report_answer.job);
    cf_json_end_object(&j);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK) printf("%s\n", cf_buf_text(&text));
    cf_buf_fini(&text);
    return err;
}

/* A task for each point of a sweep, each with all its folds; else one for each fold. */
static cf_err count_tasks(submit_options *o, const cf_setup *setup)
{
    cf_sweep sweep;
    cf_err err = cf_sweep_read(o->config_path, &o->sets, &sweep);
    o->job.points = sweep.n_points > 0;
    o->job.array = sweep.n_points;
    cf_sweep_fini(&sweep);
    if (err != CF_OK || o->job.points) return err;
    return cf_setup_folds(setup, &o->job.array);
}

static cf_err submit(submit_options *o, cf_setup *setup, submitted *s)
{
    const cf_config *c = &setup->config;
    cf_submit_job *job = &o->job;
    cf_buf script = {0}, report = {0};
    cf_err err = CF_OK;
    CF_TRY(check(setup, o));
    CF_TRY(locate(o, s));
    job->config = s->config;
    job->run = s->run;
    job->program = s->program;
    job->folder = s->folder;
    job->sets = &o->sets;
    job->options = &o->options;
    if (job->cpus == 0) job->cpus = job->gpus > 0 ? c->run_loader_threads + 2 : c->run_threads;
    if (o->array) CF_TRY(count_tasks(o, setup));
    CF_TRY_GOTO(write_scripts(job, s, &script, &report), out);
    if (o->yes) CF_TRY_GOTO(hand_over(s), out);
    if (o->json)
        err = print_json(o, s);
    else
        print_text(o, s, &script, &report);
out:
    cf_buf_fini(&report);
    cf_buf_fini(&script);
    return err;
}

static cf_err run_submit(int argc, char **argv)
{
    submit_options o = {
        .job = {.nodes = 1, .lead_s = 180, .max_restarts = 50, .stage = "auto"},
    };
    cf_setup *setup = NULL;
    submitted *s = NULL;
    cf_err err = parse(argc, argv, &o);
    if (err != CF_OK || o.help) goto out;
    CF_TRY_GOTO(cf_new(&setup, 1, sizeof *setup), out);
    CF_TRY_GOTO(cf_new(&s, 1, sizeof *s), out);
    err = cf_setup_init(setup, o.config_path, &o.sets, NULL);
    if (err == CF_OK) err = check_points(&o);
    if (err == CF_OK) err = submit(&o, setup, s);
    cf_setup_fini(setup);
out:
    free(s);
    free(setup);
    cf_strings_fini(&o.options);
    cf_strings_fini(&o.sets);
    cf_strings_fini(&o.operands);
    return err;
}
