/* The table made from config_keys.def: one row a key, with the place of its value in a cf_config.
 * Only for the files that read and write configurations. Read first: cf_key. */
#ifndef CF_PROTO_CONFIG_TABLE_H
#define CF_PROTO_CONFIG_TABLE_H

#include <stddef.h>

#include "proto/config.h"
#include "proto/yaml.h"

enum { CF_TEXT_MAX = 1024, CF_WORDS_MAX = 8 };

typedef enum cf_key_type {
    CF_KEY_BOOL,
    CF_KEY_INT,
    CF_KEY_NUM,
    CF_KEY_WORD,
    CF_KEY_TEXT,
    CF_KEY_INTS,
    CF_KEY_NUMS
} cf_key_type;

typedef struct cf_key {
    const char *section, *name;
    const char *path; /* "train.epochs" */
    cf_key_type type;
    size_t offset;     /* of the value in a cf_config */
    const char *def;   /* the default as YAML */
    double min, max;   /* INT, NUM, INTS, NUMS */
    const char *unit;  /* "" for none */
    const char *words; /* WORD: "sgd|adam|adamw" */
    const char *help;
} cf_key;

/* All keys in the order of the file. */
const cf_key *cf_config_keys(int *n);
/* A key by its path, or NULL. */
const cf_key *cf_config_key(const char *path);
/* The words of a WORD key cut apart into `storage`; returns how many. */
int cf_key_words(const cf_key *key, char storage[256], const char *words[CF_WORDS_MAX]);
/* Where the value lies. */
void *cf_key_value(const cf_key *key, cf_config *config);
const void *cf_key_value_const(const cf_key *key, const cf_config *config);
/* Where a job runs and how often it saves and looks does not change what it computes; the split's
 * file is hashed by its content, elsewhere. */
bool cf_key_changes_result(const cf_key *key);
/* Reads a value over the one in *config by the key's own rule. CF_E_USAGE "name:line:column: ...".
 */
CF_CHECKED cf_err cf_key_read(const cf_key *key, cf_yaml_node node, cf_config *config);
/* Appends the value as YAML that reads back to the same bits. */
void cf_key_write(const cf_key *key, const cf_config *config, cf_buf *out);

#endif
