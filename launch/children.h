/* What another process's children are doing, as /proc tells it: whether a launcher's ranks are
 * there yet, and whether it still looks after them. Threads: any. Read first: cf_children_look. */
#ifndef CF_LAUNCH_CHILDREN_H
#define CF_LAUNCH_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct cf_children {
    int n_alive;
    int n_hearing;  /* of those that live: run this program and catch the signal asked about */
    int n_unheeded; /* ended, and not yet waited for by their parent */
} cf_children;

/* The children of process `parent`, all its threads'. False where the system does not tell. A child
 * that ends meanwhile is counted as it was last seen, or not at all. */
bool cf_children_look(pid_t parent, int signal_number, cf_children *out);
/* The signal to each that hears it. */
void cf_children_signal(pid_t parent, int signal_number);

#endif
