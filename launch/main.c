/* The program's entry: finds the verb, runs it, turns its error into one message and an exit code.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "launch/verbs.h"

static const cf_verb *const verbs[] = {
    &cf_verb_pack,    &cf_verb_check,  &cf_verb_split,   &cf_verb_plan,
    &cf_verb_train,   &cf_verb_report, &cf_verb_predict, &cf_verb_score,
    &cf_verb_inspect, &cf_verb_synth,  &cf_verb_bench,
};
enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

static void print_overview(FILE *out)
{
    fprintf(out,
            "cytofold %s: train and cross-validate image classifiers of blood and bone-marrow "
            "cells\n\nusage: cytofold VERB ...\n\n",
            CYTOFOLD_VERSION);
    for (int i = 0; i < N_VERBS; i++)
        fprintf(out, "  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
    fprintf(out,
            "\ncytofold VERB --help tells the options of a verb.\n"
            "exit codes: 0 ok, 1 unexpected, 2 usage or configuration, 3 data, 4 checkpoint, "
            "5 disk,\n            6 device or communication, 7 numeric, 8 hang, 9 run folder in "
            "use, 85 checkpointed, please requeue\n");
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a failed write with a message, not a death */
    cf_log_setup(getenv("CYTOFOLD_VERBOSE") != NULL ? CF_LOG_VERBOSE : CF_LOG_NORMAL, -1);
    if (argc < 2) {
        print_overview(stderr);
        return CF_E_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_overview(stdout);
        return CF_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("cytofold %s\n", CYTOFOLD_VERSION);
        return CF_OK;
    }
    for (int i = 0; i < N_VERBS; i++) {
        if (strcmp(argv[1], verbs[i]->name) != 0) continue;
        cf_err err = verbs[i]->run(argc - 1, argv + 1);
        if (err == CF_OK && (fflush(stdout) != 0 || ferror(stdout) != 0))
            err = cf_fail_errno(CF_E_DISK, "standard output");
        if (err != CF_OK) cf_log_error("%s", cf_err_text());
        return (int)err;
    }
    cf_log_error("unknown verb '%s'; cytofold --help lists them", argv[1]);
    return CF_E_USAGE;
}
