#include "launch/manual.h"

#include <stdio.h>
#include <string.h>

#include "launch/help.h"
#include "launch/mdoc.h"
#include "proto/config_table.h"

static void put_range(cf_buf *out, double min, double max, const char *unit)
{
    if (min == 0 && max == 0) return;
    cf_buf_printf(out, "From %.15g to %.15g%s%s.\n", min, max, *unit ? " " : "", unit);
}

static void put_option(cf_buf *out, const cf_option *o)
{
    cf_buf_printf(out, ".It");
    if (o->letter != 0) cf_buf_printf(out, " Fl %c ,", o->letter);
    cf_buf_printf(out, " Fl \\-%s", o->name);
    if (o->argument != NULL) {
        cf_buf_printf(out, " Ar");
        cf_mdoc_argument(out, o->argument, strlen(o->argument));
    }
    cf_buf_printf(out, "\n");
    cf_mdoc_sentence(out, o->help);
    if (o->type == CF_OPTION_INT || o->type == CF_OPTION_NUM) put_range(out, o->min, o->max, "");
    if (o->type == CF_OPTION_MANY) cf_buf_printf(out, "May be given again.\n");
}

void cf_manual_of_verb(const cf_verb *verb, const cf_option *options, int n_options, cf_buf *out)
{
    char page[64];
    snprintf(page, sizeof page, "cytofold-%s", verb->name);
    cf_mdoc_head(out, page, 1, verb->summary);
    cf_mdoc_synopsis(out, verb->name, verb->usage);
    cf_buf_printf(out, ".Sh DESCRIPTION\n");
    if (verb->details != NULL)
        cf_mdoc_text(out, verb->details);
    else
        cf_mdoc_sentence(out, verb->summary);
    cf_buf_printf(out, ".Pp\nThe options are:\n.Bl -tag -width Ds\n");
    for (int i = 0; i < n_options; i++) put_option(out, &options[i]);
    cf_buf_printf(out,
                  ".It Fl \\-help\nA short form of this text.\n.El\n.Pp\n"
                  "An option's value may follow as a word of its own or behind an equals sign;\n"
                  "after\n.Fl \\-\nno word is an option.\n"
                  "Results go to standard output, messages to standard error.\n"
                  ".Sh EXIT STATUS\n0 on success; the other codes are listed in\n"
                  ".Xr cytofold 1 .\n"
                  ".Sh SEE ALSO\n.Xr cytofold 1 ,\n.Xr cytofold.yaml 5\n");
}

/* ---- the program ------------------------------------------------------------------------------
 */

static void put_environment(cf_buf *out)
{
    static const struct {
        const char *name, *meaning;
    } variables[] = {
        {"CYTOFOLD_MPIRUN", "Program that starts the ranks of train where no launcher did; by "
                            "default that of the MPI library in use."},
        {"CYTOFOLD_SHARE", "Folder searched for configs/schemes before the installed one."},
        {"CYTOFOLD_VERBOSE", "Where set, messages tell more."},
        {"TMPDIR",
         "Folder of the intermediate file of predict, by default /tmp; after SLURM_TMPDIR one of "
         "those where run.stage: auto may keep its copy."},
    };
    cf_buf_printf(out, ".Sh ENVIRONMENT\n.Bl -tag -width CYTOFOLD_VERBOSE\n");
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        cf_buf_printf(out, ".It Ev %s\n", variables[i].name);
        cf_mdoc_text(out, variables[i].meaning);
    }
    cf_buf_printf(out, ".El\n");
}

static void put_exit_codes(cf_buf *out)
{
    int n = 0;
    const cf_exit_code *codes = cf_exit_codes(&n);
    cf_buf_printf(out, ".Sh EXIT STATUS\n.Bl -tag -width Ds -compact\n");
    for (int i = 0; i < n; i++) cf_buf_printf(out, ".It %d\n%s\n", codes[i].code, codes[i].meaning);
    cf_buf_printf(out, ".El\n");
}

static const char *const description =
    "cytofold is one MPI job: a coordinator makes the folds of a cross-validation and hands them "
    "out,\n"
    "workers train networks and reduce their gradients, and at the end one table holds every "
    "class's\n"
    "precision and recall, mean and standard deviation over the folds.\n"
    "A result is a function of the images, the configuration and the seed: it does not depend on\n"
    "how many ranks ran the job or on how often it was killed and started again.";

static const char *const examples =
    "Images, a folder for each class, into one file; then the main job, which the same command "
    "resumes:\n"
    "\n"
    "  cytofold pack images --scheme matek2021 -o marrow.cells\n"
    "  cytofold train matek2021.yaml --run run1 --set data.cells=marrow.cells\n"
    "\n"
    "The same under a launcher, with one rank for the coordinator:\n"
    "\n"
    "  srun -n 9 cytofold train matek2021.yaml --run run1 --set data.cells=marrow.cells";

void cf_manual_of_program(const cf_verb *const *verbs, int n_verbs, cf_buf *out)
{
    cf_mdoc_head(out, "cytofold", 1,
                 "train and cross-validate image classifiers of blood and bone-marrow cells");
    cf_buf_printf(out, ".Sh SYNOPSIS\n.Nm\n.Ar VERB\n.Op Ar argument ...\n"
                       ".Nm\n.Fl \\-help | \\-version\n"
                       ".Nm\n.Fl \\-man Op Ar VERB | Cm cytofold.yaml\n"
                       ".Sh DESCRIPTION\n");
    cf_mdoc_text(out, description);
    cf_buf_printf(out, ".Pp\nThe verbs are:\n.Bl -tag -width Xr_cytofold-predict\n");
    for (int i = 0; i < n_verbs; i++) {
        cf_buf_printf(out, ".It Xr cytofold-%s 1\n", verbs[i]->name);
        cf_mdoc_sentence(out, verbs[i]->summary);
    }
    cf_buf_printf(out,
                  ".El\n.Pp\nThe options, in place of a verb:\n.Bl -tag -width Ds\n"
                  ".It Fl \\-help\nList the verbs.\n"
                  ".It Fl \\-version\nTell the version.\n"
                  ".It Fl \\-man Op Ar VERB | Cm cytofold.yaml\n"
                  "Print a manual page's source, for\n.Xr man 1 .\n"
                  ".It Fl \\-completion\n"
                  "Print the table that the completion scripts of bash and zsh are made with.\n"
                  ".El\n");
    put_environment(out);
    put_exit_codes(out);
    cf_buf_printf(out, ".Sh EXAMPLES\n");
    cf_mdoc_text(out, examples);
    cf_buf_printf(out, ".Sh SEE ALSO\nthe verbs above,\n.Xr cytofold.yaml 5\n");
}

/* ---- the configuration ------------------------------------------------------------------------
 */

static void put_key(cf_buf *out, const cf_key *key)
{
    static const char *const types[] = {"true/false", "integer",  "number", "word",
                                        "text",       "integers", "numbers"};
    char storage[256];
    const char *words[CF_WORDS_MAX];
    cf_buf_printf(out, ".It Cm %s Pq %s\n", key->path, types[key->type]);
    cf_mdoc_sentence(out, key->help);
    if (key->type == CF_KEY_WORD) {
        int n = cf_key_words(key, storage, words);
        cf_buf_printf(out, "One of\n");
        for (int i = 0; i < n; i++)
            cf_buf_printf(out, ".Cm %s%s\n", words[i],
                          i + 2 < n    ? " ,"
                          : i + 2 == n ? " and"
                                       : " .");
    } else if (key->type != CF_KEY_BOOL && key->type != CF_KEY_TEXT) {
        put_range(out, key->min, key->max, key->unit);
    }
    cf_buf_printf(out, "Default:");
    cf_buf_printf(out, *key->def ? " %s.\n" : " empty.\n", key->def);
}

void cf_manual_of_configuration(cf_buf *out)
{
    int n = 0;
    const char *section = "";
    const cf_key *keys = cf_config_keys(&n);
    cf_mdoc_head(out, "cytofold.yaml", 5, "configuration of a cytofold run");
    cf_buf_printf(out, ".Sh DESCRIPTION\n");
    cf_mdoc_text(out,
                 "A configuration is a YAML file of sections with keys. A key that is not there "
                 "has its default.\n"
                 "Unknown and doubled keys, numbers out of range, aliases and deep nesting are "
                 "refused with\n"
                 "line and column. A key can be overridden on the command line:\n"
                 "\n"
                 "  cytofold train demo.yaml --run run1 --set train.epochs=5\n"
                 "\n"
                 "Paths in a file start at its folder, those of --set at the current one.");
    for (int i = 0; i < n; i++) {
        if (strcmp(section, keys[i].section) != 0) {
            cf_buf_printf(out, "%s.Ss Section %s\n.Bl -tag -width Ds\n", i > 0 ? ".El\n" : "",
                          keys[i].section);
            section = keys[i].section;
        }
        put_key(out, &keys[i]);
    }
    cf_buf_printf(out, ".El\n.Sh SEE ALSO\n.Xr cytofold 1 ,\n.Xr cytofold-train 1\n");
}
