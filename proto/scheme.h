/* A class scheme: classes, output nodes merged into them, tolerance pairs, binary questions, maps
 * from other labels, and published figures to stand beside ours. All of it data, in YAML files
 * under configs/schemes. Threads: a read scheme is read-only. Read first: cf_scheme. */
#ifndef CF_PROTO_SCHEME_H
#define CF_PROTO_SCHEME_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

enum { CF_CODE_MAX = 64, CF_MAX_CLASSES = 1024 };
enum { CF_LABEL_UNKNOWN = -1 }; /* an image without a class, for prediction only */

/* A published mean +- SD; present only where `known`. */
typedef struct cf_published {
    bool known;
    double mean, sd;
} cf_published;

typedef struct cf_class {
    char code[CF_CODE_MAX];  /* "NGB"; a folder's name and a CSV's label */
    char name[256];          /* "Band neutrophils" */
    char color[16];          /* "#rrggbb" or "" */
    char lineage[64];        /* "granulocytic" or "" */
    int64_t published_count; /* images in the published set; 0: not known */
    /* Published per-class results: precision and recall, tolerant and strict. */
    cf_published precision_tolerant, recall_tolerant, precision_strict, recall_strict;
} cf_class;

typedef struct cf_question {
    char name[64];                 /* "blast" */
    bool positive[CF_MAX_CLASSES]; /* [n_classes]: the classes whose probabilities are added */
} cf_question;

typedef struct cf_alias {
    char from[256];
    int to; /* class index; -1: dropped on purpose */
} cf_alias;

typedef struct cf_scheme {
    char name[64];
    char title[256];
    char citation[512];
    cf_class *classes; /* owned, [n_classes] */
    int n_classes;
    char (*node_names)[CF_CODE_MAX]; /* owned, [n_nodes] */
    int *class_of;                   /* owned, [n_nodes] class of each output node */
    int n_nodes;
    uint8_t *tolerant;      /* owned, [n_classes * n_classes] 1 where i and j are a tolerance pair
                               (symmetric,      diagonal 0) */
    cf_question *questions; /* owned */
    int n_questions;
    uint8_t *no_confident; /* owned, [n_classes] 1 for a class that says "no confident class"
                              (artefacts, not identifiable) */
    int n_no_confident;    /* such classes */
    cf_alias *aliases;     /* owned: labels of other schemes */
    int n_aliases;
    char published_source[512]; /* where the published figures come from; "" for none */
    char *text; /* owned: the file's own text, stored in cells files and run folders */
} cf_scheme;

/* `name_or_path`: "bm7", or a file. Names are looked up in $CYTOFOLD_SHARE/configs/schemes, then in
 * <prefix>/share/cytofold/configs/schemes, then in the source tree of the build. Errors: CF_E_USAGE
 * with path:line:column. */
CF_CHECKED cf_err cf_scheme_read(const char *name_or_path, cf_scheme *scheme);
CF_CHECKED cf_err cf_scheme_parse(const char *name, const char *text, size_t n, cf_scheme *scheme);
/* A scheme without nodes to merge or pairs, one class a code, in the given order (for data without
 * a scheme file: pack --scheme auto). */
CF_CHECKED cf_err cf_scheme_from_codes(const char *const *codes, int n, cf_scheme *scheme);
void cf_scheme_fini(cf_scheme *scheme);

/* Class index of a code, name or alias. -1: dropped by an alias; -2: unknown. */
int cf_scheme_find(const cf_scheme *scheme, const char *label);
/* Adds node probabilities into class probabilities; nodes [n_nodes], classes [n_classes]. */
void cf_scheme_merge(const cf_scheme *scheme, const double *nodes, double *classes);
/* Class probabilities of one image: softmax in double precision, then merged. logits: [n_nodes];
 * nodes: scratch, [n_nodes]; classes: [n_classes]. */
void cf_scheme_probabilities(const cf_scheme *scheme, const float *logits, double *nodes,
                             double *classes);
/* The class of the highest probability, the first on a tie. */
int cf_scheme_highest(const cf_scheme *scheme, const double *classes);

#endif
