/* The program's entry: finds the verb, runs it, turns its error into one message and an exit code.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "launch/help.h"
#include "launch/spin.h"
#include "launch/verbs.h"

static const cf_verb *const verbs[] = {
    &cf_verb_pack,    &cf_verb_check,  &cf_verb_split,   &cf_verb_plan,
    &cf_verb_train,   &cf_verb_report, &cf_verb_predict, &cf_verb_explain,
    &cf_verb_score,   &cf_verb_embed,  &cf_verb_export,  &cf_verb_import,
    &cf_verb_inspect, &cf_verb_synth,  &cf_verb_bench,   &cf_verb_submit,
};
enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

/* Verbs that compute in this process, beside threads that load images. */
static bool computes_here(const cf_verb *verb)
{
    return verb == &cf_verb_predict || verb == &cf_verb_explain || verb == &cf_verb_embed;
}

static cf_err run(const cf_verb *verb, int argc, char **argv)
{
    if (computes_here(verb)) cf_spin_briefly(argv);
    return verb->run(argc - 1, argv + 1);
}

/* One message for an error; output that could not be written is one. */
static int finish(cf_err err)
{
    if (err == CF_OK && (fflush(stdout) != 0 || ferror(stdout) != 0))
        err = cf_fail_errno(CF_E_DISK, "standard output");
    /* Stopped as asked: said by one rank, and no error. */
    if (err != CF_OK && err != CF_E_REQUEUE) cf_log_error("%s", cf_err_text());
    return (int)err;
}

static int refuse_empty(void)
{
    cf_buf text = {0};
    cf_help_overview(verbs, N_VERBS, &text);
    fputs(cf_buf_text(&text), stderr);
    cf_buf_fini(&text);
    return CF_E_USAGE;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a failed write with a message, not a death */
    cf_log_setup(getenv("CYTOFOLD_VERBOSE") != NULL ? CF_LOG_VERBOSE : CF_LOG_NORMAL, -1);
    if (argc < 2) return refuse_empty();
    bool done = false;
    cf_err err = cf_help_run(verbs, N_VERBS, argc - 1, argv + 1, &done);
    if (done) return finish(err);
    for (int i = 0; i < N_VERBS; i++)
        if (strcmp(argv[1], verbs[i]->name) == 0) return finish(run(verbs[i], argc, argv));
    cf_log_error("unknown verb '%s'; cytofold --help lists them", argv[1]);
    return CF_E_USAGE;
}
