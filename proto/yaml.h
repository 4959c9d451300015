/* A strict YAML reader: libyaml's documents with line and column of every node, and without the
 * parts of YAML that surprise.
 *
 * Refused: files over 1 MiB, more than CF_YAML_MAX_NODES nodes, nesting over CF_YAML_MAX_DEPTH,
 * more than one document, directives, anchors, aliases and tags, keys that are no plain scalars, a
 * key twice. Numbers and truth values must be unquoted and unmistakable; texts may be quoted. All
 * errors are CF_E_USAGE "name:line:column: ...". Threads: a parsed document is read-only. Read
 * first: cf_yaml_parse, cf_yaml_node. */
#ifndef CF_PROTO_YAML_H
#define CF_PROTO_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum {
    CF_YAML_MAX_BYTES = 1 << 20,
    CF_YAML_MAX_NODES = 100000,
    CF_YAML_MAX_DEPTH = 16,
    CF_YAML_MAX_PAIRS = 4096 /* of one map: duplicates are found by comparing all */
};

typedef struct cf_yaml cf_yaml;

/* One node; valid as long as its document. */
typedef struct cf_yaml_node {
    const cf_yaml *yaml; /* borrowed */
    int index;
} cf_yaml_node;

typedef enum cf_yaml_kind { CF_YAML_SCALAR, CF_YAML_LIST, CF_YAML_MAP } cf_yaml_kind;

/* Parses n bytes of UTF-8; `name` stands before line and column in every message about the
 * document. The result is owned by the caller. */
CF_CHECKED cf_err cf_yaml_parse(const char *name, const char *text, size_t n, cf_yaml **out);
/* Reads and parses a file; *text (may be NULL) receives its content, owned by the caller. A file
 * that cannot be read is CF_E_USAGE too. */
CF_CHECKED cf_err cf_yaml_read(const char *path, cf_yaml **out, char **text);
void cf_yaml_destroy(cf_yaml *yaml); /* accepts NULL */

cf_yaml_node cf_yaml_root(const cf_yaml *yaml);
cf_yaml_kind cf_yaml_node_kind(cf_yaml_node node);
/* Items of a list or pairs of a map; 0 for a scalar. */
int cf_yaml_count(cf_yaml_node node);
cf_yaml_node cf_yaml_item(cf_yaml_node list, int i);
cf_yaml_node cf_yaml_key(cf_yaml_node map, int i);
cf_yaml_node cf_yaml_value(cf_yaml_node map, int i);
/* The value of a key; false when there is none. */
bool cf_yaml_find(cf_yaml_node map, const char *key, cf_yaml_node *value);
/* A scalar's text; "" for other kinds. Borrowed. */
const char *cf_yaml_text(cf_yaml_node node);
/* A scalar written without quotes, which may be a number or a truth value. */
bool cf_yaml_is_unquoted(cf_yaml_node node);

/* CF_E_USAGE with "name:line:column: " of the node before the message. */
CF_CHECKED CF_PRINTF(2, 3) cf_err cf_yaml_fail(cf_yaml_node node, const char *fmt, ...);

/* Values. `what` names the value in messages ("train.epochs"). */
CF_CHECKED cf_err cf_yaml_expect(cf_yaml_node node, cf_yaml_kind kind, const char *what);
CF_CHECKED cf_err cf_yaml_get_bool(cf_yaml_node node, const char *what, bool *value);
CF_CHECKED cf_err cf_yaml_get_integer(cf_yaml_node node, const char *what, int64_t min, int64_t max,
                                      int64_t *value);
CF_CHECKED cf_err cf_yaml_get_number(cf_yaml_node node, const char *what, double min, double max,
                                     double *value);
/* At most room - 1 bytes without control characters; an unquoted nothing or null is refused. */
CF_CHECKED cf_err cf_yaml_get_text(cf_yaml_node node, const char *what, char *value, size_t room);
/* Refuses keys of a map that are not in the list, with the nearest one that is. */
CF_CHECKED cf_err cf_yaml_only_keys(cf_yaml_node map, const char *what, const char *const *keys,
                                    int n);

#endif
