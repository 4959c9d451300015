/* The configuration of a run: one YAML file, overrides, one table of keys.
 *
 * Every key stands once, in config_keys.def, with its type, range, unit, default and help text; the
 * reader, `--set`, the effective dump, and the README's reference are made from it. Threads: any;
 * a finished configuration is read-only. Read first: config_keys.def, cf_config. */
#ifndef CF_PROTO_CONFIG_H
#define CF_PROTO_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "kernels/base/file.h"

enum { CF_LIST_MAX = 16 };

typedef struct cf_int_list {
    int64_t items[CF_LIST_MAX];
    int n;
} cf_int_list;

typedef struct cf_num_list {
    double items[CF_LIST_MAX];
    int n;
} cf_num_list;

/* The values of enumerated keys are the index of the word in the table ("sgd|adam|adamw"). */
typedef enum cf_split_kind {
    CF_SPLIT_FOLDS,
    CF_SPLIT_LEAVE_SITE_OUT,
    CF_SPLIT_HOLDOUT
} cf_split_kind;
typedef enum cf_group_by { CF_GROUP_NONE, CF_GROUP_PATIENT, CF_GROUP_SITE } cf_group_by;
typedef enum cf_missing_patient { CF_MISSING_REFUSE, CF_MISSING_OWN } cf_missing_patient;
enum cf_network { CF_NETWORK_RESNEXT, CF_NETWORK_SEQUENTIAL };
enum cf_variant { CF_VARIANT_STANDARD, CF_VARIANT_PAPER };
enum cf_norm_word { CF_NORM_WORD_AUTO, CF_NORM_WORD_NONE, CF_NORM_WORD_BATCH, CF_NORM_WORD_GROUP };
enum cf_stem { CF_STEM_FULL /* 7x7/2 + 3x3/2 pool */, CF_STEM_SMALL /* 3x3, no pool */ };
enum cf_optimizer_word { CF_OPTIMIZER_SGD, CF_OPTIMIZER_ADAM, CF_OPTIMIZER_ADAMW };
enum cf_schedule {
    CF_SCHEDULE_CONSTANT,
    CF_SCHEDULE_COSINE,
    CF_SCHEDULE_ONECYCLE,
    CF_SCHEDULE_STEP
};
enum cf_balance { CF_BALANCE_NATURAL, CF_BALANCE_DRAWS, CF_BALANCE_TEMPERED };
enum cf_precision { CF_PRECISION_FP32, CF_PRECISION_BF16, CF_PRECISION_FP16 }; /* as cf_dtype */
enum cf_stain_profile { CF_STAIN_NONE, CF_STAIN_LIGHT, CF_STAIN_MEDIUM, CF_STAIN_STRONG };
enum cf_run_comm { CF_RUN_COMM_AUTO, CF_RUN_COMM_MPI, CF_RUN_COMM_NCCL };
enum cf_coordinator_mode { CF_COORDINATOR_AUTO, CF_COORDINATOR_RANK, CF_COORDINATOR_THREAD };

typedef struct cf_config {
#define CF_BOOL(section, key, def, help)                 bool section##_##key;
#define CF_INT(section, key, def, min, max, unit, help)  int64_t section##_##key;
#define CF_NUM(section, key, def, min, max, unit, help)  double section##_##key;
#define CF_WORD(section, key, def, words, help)          int section##_##key;
#define CF_TEXT(section, key, def, help)                 char section##_##key[1024];
#define CF_INTS(section, key, def, min, max, unit, help) cf_int_list section##_##key;
#define CF_NUMS(section, key, def, min, max, unit, help) cf_num_list section##_##key;
#include "proto/config_keys.def"
    char path[CF_PATH_MAX]; /* the file it was read from */
} cf_config;

/* All keys at their defaults. */
void cf_config_defaults(cf_config *config);
/* Reads a file over the defaults. Unknown keys, duplicate keys, wrong types, doubtful numbers
 * ("90abc", "1,5", nan, 1e400), values out of range, aliases, deep nesting and files over 1 MiB are
 * CF_E_USAGE with "path:line:column: ..."; *config is then as before. Rules between keys are left
 * to cf_config_validate, since overrides come in between. */
CF_CHECKED cf_err cf_config_read(const char *path, cf_config *config);
/* The same from memory; `name` stands for the path in messages. */
CF_CHECKED cf_err cf_config_parse(const char *name, const char *text, size_t n, cf_config *config);
/* One override "section.key=value"; the value is YAML ("[1, 2]", "adam"). CF_E_USAGE with the text.
 * One of a sweep ("sweep.section.key=[...]"), like the file's section of that name, is checked and
 * else left to cf_sweep_read. */
CF_CHECKED cf_err cf_config_set(cf_config *config, const char *assignment);
/* Rules between keys (micro-batch divides batch, lists of the right length ...). CF_E_USAGE, with
 * the configuration's path. */
CF_CHECKED cf_err cf_config_validate(const cf_config *config);
/* The effective configuration as YAML that cf_config_parse reads back to the same values; with help
 * as comments when `commented`. */
void cf_config_write(const cf_config *config, bool commented, cf_buf *out);
/* Only the keys that a result depends on (those of cf_config_hash): what a checkpoint carries, so
 * that its bytes do not depend on where it was made. */
void cf_config_write_essential(const cf_config *config, cf_buf *out);
/* cf_config_write as JSON: an object of sections where nothing was written yet, else the sections
 * as members of the object that the caller has opened. */
void cf_config_write_json(const cf_config *config, cf_json *json);
/* The key reference as a Markdown table, for the README. */
void cf_config_reference(cf_buf *out);
/* XXH3 of the effective values that a result depends on: without section run, data.cells and
 * data.folds_file and model.init (hashed by content elsewhere), and how often the run saves and
 * tests. CF_E_UNEXPECTED when memory is short: a hash of half a text would part a run from its
 * checkpoints. */
CF_CHECKED cf_err cf_config_hash(const cf_config *config, uint64_t *hash);

#endif
