#include "launch/train_job.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/run_lock.h"
#include "coordinator/space.h"
#include "coordinator/sweep_folder.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "launch/estimate.h"
#include "launch/mpirun.h"
#include "launch/setup.h"
#include "worker/checkpoint_size.h"

/* ---- one run ----------------------------------------------------------------------------------
 */

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
    return check_scheme(setup);
}

static cf_err fill_job(const cf_setup *setup, cf_train_job *job)
{
    cf_graph *graph = NULL;
    int64_t *counts = NULL;
    int n_folds = 0;
    cf_err err = CF_OK;
    job->config = setup->config;
    CF_TRY(cf_setup_check_stains(&job->config, &setup->cells, job->config.data_cells));
    CF_TRY(cf_setup_folds(setup, &n_folds));
    CF_TRY_GOTO(cf_setup_network(setup, &graph), out);
    CF_TRY_GOTO(cf_setup_check_init(setup, graph), out);
    CF_TRY_GOTO(cf_new(&counts, (size_t)setup->cells.scheme.n_classes, sizeof *counts), out);
    cf_cells_count(&setup->cells, counts);
    job->checkpoint_bytes = cf_checkpoint_bytes(&job->config, graph);
    CF_TRY_GOTO(
        cf_estimate(&job->config, &setup->cells.scheme, counts, n_folds, graph, 0, &job->cost),
        out);
out:
    free(counts);
    cf_graph_destroy(graph);
    return err;
}

/* Of one run, or of the first of several: `setup` is for the others, and released in any case. */
static cf_err prepare(const char *config_path, const cf_strings *sets, cf_setup *setup,
                      cf_train_job *job)
{
    CF_TRY(cf_setup_init(setup, config_path, sets, NULL));
    CF_TRY(check_setup(setup));
    return fill_job(setup, job);
}

/* ---- points of a sweep ------------------------------------------------------------------------
 */

/* "point-003 (train.learning_rate 0.1): " before the message. */
static cf_err where_point(cf_err err, const cf_sweep *sweep, int point)
{
    cf_buf text = {0};
    char name[32];
    if (err == CF_OK) return err;
    cf_sweep_name(point, name);
    cf_sweep_describe(sweep, point, &text);
    err = cf_where(err, "%s (%s)", name, cf_buf_text(&text));
    cf_buf_fini(&text);
    return err;
}

/* first: no other point has filled `setup` yet. */
static cf_err prepare_point(const cf_train_wishes *w, const cf_sweep *sweep, const char *dir,
                            int point, bool first, cf_setup *setup, cf_train_job *job)
{
    cf_strings sets = {0};
    cf_err err = cf_sweep_overrides(sweep, point, &w->sets, &sets);
    if (err == CF_OK && first) err = prepare(w->config_path, &sets, setup, job);
    if (err == CF_OK && !first) {
        err = cf_setup_vary(setup, &sets);
        if (err == CF_OK) err = fill_job(setup, job);
    }
    cf_strings_fini(&sets);
    if (err == CF_OK) err = cf_sweep_folder_point(dir, point, job->run_dir);
    return where_point(err, sweep, point);
}

static cf_err expect_no_sweep(const cf_train_wishes *w, const char *dir)
{
    if (w->only_point >= 0)
        return cf_fail(CF_E_USAGE, "--point %lld: %s has no section sweep",
                       (long long)w->only_point, w->config_path);
    if (cf_sweep_folder_is_one(dir))
        return cf_fail(CF_E_USAGE,
                       "%s: the folder of a sweep, but %s has no section sweep; give another --run "
                       "folder",
                       dir, w->config_path);
    return CF_OK;
}

static cf_err check_wishes(const cf_train_wishes *w, const cf_sweep *sweep)
{
    if (w->only_point >= sweep->n_points)
        return cf_fail(CF_E_USAGE, "--point %lld: the sweep of %s has points 0 to %d",
                       (long long)w->only_point, w->config_path, sweep->n_points - 1);
    if (w->only_fold >= 0 && w->only_point < 0)
        return cf_fail(CF_E_USAGE, "--fold %lld: %s has a sweep; expected --point N with it",
                       (long long)w->only_fold, w->config_path);
    return CF_OK;
}

cf_err cf_train_prepare(const cf_train_wishes *w, cf_train_job *job)
{
    cf_sweep sweep;
    cf_setup setup = {0};
    char dir[PATH_MAX];
    CF_TRY(locate_run(w->run_dir, dir, sizeof dir));
    cf_err err = cf_sweep_read(w->config_path, &w->sets, &sweep);
    if (err == CF_OK && sweep.n_points == 0) {
        err = expect_no_sweep(w, dir);
        if (err == CF_OK) err = prepare(w->config_path, &w->sets, &setup, job);
        strcpy(job->run_dir, dir);
    } else if (err == CF_OK) {
        err = check_wishes(w, &sweep);
        int point = w->only_point < 0 ? 0 : (int)w->only_point;
        if (err == CF_OK) err = prepare_point(w, &sweep, dir, point, true, &setup, job);
    }
    cf_setup_fini(&setup);
    cf_sweep_fini(&sweep);
    return err;
}

cf_err cf_train_open_sweep(const cf_train_wishes *w, char *dir)
{
    cf_sweep sweep;
    const cf_run_lock_times times = cf_run_lock_times_default();
    CF_TRY(locate_run(w->run_dir, dir, PATH_MAX));
    cf_err err = cf_sweep_read(w->config_path, &w->sets, &sweep);
    if (err == CF_OK) err = cf_run_lock_look(dir, &times); /* a job of all points */
    if (err == CF_OK) err = cf_sweep_folder_open(dir, &sweep);
    cf_sweep_fini(&sweep);
    return err;
}

cf_err cf_train_sweep_prepare(const cf_train_wishes *w, cf_train_sweep *s)
{
    cf_setup setup = {0};
    *s = (cf_train_sweep){0};
    CF_TRY(cf_sweep_read(w->config_path, &w->sets, &s->sweep));
    if (s->sweep.n_points == 0) return CF_OK;
    CF_TRY(check_wishes(w, &s->sweep));
    if (w->only_point >= 0) {
        cf_sweep_fini(&s->sweep);
        return CF_OK;
    }
    size_t n = (size_t)s->sweep.n_points;
    CF_TRY(locate_run(w->run_dir, s->dir, sizeof s->dir));
    CF_TRY(cf_new(&s->jobs, n, sizeof *s->jobs));
    CF_TRY(cf_new(&s->done, n, sizeof *s->done));
    cf_err err = CF_OK;
    for (int point = 0; point < s->sweep.n_points && err == CF_OK; point++)
        err = prepare_point(w, &s->sweep, s->dir, point, point == 0, &setup, &s->jobs[point]);
    cf_setup_fini(&setup);
    return err;
}

/* Of a point that is not done. */
static cf_err add_space(cf_train_sweep *s, const cf_train_job *job, const cf_cells *cells)
{
    int64_t bytes = 0, new_bytes = job->cost.n_folds * job->checkpoint_bytes;
    const cf_space space = {.dir = job->run_dir,
                            .n_folds = job->cost.n_folds,
                            .only_fold = -1,
                            .checkpoint_bytes = job->checkpoint_bytes,
                            .n_images = cells->n,
                            .n_nodes = cells->scheme.n_nodes,
                            .at_rest = true};
    CF_TRY(cf_space_needed(&space, &bytes));
    s->bytes_left += bytes;
    if (new_bytes > s->bytes_under_way) s->bytes_under_way = new_bytes;
    return CF_OK;
}

cf_err cf_train_sweep_look(cf_train_sweep *s)
{
    cf_cells cells;
    const cf_run_lock_times times = cf_run_lock_times_default();
    CF_TRY(cf_sweep_folder_open(s->dir, &s->sweep));
    CF_TRY(cf_cells_open(s->jobs[0].config.data_cells, &cells));
    cf_err err = CF_OK;
    s->n_done = 0;
    for (int point = 0; point < s->sweep.n_points && err == CF_OK; point++) {
        const cf_train_job *job = &s->jobs[point];
        err = cf_run_lock_look(job->run_dir, &times); /* a job of this point */
        if (err == CF_OK)
            err = cf_sweep_folder_done(job->run_dir, &job->config, &cells, &s->done[point]);
        s->n_done += s->done[point];
        if (err == CF_OK && !s->done[point]) err = add_space(s, job, &cells);
        err = where_point(err, &s->sweep, point);
    }
    cf_cells_close(&cells);
    return err;
}

void cf_train_sweep_fini(cf_train_sweep *s)
{
    free(s->jobs);
    free(s->done);
    cf_sweep_fini(&s->sweep);
    *s = (cf_train_sweep){0};
}
