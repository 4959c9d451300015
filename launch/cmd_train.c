/* train: reads and checks the configuration, starts mpirun when no launcher did, and gives each
 * rank its role. */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/coordinator.h"
#include "kernels/backend.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/comm/job.h"
#include "launch/child.h"
#include "launch/estimate.h"
#include "launch/mpirun.h"
#include "launch/setup.h"
#include "launch/signals.h"
#include "launch/verbs.h"
#include "proto/control.h"
#include "worker/checkpoint_size.h"
#include "worker/worker.h"

#define ABORT_GRACE_NS (5LL * 1000000000)

typedef struct train_options {
    const char *config_path, *run_dir;
    cf_strings operands, sets;
    int64_t only_fold, workers;
    bool help;
} train_options;

typedef struct train_job {
    cf_config config;
    cf_grid_cost cost;
    int64_t checkpoint_bytes;
    char run_dir[PATH_MAX];
} train_job;

/* ---- options and configuration ----------------------------------------------------------------
 */

static cf_err parse(int argc, char **argv, train_options *o)
{
    const cf_option options[] = {
        {"run", 0, CF_OPTION_TEXT, &o->run_dir, 0, 0, "DIR",
         "run folder; the same command again resumes"},
        {"set", 0, CF_OPTION_MANY, &o->sets, 0, 0, "KEY=VALUE",
         "override a key of the configuration; paths are relative to the current folder"},
        {"fold", 0, CF_OPTION_INT, &o->only_fold, 0, CF_MAX_FOLDS - 1, "K",
         "this fold alone (job arrays)"},
        {"workers", 0, CF_OPTION_INT, &o->workers, 1, 65536, "N",
         "workers when mpirun is started here; default: run.workers, or one for two cores"},
    };
    CF_TRY(cf_options_parse(&cf_verb_train, options, sizeof options / sizeof options[0], argc, argv,
                            1, 1, &o->operands, &o->help));
    if (o->help) return CF_OK;
    if (o->run_dir == NULL || *o->run_dir == '\0') /* an unset variable of a script */
        return cf_fail(CF_E_USAGE, "train: --run DIR is missing");
    o->config_path = o->operands.items[0];
    return CF_OK;
}

/* Absolute and without a trailing slash: workers may stand in another folder. */
static cf_err locate_run(const char *given, char *path, size_t n)
{
    char here[PATH_MAX] = "/";
    if (given[0] != '/' && getcwd(here, sizeof here) == NULL)
        return cf_fail_errno(CF_E_UNEXPECTED, "current folder");
    if (given[0] != '/') return cf_path_join(path, n, here, given);
    if (strlen(given) >= n) return cf_fail(CF_E_USAGE, "%s: the path is too long", given);
    strcpy(path, given);
    return CF_OK;
}

static bool same_scheme(const cf_scheme *a, const cf_scheme *b)
{
    size_t n = (size_t)a->n_classes;
    if (a->n_classes != b->n_classes || a->n_nodes != b->n_nodes ||
        a->n_questions != b->n_questions)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(a->classes[i].code, b->classes[i].code) != 0) return false;
    for (int i = 0; i < a->n_questions; i++)
        if (strcmp(a->questions[i].name, b->questions[i].name) != 0 ||
            memcmp(a->questions[i].positive, b->questions[i].positive, n * sizeof(bool)) != 0)
            return false;
    return memcmp(a->class_of, b->class_of, (size_t)a->n_nodes * sizeof *a->class_of) == 0 &&
           memcmp(a->tolerant, b->tolerant, n * n) == 0;
}

/* A job uses the scheme that the images were packed with; one that the configuration names must
 * agree. */
static cf_err check_scheme(const cf_setup *setup)
{
    const cf_scheme *packed = &setup->cells.scheme;
    if (same_scheme(setup->scheme, packed)) return CF_OK;
    return cf_fail(
        CF_E_USAGE,
        "data.scheme is %s, but %s was packed with scheme %s, of other classes, nodes, pairs "
        "or questions: pack again",
        setup->config.data_scheme, setup->config.data_cells, packed->name);
}

static cf_err check_setup(const cf_setup *setup)
{
    if (setup->config.data_cells[0] == '\0')
        return cf_fail(CF_E_USAGE,
                       "%s: data.cells is empty: name the file that `cytofold pack` made, there or "
                       "with --set data.cells=FILE",
                       setup->config.path);
    if (!setup->has_cells)
        return cf_fail(CF_E_DATA, "%s: data.cells: no such file: %s", setup->config.path,
                       setup->config.data_cells);
    int64_t wanted = setup->config.data_pack_size;
    if (wanted > 0 && wanted != setup->cells.height && !cf_launcher_present())
        cf_log_warn("%s holds images of %d px; %s is made for --size %lld",
                    setup->config.data_cells, setup->cells.height, setup->config.path,
                    (long long)wanted);
    CF_TRY(cf_setup_check_stains(&setup->config, &setup->cells, setup->config.data_cells));
    return check_scheme(setup);
}

/* All that can be found wrong before a rank is started, and the planner's figures. */
static cf_err prepare(const train_options *o, train_job *job)
{
    cf_setup setup;
    cf_graph *graph = NULL;
    int64_t *counts = NULL;
    int n_folds = 0;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_setup_init(&setup, o->config_path, &o->sets, NULL), out);
    CF_TRY_GOTO(check_setup(&setup), out);
    CF_TRY_GOTO(cf_setup_network(&setup, &graph), out);
    CF_TRY_GOTO(cf_new(&counts, (size_t)setup.cells.scheme.n_classes, sizeof *counts), out);
    cf_cells_count(&setup.cells, counts);
    job->config = setup.config;
    job->checkpoint_bytes = cf_checkpoint_bytes(&job->config, graph);
    CF_TRY_GOTO(cf_setup_folds(&setup, &n_folds), out);
    CF_TRY_GOTO(
        cf_estimate(&job->config, &setup.cells.scheme, counts, n_folds, graph, 0, &job->cost), out);
    CF_TRY_GOTO(locate_run(o->run_dir, job->run_dir, sizeof job->run_dir), out);
out:
    free(counts);
    cf_graph_destroy(graph);
    cf_setup_fini(&setup);
    return err;
}

/* ---- roles ------------------------------------------------------------------------------------
 */

static const char *const devices[] = {"auto", "cpu", "cuda"}; /* the words of run.device */

static int default_workers(const train_options *o, const cf_config *c)
{
    if (o->workers > 0) return (int)o->workers;
    if (c->run_workers > 0) return (int)c->run_workers;
    const cf_backend_ops *ops = NULL;
    if (cf_backend_find(devices[c->run_device], &ops) == CF_OK && ops->on_device)
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
    return cf_backend_find(devices[c->run_device], &ops);
}

/* Beside a worker where the configuration says so, where there is one worker, or (auto) where every
 * worker of this host has a GPU: sites hand out one rank for each. n_workers: on this host. */
static bool coordinator_is_thread(int n_workers, const cf_config *c)
{
    const cf_backend_ops *ops = NULL;
    if (c->run_coordinator != CF_COORDINATOR_AUTO)
        return c->run_coordinator == CF_COORDINATOR_THREAD;
    if (cf_backend_find(devices[c->run_device], &ops) != CF_OK || !ops->on_device) return false;
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

/* The coordinator's thread or rank: prepares, runs, prints. OK or REQUEUE; ends the whole job on an
 * error, since the workers cannot be told when they wait for a plan or for each other. */
static cf_err run_coordinator(const train_options *o, const cf_job *job, bool thread)
{
    train_job *t = NULL;
    cf_buf table = {0};
    cf_err err = cf_new(&t, 1, sizeof *t);
    if (err == CF_OK) err = prepare(o, t);
    if (err == CF_OK) {
        cf_coordinator_job c = {
            .control = job->control,
            .first_worker = thread ? 0 : 1,
            .n_workers = thread ? job->size : job->size - 1,
            .config = &t->config,
            .run_dir = t->run_dir,
            .only_fold = (int)o->only_fold,
            .cost = t->cost,
            .checkpoint_bytes = t->checkpoint_bytes,
            .signal_caught = cf_signals_caught,
            .terminal = isatty(STDERR_FILENO) != 0 || getenv("CYTOFOLD_TERMINAL") != NULL,
        };
        err = cf_coordinator_run(&c, &table);
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
    const train_options *options;
    const cf_job *job;
    cf_err err; /* of the coordinator */
} thread_argument;

static void *coordinator_thread(void *argument)
{
    thread_argument *a = argument;
    a->err = run_coordinator(a->options, a->job, true);
    return NULL;
}

static cf_err run_beside_worker(const train_options *o, const cf_job *job, MPI_Comm workers)
{
    pthread_t thread;
    thread_argument argument = {o, job, CF_OK};
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
static void look_into_config(const train_options *o, cf_config *config)
{
    cf_save_on wishes;
    cf_config_defaults(config);
    if (cf_config_read(o->config_path, config) == CF_OK)
        for (size_t i = 0; i < o->sets.n; i++)
            if (cf_config_set(config, o->sets.items[i]) != CF_OK) break;
    if (cf_save_on_parse(config->run_save_on, &wishes) != CF_OK) return;
    if (getenv(CF_CHILD_MARK) != NULL) cf_save_on_add(&wishes, SIGUSR1);
    cf_signals_catch_wishes(&wishes);
}

static cf_err run_ranks(const train_options *o)
{
    cf_job job;
    MPI_Comm workers = MPI_COMM_NULL;
    cf_config *config = NULL;
    CF_TRY(cf_new(&config, 1, sizeof *config));
    look_into_config(o, config);
    CF_TRY(cf_job_init(&job));
    CF_TRY(cf_launcher_check(job.size));
    int thread = job.size == 1 || coordinator_is_thread(job.local_size, config);
    free(config);
    /* Hosts may have unlike numbers of GPUs: rank 0's view counts. */
    CF_TRY(cf_mpi_check(MPI_Bcast(&thread, 1, MPI_INT, 0, job.data), "MPI_Bcast"));
    cf_log_setup(getenv("CYTOFOLD_VERBOSE") != NULL ? CF_LOG_VERBOSE : CF_LOG_NORMAL,
                 thread || job.rank > 0 ? job.rank : -1);
    bool worker = thread || job.rank > 0;
    CF_TRY(cf_mpi_check(MPI_Comm_split(job.data, worker ? 0 : 1, job.rank, &workers),
                        "MPI_Comm_split"));
    cf_err err = CF_OK;
    if (thread)
        err = run_beside_worker(o, &job, workers);
    else if (worker)
        err = run_worker(&job, workers);
    else
        err = run_coordinator(o, &job, false);
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

static cf_err train(int argc, char **argv)
{
    train_options o = {.only_fold = -1};
    cf_err err = parse(argc, argv, &o);
    if (err != CF_OK || o.help) goto out;
    CF_TRY_GOTO(cf_launcher_check(0), out);
    if (cf_launcher_present()) {
        err = run_ranks(&o);
    } else {
        train_job *job = NULL;
        CF_TRY_GOTO(cf_new(&job, 1, sizeof *job), out);
        err = prepare(&o, job);
        if (err == CF_OK) err = check_device(&job->config);
        int workers = err == CF_OK ? default_workers(&o, &job->config) : 0;
        bool thread = err == CF_OK && coordinator_is_thread(workers, &job->config);
        cf_save_on wishes = {0};
        if (err == CF_OK) err = cf_save_on_parse(job->config.run_save_on, &wishes);
        free(job);
        if (err == CF_OK && thread && workers == 1)
            err = run_ranks(&o);
        else if (err == CF_OK)
            err = launch(workers + (thread ? 0 : 1), argc, argv, &wishes);
    }
out:
    cf_strings_fini(&o.sets);
    cf_strings_fini(&o.operands);
    return err;
}

const cf_verb cf_verb_train = {
    .name = "train",
    .summary = "the main job: train and test all folds, average, report",
    .usage = "CONFIG --run DIR [--set KEY=VALUE]... [--fold K]",
    .details =
        "Without an MPI launcher train starts mpirun itself: a coordinator and --workers workers.\n"
        "Under mpirun, srun or a job array it takes the ranks it is given. The same command again\n"
        "resumes at the last checkpoint; the result is the same bits.",
    .run = train,
};
