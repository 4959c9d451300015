#include "launch/help.h"

#include <stdio.h>
#include <string.h>

#include "launch/completion.h"
#include "launch/manual.h"

static const cf_exit_code exit_codes[] = {
    {CF_OK, "ok"},
    {CF_E_UNEXPECTED, "unexpected"},
    {CF_E_USAGE, "usage or configuration"},
    {CF_E_DATA, "data"},
    {CF_E_CHECKPOINT, "checkpoint"},
    {CF_E_DISK, "disk"},
    {CF_E_DEVICE, "device or communication"},
    {CF_E_NUMERIC, "numeric"},
    {CF_E_HANG, "hang"},
    {CF_E_BUSY, "run folder in use"},
    {CF_E_REQUEUE, "checkpointed, please requeue"},
};

const cf_exit_code *cf_exit_codes(int *n)
{
    *n = (int)(sizeof exit_codes / sizeof exit_codes[0]);
    return exit_codes;
}

static void write_help(const cf_verb *verb, const cf_option *options, int n_options, cf_buf *out)
{
    cf_buf_printf(out, "cytofold %s: %s\n\nusage: cytofold %s %s\n\noptions:\n", verb->name,
                  verb->summary, verb->name, verb->usage);
    for (int i = 0; i < n_options; i++) {
        const cf_option *o = &options[i];
        char left[64], letter[8] = "";
        if (o->letter != 0) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->argument != NULL ? " " : "",
                 o->argument != NULL ? o->argument : "");
        cf_buf_printf(out, "  %-24s %s\n", left, o->help);
    }
    cf_buf_printf(out, "  %-24s %s\n", "--help", "this text");
    if (verb->details != NULL) cf_buf_printf(out, "\n%s\n", verb->details);
}

cf_help_writer cf_help_writer_of(const char *word)
{
    static const struct {
        const char *word;
        cf_help_writer writer;
    } writers[] = {
        {"--help", write_help},
        {"--man", cf_manual_of_verb},
        {"--completion", cf_completion_of_verb},
    };
    for (size_t i = 0; i < sizeof writers / sizeof writers[0]; i++)
        if (strcmp(word, writers[i].word) == 0) return writers[i].writer;
    return NULL;
}

void cf_help_overview(const cf_verb *const *verbs, int n_verbs, cf_buf *out)
{
    cf_buf_printf(out,
                  "cytofold %s: train and cross-validate image classifiers of blood and "
                  "bone-marrow cells\n\nusage: cytofold VERB ...\n\n",
                  CYTOFOLD_VERSION);
    for (int i = 0; i < n_verbs; i++)
        cf_buf_printf(out, "  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
    cf_buf_printf(out, "\ncytofold VERB --help tells the options of a verb, --man shows its manual "
                       "page.\nexit codes:");
    int n = 0, column = 11;
    const cf_exit_code *codes = cf_exit_codes(&n);
    for (int i = 0; i < n; i++) {
        char text[80];
        int length = snprintf(text, sizeof text, " %d %s%s", codes[i].code, codes[i].meaning,
                              i + 1 < n ? "," : "\n");
        if (column + length > 96) column = 11, cf_buf_printf(out, "\n           ");
        cf_buf_printf(out, "%s", text);
        column += length;
    }
}

static cf_err print_page(const cf_verb *const *verbs, int n_verbs, const char *name)
{
    cf_buf out = {0};
    for (int i = 0; i < n_verbs; i++) {
        char *words[] = {(char *)(uintptr_t)verbs[i]->name, (char *)(uintptr_t) "--man", NULL};
        if (strcmp(name, verbs[i]->name) == 0) return verbs[i]->run(2, words);
    }
    if (strcmp(name, "cytofold") == 0)
        cf_manual_of_program(verbs, n_verbs, &out);
    else if (strcmp(name, "cytofold.yaml") == 0)
        cf_manual_of_configuration(&out);
    else
        return cf_fail(CF_E_USAGE,
                       "--man: no page '%s': there are cytofold, cytofold.yaml and one "
                       "for each verb",
                       name);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) fputs(cf_buf_text(&out), stdout);
    cf_buf_fini(&out);
    return err;
}

/* As the text of a shell's variable: each verb prints its own lines. */
static cf_err print_completion(const cf_verb *const *verbs, int n_verbs)
{
    cf_buf keys = {0};
    cf_completion_of_keys(&keys);
    cf_err err = cf_buf_check(&keys);
    fputs("_cytofold_table='", stdout);
    for (int i = 0; i < n_verbs && err == CF_OK; i++) {
        char *words[] = {(char *)(uintptr_t)verbs[i]->name, (char *)(uintptr_t) "--completion",
                         NULL};
        err = verbs[i]->run(2, words);
    }
    if (err == CF_OK) printf("%s'\n", cf_buf_text(&keys));
    cf_buf_fini(&keys);
    return err;
}

cf_err cf_help_run(const cf_verb *const *verbs, int n_verbs, int argc, char **argv, bool *done)
{
    *done = true;
    if (strcmp(argv[0], "--man") == 0)
        return print_page(verbs, n_verbs, argc > 1 ? argv[1] : "cytofold");
    if (strcmp(argv[0], "--completion") == 0) return print_completion(verbs, n_verbs);
    if (strcmp(argv[0], "--version") == 0) {
        printf("cytofold %s\n", CYTOFOLD_VERSION);
        return CF_OK;
    }
    *done = strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "help") == 0;
    cf_buf out = {0};
    if (*done) cf_help_overview(verbs, n_verbs, &out);
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) fputs(cf_buf_text(&out), stdout);
    cf_buf_fini(&out);
    return err;
}
