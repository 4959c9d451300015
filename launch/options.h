/* Command-line options from one table a verb: parsing, --help, manual pages and completion
 * (launch/help.h) read the same rows. Long options take "--name value" or "--name=value";
 * everything else is an operand;
 * "--" ends options. Threads: main only. Read first: cf_option. */
#ifndef CF_LAUNCH_OPTIONS_H
#define CF_LAUNCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/file.h"

typedef enum cf_option_type {
    CF_OPTION_FLAG, /* bool: true when given */
    CF_OPTION_TEXT, /* const char *: borrowed from argv */
    CF_OPTION_INT,  /* int64_t */
    CF_OPTION_NUM,  /* double */
    CF_OPTION_MANY  /* cf_strings: may be given again and again */
} cf_option_type;

typedef struct cf_option {
    const char *name; /* "seed", without dashes */
    char letter;      /* 'o' for -o; 0: none */
    cf_option_type type;
    void *target;         /* of the type above; holds the default before parsing */
    double min, max;      /* INT and NUM: range; both 0: any */
    const char *argument; /* "N", "FILE", for help; NULL for a flag */
    const char *help;     /* with the default, in words */
} cf_option;

typedef struct cf_verb {
    const char *name;                     /* "pack" */
    const char *summary;                  /* one line */
    const char *usage;                    /* "SRC... --scheme S -o X.cells" */
    const char *details;                  /* paragraphs under the options; may be NULL */
    cf_err (*run)(int argc, char **argv); /* argv[0] is the verb */
} cf_verb;

/* Parses argv[1..]. Operands are moved to `operands` (owned by the caller). *help is set when
 * --help, --man or --completion was given and printed: the verb then returns at once. n_min..n_max
 * operands (-1: no limit), each named in messages. CF_E_USAGE names the option and what it takes.
 */
CF_CHECKED cf_err cf_options_parse(const cf_verb *verb, const cf_option *options, int n_options,
                                   int argc, char **argv, int n_min, int n_max,
                                   cf_strings *operands, bool *help);

#endif
