#include "coordinator/sweep_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/run_folder.h"
#include "coordinator/run_lock.h"
#include "kernels/base/log.h"
#include "proto/control.h"

enum { SWEEP_MAX_BYTES = CF_YAML_MAX_BYTES, LOG_MAX_BYTES = 1 << 30, ERROR_MAX_BYTES = 1 << 16 };

static size_t line_length(const char *text)
{
    return strcspn(text, "\n");
}

static cf_err other_sweep(const char *path, const char *then, const char *now)
{
    while (*then != '\0' && *now != '\0' && line_length(then) == line_length(now) &&
           memcmp(then, now, line_length(then)) == 0) {
        then += line_length(then) + (then[line_length(then)] == '\n');
        now += line_length(now) + (now[line_length(now)] == '\n');
    }
    return cf_fail(CF_E_USAGE,
                   "%s is of another sweep: '%.*s' there, '%.*s' now; give another --run folder or "
                   "the old lists",
                   path, (int)line_length(then), then, (int)line_length(now), now);
}

bool cf_sweep_folder_is_one(const char *dir)
{
    char path[CF_PATH_MAX];
    return cf_path_join(path, sizeof path, dir, "sweep.yaml") == CF_OK && cf_path_exists(path);
}

static cf_err expect_no_run(const char *dir)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, dir, "run.yaml"));
    if (!cf_path_exists(path)) return CF_OK;
    return cf_fail(CF_E_USAGE, "%s: the folder of a single run; a sweep needs another --run folder",
                   dir);
}

cf_err cf_sweep_folder_point(const char *dir, int point, char path[CF_PATH_MAX])
{
    char name[32];
    cf_sweep_name(point, name);
    return cf_path_join(path, CF_PATH_MAX, dir, name);
}

static cf_err is_there(const char *dir, const char *file, bool *all)
{
    char path[CF_PATH_MAX];
    CF_TRY(cf_path_join(path, sizeof path, dir, file));
    *all = *all && cf_path_exists(path);
    return CF_OK;
}

static cf_err begun(const char *dir, bool *trained)
{
    bool has_fold = false, has_yaml = true;
    *trained = false;
    CF_TRY(is_there(dir, "run.yaml", &has_yaml));
    if (!has_yaml) return CF_OK;
    for (int fold = 0; fold < CF_MAX_FOLDS && !has_fold; fold++) {
        char name[32];
        snprintf(name, sizeof name, "fold-%d", fold);
        has_fold = true;
        CF_TRY(is_there(dir, name, &has_fold));
    }
    *trained = has_fold;
    return CF_OK;
}

/* No point was begun, and nobody is about to: CF_E_BUSY. */
static cf_err is_untouched(const char *dir, bool *untouched)
{
    const cf_run_lock_times times = cf_run_lock_times_default();
    char path[CF_PATH_MAX];
    bool trained = false;
    *untouched = false;
    for (int point = 0; point < CF_SWEEP_MAX_POINTS; point++) {
        CF_TRY(cf_sweep_folder_point(dir, point, path));
        CF_TRY(begun(path, &trained));
        if (trained) return CF_OK;
    }
    for (int point = 0; point < CF_SWEEP_MAX_POINTS; point++) {
        CF_TRY(cf_sweep_folder_point(dir, point, path));
        CF_TRY(cf_run_lock_look(path, &times));
    }
    *untouched = true;
    return CF_OK;
}

/* Meanwhile, to another task of the same array. */
static cf_err has_given_way(const char *path, const cf_buf *now, bool *given)
{
    char *text = NULL;
    size_t n = 0;
    CF_TRY(cf_file_read(path, SWEEP_MAX_BYTES, &text, &n));
    *given = strcmp(text, cf_buf_text(now)) == 0;
    free(text);
    return CF_OK;
}

/* Another sweep gives way where nothing of it was trained. */
static cf_err replace(const char *dir, const char *path, const char *then, const cf_buf *now)
{
    bool untouched = false, given = false;
    if (strcmp(then, cf_buf_text(now)) == 0) return CF_OK;
    cf_err err = is_untouched(dir, &untouched);
    if (err == CF_E_BUSY || (err == CF_OK && !untouched)) {
        CF_TRY(has_given_way(path, now, &given));
        if (given) return CF_OK;
    }
    if (err == CF_E_BUSY) err = is_untouched(dir, &untouched); /* or it is free by now */
    CF_TRY(err);
    if (!untouched) return other_sweep(path, then, cf_buf_text(now));
    cf_log_info("%s: nothing was trained there yet, it starts anew", dir);
    for (int point = 0; point < CF_SWEEP_MAX_POINTS; point++)
        cf_sweep_folder_forget_error(dir, point);
    return cf_file_save(path, now->data, now->len);
}

static cf_err open_old(const char *dir, const char *path, const cf_buf *now)
{
    char *then = NULL;
    size_t n = 0;
    CF_TRY(cf_file_read(path, SWEEP_MAX_BYTES, &then, &n));
    cf_err err = replace(dir, path, then, now);
    free(then);
    return err;
}

cf_err cf_sweep_folder_open(const char *dir, const cf_sweep *sweep)
{
    char path[CF_PATH_MAX];
    cf_buf text = {0};
    CF_TRY(expect_no_run(dir));
    CF_TRY(cf_dir_make(dir));
    CF_TRY(cf_path_join(path, sizeof path, dir, "sweep.yaml"));
    cf_sweep_write(sweep, &text);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK)
        err = cf_path_exists(path) ? open_old(dir, path, &text)
                                   : cf_file_save(path, text.data, text.len);
    cf_buf_fini(&text);
    return err;
}

/* ---- errors -----------------------------------------------------------------------------------
 */

static cf_err error_path(const char *dir, int point, char path[CF_PATH_MAX])
{
    char name[32], file[48];
    cf_sweep_name(point, name);
    snprintf(file, sizeof file, "%s.error", name);
    return cf_path_join(path, CF_PATH_MAX, dir, file);
}

void cf_sweep_folder_note_error(const char *dir, int point, const char *text)
{
    char path[CF_PATH_MAX];
    cf_buf line = {0};
    cf_buf_printf(&line, "%s\n", text);
    cf_err err = error_path(dir, point, path);
    if (err == CF_OK) err = cf_buf_check(&line);
    if (err == CF_OK) err = cf_file_save(path, line.data, line.len);
    if (err != CF_OK) cf_log_warn("%s", cf_err_text());
    cf_buf_fini(&line);
}

void cf_sweep_folder_forget_error(const char *dir, int point)
{
    char path[CF_PATH_MAX];
    if (error_path(dir, point, path) == CF_OK) unlink(path);
}

bool cf_sweep_folder_has_figures(const char *dir, int point)
{
    char path[CF_PATH_MAX], file[CF_PATH_MAX];
    return cf_sweep_folder_point(dir, point, path) == CF_OK &&
           cf_path_join(file, sizeof file, path, "metrics.json") == CF_OK && cf_path_exists(file);
}

cf_err cf_sweep_folder_error(const char *dir, int point, cf_buf *text)
{
    char path[CF_PATH_MAX], *line = NULL;
    size_t n = 0;
    CF_TRY(error_path(dir, point, path));
    if (!cf_path_exists(path)) return CF_OK;
    CF_TRY(cf_file_read(path, ERROR_MAX_BYTES, &line, &n));
    line[strcspn(line, "\n")] = '\0';
    cf_buf_printf(text, "%s", line);
    free(line);
    return cf_buf_check(text);
}

/* ---- what is there ----------------------------------------------------------------------------
 */

/* How the last job of a run ended, as its log has it. */
typedef enum ending { NO_JOB, ENDED, STOPPED, BROKEN_OFF } ending;

static bool tells_of(const char *line, const char *event)
{
    char start[64];
    snprintf(start, sizeof start, "{\"event\": \"%s\"", event);
    return strncmp(line, start, strlen(start)) == 0;
}

static const char *last_line(const char *text)
{
    const char *before = strrchr(text, '\n');
    return before != NULL ? before + 1 : text;
}

/* The line before the last, which goes; text has two at least. */
static const char *cut_last(char *text)
{
    *strrchr(text, '\n') = '\0';
    return last_line(text);
}

static cf_err find_ending(const char *dir, ending *e)
{
    char path[CF_PATH_MAX], *text = NULL;
    size_t n = 0;
    *e = NO_JOB;
    CF_TRY(cf_path_join(path, sizeof path, dir, "log.jsonl"));
    if (!cf_path_exists(path)) return CF_OK;
    CF_TRY(cf_file_read(path, LOG_MAX_BYTES, &text, &n));
    if (n > 0) *e = BROKEN_OFF; /* also where the last line is torn */
    if (n > 0 && text[n - 1] == '\n') {
        text[n - 1] = '\0';
        const char *line = last_line(text);
        /* A rank that hangs while its lane waits for others undoes nothing. */
        while (tells_of(line, "hang") && line > text) line = cut_last(text);
        if (tells_of(line, "end")) *e = ENDED;
        if (tells_of(line, "stop")) *e = STOPPED;
    }
    free(text);
    return CF_OK;
}

cf_err cf_sweep_folder_broken_off(const char *point_dir, bool *broken_off)
{
    ending e = NO_JOB;
    *broken_off = false;
    CF_TRY(find_ending(point_dir, &e));
    *broken_off = e == BROKEN_OFF;
    return CF_OK;
}

cf_err cf_sweep_folder_done(const char *point_dir, const cf_config *config, const cf_cells *cells,
                            bool *done)
{
    bool trained = false, all = false;
    ending e = NO_JOB;
    cf_run_folder run = {0};
    *done = false;
    CF_TRY(begun(point_dir, &trained));
    if (!trained) return CF_OK; /* as new, whatever was tried there */
    cf_err err = cf_run_folder_open(point_dir, config, cells, &run);
    if (err == CF_OK) err = find_ending(point_dir, &e);
    all = e == ENDED;
    for (int fold = 0; fold < run.n_folds && err == CF_OK; fold++) {
        char name[64];
        snprintf(name, sizeof name, "fold-%d/predictions.csv", fold);
        err = is_there(point_dir, name, &all);
    }
    if (err == CF_OK) err = is_there(point_dir, "metrics.json", &all);
    cf_run_folder_fini(&run);
    *done = err == CF_OK && all;
    return err;
}
