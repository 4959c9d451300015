/* The folder of a sweep: sweep.yaml, and a complete run folder point-NNN for each point. Threads:
 * one caller. Read first: cf_sweep_folder_open. */
#ifndef CF_COORDINATOR_SWEEP_FOLDER_H
#define CF_COORDINATOR_SWEEP_FOLDER_H

#include "proto/cells.h"
#include "proto/sweep.h"

/* Makes the folder and its sweep.yaml, or finds it there; another sweep there of which nothing was
 * trained gives way. CF_E_USAGE, with the difference, for another sweep, and for the folder of a
 * single run; CF_E_BUSY where a job is about to train a point of another one. */
CF_CHECKED cf_err cf_sweep_folder_open(const char *dir, const cf_sweep *sweep);
/* Whether a folder has a sweep.yaml. */
bool cf_sweep_folder_is_one(const char *dir);
/* `dir`/point-NNN. */
CF_CHECKED cf_err cf_sweep_folder_point(const char *dir, int point, char path[CF_PATH_MAX]);
/* Whether a point's run folder has all that its run leaves behind: predictions of every fold, the
 * tables over them, and the end in its log. config: of the point; CF_E_USAGE, with the difference,
 * where the folder was trained with another configuration or other data. */
CF_CHECKED cf_err cf_sweep_folder_done(const char *point_dir, const cf_config *config,
                                       const cf_cells *cells, bool *done);

/* Whether the last job there ended without a word: it hung, crashed or was killed. */
CF_CHECKED cf_err cf_sweep_folder_broken_off(const char *point_dir, bool *broken_off);

/* A point that ended with an error leaves its message in `dir`/point-NNN.error, which its end takes
 * away: such a point is tried last. Failing to write it is a warning. */
void cf_sweep_folder_note_error(const char *dir, int point, const char *text);
void cf_sweep_folder_forget_error(const char *dir, int point);
/* Whether a point's report over all its folds was written. */
bool cf_sweep_folder_has_figures(const char *dir, int point);
/* The message, empty where there is none. */
CF_CHECKED cf_err cf_sweep_folder_error(const char *dir, int point, cf_buf *text);

#endif
