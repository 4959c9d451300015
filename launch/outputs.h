/* Whether what a command is to write at its end can be written, said before hours of work and not
 * after them. Threads: main only. Read first: cf_output_check. */
#ifndef CF_LAUNCH_OUTPUTS_H
#define CF_LAUNCH_OUTPUTS_H

#include "kernels/base/file.h"

/* Makes the file's temporary twin and takes it away again: what stands at `path` stays as it is.
 * CF_E_DISK where its folder is not there or may not be written, and where `path` is a folder. */
CF_CHECKED cf_err cf_output_check(const char *path);
/* Of each. */
CF_CHECKED cf_err cf_output_check_all(const cf_strings *paths);

#endif
