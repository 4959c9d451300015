/* Numbers of workers as a list: "8", "1,2,4,...,1024". Threads: any. Read first: cf_workers_parse.
 */
#ifndef CF_LAUNCH_WORKERS_LIST_H
#define CF_LAUNCH_WORKERS_LIST_H

#include "kernels/base/err.h"

enum { CF_WORKERS_MOST = 4096, CF_WORKERS_ROWS = 64 };

/* The numbers of a list: rising, commas between; "a,b,...,z" goes on by the ratio of its first two
 * where z is on that way, else by their difference. CF_E_USAGE with what was found. */
CF_CHECKED cf_err cf_workers_parse(const char *text, int list[CF_WORKERS_ROWS], int *n);

#endif
