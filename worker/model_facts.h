/* What a file of weights says about its network, as lines of text: classes, what images it wants,
 * where it comes from. Threads: any. Read first: cf_facts_of_run. */
#ifndef CF_WORKER_MODEL_FACTS_H
#define CF_WORKER_MODEL_FACTS_H

#include "proto/safetensors.h"
#include "worker/saved.h"

/* Keys that are read again. */
#define CF_FACT_NAMES  "names"           /* a word of cf_naming */
#define CF_FACT_NODES  "nodes"           /* names of the output nodes, a JSON list */
#define CF_FACT_CONFIG "cytofold.config" /* the keys that a result depends on, YAML */
#define CF_FACT_SCHEME "cytofold.scheme" /* the scheme's own file */
#define CF_FACT_IMAGES "images"          /* "160 x 160 px, 0.0863 um/px": as they were packed */

enum { CF_MAX_FACTS = 24 };

typedef struct cf_facts {
    cf_safetensor_note items[CF_MAX_FACTS]; /* keys: static; values: owned */
    int n;
} cf_facts;

/* All that a reader needs to use the networks of run->folds: classes (codes, names, nodes, which
 * class each node adds to), image size, mean and std, zoom, folds, configuration and scheme. Add
 * CF_FACT_NAMES and the like with cf_facts_add. Release with fini in any case. */
CF_CHECKED cf_err cf_facts_of_run(const cf_saved *run, cf_facts *facts);
/* value: copied. */
CF_CHECKED cf_err cf_facts_add(cf_facts *facts, const char *key, const char *value);
void cf_facts_fini(cf_facts *facts);

/* The value of CF_FACT_NODES. */
void cf_fact_nodes(const cf_scheme *scheme, cf_buf *out);

#endif
