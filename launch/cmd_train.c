/* train: reads and checks the configuration, starts mpirun when no launcher did, and gives each
 * rank its role. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/coordinator.h"
#include "coordinator/sweep_folder.h"
#include "coordinator/sweep_report.h"
#include "kernels/backend.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/job.h"
#include "launch/child.h"
#include "launch/mpirun.h"
#include "launch/report_images.h"
#include "launch/signals.h"
#include "launch/sweep_train.h"
#include "launch/train_job.h"
#include "launch/verbs.h"
#include "proto/control.h"
#include "worker/engine.h"
#include "worker/worker.h"

#define ABORT_GRACE_NS (5LL * 1000000000)

enum { TEXT_MAX = 2048 }; /* of an error, at most */

typedef struct train_options {
    cf_train_wishes wishes;
    cf_strings operands;
    bool help;
} train_options;

/* ---- options ----------------------------------------------------------------------------------
 */

static cf_err parse(int argc, char **argv, train_options *o)
{
    cf_train_wishes *w = &o->wishes;
    const cf_option options[] = {
        {"run", 0, CF_OPTION_TEXT, &w->run_dir, 0, 0, "DIR",
         "run folder; the same command again resumes"},
        {"set", 0, CF_OPTION_MANY, &w->sets, 0, 0, "KEY=VALUE",
         "override a key of the configuration; paths are relative to the current folder"},
        {"fold", 0, CF_OPTION_INT, &w->only_fold, 0, CF_MAX_FOLDS - 1, "K",
         "this fold alone (job arrays)"},
        {"point", 0, CF_OPTION_INT, &w->only_point, 0, CF_SWEEP_MAX_POINTS - 1, "N",
         "this point of a sweep alone, in DIR/point-N (job arrays)"},
        {"workers", 0, CF_OPTION_INT, &w->workers, 1, 65536, "N",
         "workers when mpirun is started here; default: run.workers, or one for two cores"},
    };
    CF_TRY(cf_options_parse(&cf_verb_train, options, sizeof options / sizeof options[0], argc, argv,
                            1, 1, &o->operands, &o->help));
    if (o->help) return CF_OK;
    if (w->run_dir == NULL || *w->run_dir == '\0') /* an unset variable of a script */
        return cf_fail(CF_E_USAGE, "train: --run DIR is missing");
    w->config_path = o->operands.items[0];
    return CF_OK;
}

/* ---- roles ------------------------------------------------------------------------------------
 */

static int default_workers(const cf_train_wishes *w, const cf_config *c)
{
    if (w->workers > 0) return (int)w->workers;
    if (c->run_workers > 0) return (int)c->run_workers;
    const cf_backend_ops *ops = NULL;
    if (cf_backend_find(cf_engine_device_name(c), &ops) == CF_OK && ops->on_device)
        return cf_backend_device_count(ops);
    /* The cores this process may use, which a batch system may have cut. */
    cpu_set_t set;
    int64_t cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return cores > c->run_threads ? (int)(cores / c->run_threads) : 1;
}

/* Said here, before any rank is started; under a launcher each worker finds out for its own host.
 */
static cf_err check_device(const cf_config *c)
{
    const cf_backend_ops *ops = NULL;
    return cf_backend_find(cf_engine_device_name(c), &ops);
}

/* Beside a worker where the configuration says so, where there is one worker, or (auto) where every
 * worker of this host has a GPU: sites hand out one rank for each. n_workers: on this host. */
static bool coordinator_is_thread(int n_workers, const cf_config *c)
{
    const cf_backend_ops *ops = NULL;
    if (c->run_coordinator != CF_COORDINATOR_AUTO)
        return c->run_coordinator == CF_COORDINATOR_THREAD;
    if (cf_backend_find(cf_engine_device_name(c), &ops) != CF_OK || !ops->on_device) return false;
    int n_devices = cf_backend_device_count(ops);
    /* With GPUs bound to tasks each rank sees its own alone. */
    const char *bound = getenv("SLURM_GPUS_PER_TASK");
    if (bound != NULL && *bound != '\0') return n_devices > 0;
    return n_workers <= n_devices;
}

static cf_err run_worker(const cf_job *job, MPI_Comm workers)
{
    MPI_Comm local = MPI_COMM_NULL;
    cf_worker_job w = {.control = job->control,
                       .workers = workers,
                       .coordinator_rank = 0,
                       .signal_caught = cf_signals_caught};
    CF_TRY(
        cf_mpi_check(MPI_Comm_split_type(workers, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
                     "MPI_Comm_split_type"));
    MPI_Comm_size(local, &w.local_workers);
    MPI_Comm_rank(local, &w.local_index);
    MPI_Comm_free(&local);
    bool more = false; /* one job alone */
    cf_err err = cf_worker_run(&w, &more);
    if (err == CF_E_REQUEUE) return err;
    /* The coordinator has the message and ends the job, and the process if it is a thread of ours;
     * should it be gone, or the message never have left, we do. */
    if (err != CF_OK) {
        cf_sleep_ns(ABORT_GRACE_NS);
        cf_log_error("%s", cf_err_text());
        cf_job_abort(err);
    }
    return err;
}

/* A point that is trained alone has ended. What went wrong is for the sweep's report, and for the
 * turn that a job of all points gives it; the last point writes that report. */
static cf_err end_point(const cf_train_wishes *w, const char *sweep_dir, cf_err err)
{
    int point = (int)w->only_point;
    bool failed = err != CF_OK && err != CF_E_REQUEUE && err != CF_E_BUSY && err != CF_E_USAGE;
    if (failed) {
        char text[TEXT_MAX];
        snprintf(text, sizeof text, "%s", cf_err_text());
        cf_sweep_folder_note_error(sweep_dir, point, text);
        return cf_fail(err, "%s", text);
    }
    if (err != CF_OK) return err;
    if (w->only_fold < 0 || cf_sweep_folder_has_figures(sweep_dir, point))
        cf_sweep_folder_forget_error(sweep_dir, point);
    return cf_sweep_report_if_whole(sweep_dir);
}

/* The coordinator's thread or rank: prepares, runs, prints. OK or REQUEUE; ends the whole job on an
 * error, since the workers cannot be told when they wait for a plan or for each other. */
static cf_err run_coordinator(const cf_train_wishes *wishes, const cf_job *job, bool thread)
{
    cf_train_job *t = NULL;
    char sweep_dir[PATH_MAX];
    bool point = wishes->only_point >= 0;
    cf_buf table = {0};
    cf_err err = cf_new(&t, 1, sizeof *t);
    if (err == CF_OK) err = cf_train_prepare(wishes, t);
    if (err == CF_OK && point) err = cf_train_open_sweep(wishes, sweep_dir);
    if (err == CF_OK) {
        cf_report_images images;
        cf_report_source source;
        cf_report_images_init(&images, &source);
        cf_coordinator_job c = {
            .control = job->control,
            .first_worker = thread ? 0 : 1,
            .n_workers = thread ? job->size : job->size - 1,
            .config = &t->config,
            .run_dir = t->run_dir,
            .sweep_dir = point ? sweep_dir : NULL,
            .only_fold = (int)wishes->only_fold,
            .cost = t->cost,
            .checkpoint_bytes = t->checkpoint_bytes,
            .signal_caught = cf_signals_caught,
            .report_source = &source,
            .terminal = isatty(STDERR_FILENO) != 0 || getenv("CYTOFOLD_TERMINAL") != NULL,
        };
        err = cf_coordinator_run(&c, &table);
        cf_report_images_fini(&images);
        if (point) err = end_point(wishes, sweep_dir, err);
    }
    if (err != CF_OK && err != CF_E_REQUEUE) {
        cf_log_error("%s", cf_err_text());
        if (job->size > 1) cf_job_abort(err);
        _exit((int)err);
    }
    if (err == CF_E_REQUEUE) cf_log_info("%s", cf_err_text());
    fputs(cf_buf_text(&table), stdout);
    fflush(stdout);
    cf_buf_fini(&table);
    free(t);
    return err;
}

typedef struct thread_argument {
    const cf_train_wishes *wishes;
    const cf_job *job;
    cf_err err; /* of the coordinator */
} thread_argument;

static void *coordinator_thread(void *argument)
{
    thread_argument *a = argument;
    a->err = run_coordinator(a->wishes, a->job, true);
    return NULL;
}

static cf_err run_beside_worker(const cf_train_wishes *wishes, const cf_job *job, MPI_Comm workers)
{
    pthread_t thread;
    thread_argument argument = {wishes, job, CF_OK};
    sigset_t all, before;
    if (job->rank != 0) return run_worker(job, workers);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&thread, NULL, coordinator_thread, &argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number != 0) return cf_fail(CF_E_UNEXPECTED, "cannot start the coordinator's thread");
    /* On an error of the worker the coordinator hears of it, reports, and ends the process. */
    cf_err err = run_worker(job, workers);
    if (err != CF_OK && err != CF_E_REQUEUE) return err; /* it had its time to do so */
    pthread_join(thread, NULL);
    return err == CF_OK ? argument.err : err;
}

/* What every rank needs before there is a plan: the coordinator's place, and the signals, which are
 * caught at once. A faulty file is reported by the coordinator alone. */
static void look_into_config(const cf_train_wishes *w, cf_config *config)
{
    cf_save_on wishes;
    cf_config_defaults(config);
    if (cf_config_read(w->config_path, config) == CF_OK)
        for (size_t i = 0; i < w->sets.n; i++)
            if (cf_config_set(config, w->sets.items[i]) != CF_OK) break;
    if (cf_save_on_parse(config->run_save_on, &wishes) != CF_OK) return;
    if (getenv(CF_CHILD_MARK) != NULL) cf_save_on_add(&wishes, SIGUSR1);
    cf_signals_catch_wishes(&wishes);
}

/* Whether all points of a sweep are to be trained; a faulty file is reported by rank 0. */
static bool is_sweep(const cf_train_wishes *w)
{
    cf_sweep sweep;
    bool sound = cf_sweep_read(w->config_path, &w->sets, &sweep) == CF_OK;
    bool points = sweep.n_points > 0;
    cf_sweep_fini(&sweep);
    return sound && points && w->only_point < 0;
}

static cf_err run_ranks(const cf_train_wishes *wishes)
{
    cf_job job;
    MPI_Comm workers = MPI_COMM_NULL;
    cf_config *config = NULL;
    CF_TRY(cf_new(&config, 1, sizeof *config));
    look_into_config(wishes, config);
    CF_TRY(cf_job_init(&job));
    CF_TRY(cf_launcher_check(job.size));
    int word[2] = {job.size == 1 || coordinator_is_thread(job.local_size, config),
                   is_sweep(wishes)};
    const char *device = cf_engine_device_name(config);
    free(config);
    /* Hosts may have unlike numbers of GPUs: rank 0's view counts. */
    CF_TRY(cf_mpi_check(MPI_Bcast(word, 2, MPI_INT, 0, job.data), "MPI_Bcast"));
    bool thread = word[0] != 0, sweep = word[1] != 0;
    cf_log_setup(getenv("CYTOFOLD_VERBOSE") != NULL ? CF_LOG_VERBOSE : CF_LOG_NORMAL,
                 thread || job.rank > 0 ? job.rank : -1);
    bool worker = thread || job.rank > 0;
    CF_TRY(cf_mpi_check(MPI_Comm_split(job.data, worker ? 0 : 1, job.rank, &workers),
                        "MPI_Comm_split"));
    const cf_sweep_train_job whole = {
        .wishes = wishes, .job = &job, .beside = thread, .device = device, .workers = workers};
    cf_err err = CF_OK;
    if (sweep)
        err = cf_sweep_train(&whole);
    else if (thread)
        err = run_beside_worker(wishes, &job, workers);
    else if (worker)
        err = run_worker(&job, workers);
    else
        err = run_coordinator(wishes, &job, false);
    if (err != CF_OK && err != CF_E_REQUEUE) return err;
    MPI_Comm_free(&workers);
    CF_TRY(cf_job_fini(&job));
    return err;
}

/* The ranks say what there is to say; we pass their code on. */
static cf_err launch(int n_ranks, int argc, char **argv, const cf_save_on *wishes)
{
    int code = 0;
    CF_TRY(cf_mpirun_run(n_ranks, argc, argv, wishes, &code));
    if (code != CF_OK) exit(code);
    return CF_OK;
}

/* All that can be found wrong before a rank is started; *config is what ranks are counted by. */
static cf_err check_all(const cf_train_wishes *w, cf_config *config)
{
    cf_train_sweep sweep;
    cf_train_job *job = NULL;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_train_sweep_prepare(w, &sweep), out);
    if (sweep.sweep.n_points > 0) {
        *config = sweep.jobs[0].config;
    } else {
        CF_TRY_GOTO(cf_new(&job, 1, sizeof *job), out);
        CF_TRY_GOTO(cf_train_prepare(w, job), out);
        *config = job->config;
    }
    err = check_device(config);
out:
    free(job);
    cf_train_sweep_fini(&sweep);
    return err;
}

/* Without a launcher: as many ranks as there are workers, and a coordinator. */
static cf_err start(const cf_train_wishes *w, int argc, char **argv)
{
    cf_config *config = NULL;
    cf_save_on wishes = {0};
    CF_TRY(cf_new(&config, 1, sizeof *config));
    cf_err err = check_all(w, config);
    if (err == CF_OK) err = cf_save_on_parse(config->run_save_on, &wishes);
    int workers = err == CF_OK ? default_workers(w, config) : 0;
    bool thread = err == CF_OK && coordinator_is_thread(workers, config);
    free(config);
    CF_TRY(err);
    if (thread && workers == 1) return run_ranks(w);
    return launch(workers + (thread ? 0 : 1), argc, argv, &wishes);
}

static cf_err train(int argc, char **argv)
{
    train_options o = {.wishes = {.only_fold = -1, .only_point = -1}};
    cf_err err = parse(argc, argv, &o);
    if (err != CF_OK || o.help) goto out;
    CF_TRY_GOTO(cf_launcher_check(0), out);
    err = cf_launcher_present() ? run_ranks(&o.wishes) : start(&o.wishes, argc, argv);
out:
    cf_strings_fini(&o.wishes.sets);
    cf_strings_fini(&o.operands);
    return err;
}

const cf_verb cf_verb_train = {
    .name = "train",
    .summary = "the main job: train and test all folds, average, report",
    .usage = "CONFIG --run DIR [--set KEY=VALUE]... [--fold K] [--point N]",
    .details =
        "Without an MPI launcher train starts mpirun itself: a coordinator and --workers workers.\n"
        "Under mpirun, srun or a job array it takes the ranks it is given. The same command again\n"
        "resumes at the last checkpoint; the result is the same bits. A configuration with a\n"
        "section sweep is trained at all its points, each a run folder DIR/point-NNN.",
    .run = train,
};
