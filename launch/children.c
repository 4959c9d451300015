#include "launch/children.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool runs_this_program(int pid)
{
    char link[64], theirs[PATH_MAX], ours[PATH_MAX];
    snprintf(link, sizeof link, "/proc/%d/exe", pid);
    ssize_t n = readlink(link, theirs, sizeof theirs),
            m = readlink("/proc/self/exe", ours, PATH_MAX);
    return n > 0 && n == m && memcmp(theirs, ours, (size_t)n) == 0;
}

/* Whether the child hears the signal. */
static bool look_at(int pid, int signal_number, cf_children *out)
{
    char path[64], line[256], state = '\0';
    unsigned long long caught = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "State:", 6) == 0) sscanf(line + 6, " %c", &state);
        if (strncmp(line, "SigCgt:", 7) == 0) caught = strtoull(line + 7, NULL, 16);
    }
    fclose(file);
    bool ended = state == 'Z' || state == 'X' || state == '\0';
    out->n_unheeded += state == 'Z';
    out->n_alive += !ended;
    /* Between fork and exec it is still the launcher, which may catch the signal itself. */
    bool hears = !ended && (caught >> (signal_number - 1) & 1) && runs_this_program(pid);
    out->n_hearing += hears;
    return hears;
}

typedef enum visit { LOOK, SEND } visit;

static bool go_through(pid_t parent, int signal_number, visit purpose, cf_children *out)
{
    char path[PATH_MAX];
    bool told = false;
    snprintf(path, sizeof path, "/proc/%d/task", (int)parent);
    DIR *threads = opendir(path);
    if (threads == NULL) return false;
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        int pid = 0;
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)parent, entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL) continue;
        told = true;
        while (fscanf(file, "%d", &pid) == 1)
            if (look_at(pid, signal_number, out) && purpose == SEND) kill(pid, signal_number);
        fclose(file);
    }
    closedir(threads);
    return told;
}

bool cf_children_look(pid_t parent, int signal_number, cf_children *out)
{
    *out = (cf_children){0};
    return go_through(parent, signal_number, LOOK, out);
}

void cf_children_signal(pid_t parent, int signal_number)
{
    cf_children counted = {0};
    go_through(parent, signal_number, SEND, &counted);
}
