/* The section `sweep` of a configuration: keys with lists of values, whose Cartesian product is the
 * points of a sweep.
 *
 *   sweep:
 *     train.learning_rate: [0.001, 0.003]
 *     model.network: [resnext, sequential]
 *
 * Points are numbered from 0 in the order of writing, the last key changing fastest. Each value
 * keeps the rule of its key. Only keys that change a result may stand here, and none of section
 * data: all points share one split, so that they can be compared image by image. Threads: any; a
 * finished sweep is read-only. Read first: cf_sweep, cf_sweep_read. */
#ifndef CF_PROTO_SWEEP_H
#define CF_PROTO_SWEEP_H

#include "proto/config.h"
#include "proto/yaml.h"

enum { CF_SWEEP_MAX_AXES = 8, CF_SWEEP_MAX_POINTS = 256 };

typedef struct cf_sweep_axis {
    char path[64];     /* "train.learning_rate" */
    cf_strings values; /* owned: YAML texts that read back to the same bits, each once */
} cf_sweep_axis;

typedef struct cf_sweep {
    cf_sweep_axis axes[CF_SWEEP_MAX_AXES];
    int n_axes;   /* 0: the configuration has no sweep */
    int n_points; /* 0 without axes */
} cf_sweep;

/* The sweep of a configuration file with its overrides: "sweep.KEY=[...]" gives a key other values
 * or adds one, other overrides are looked at only for a key that the sweep gives values to, which
 * is refused. overrides may be NULL. Release with fini in any case. CF_E_USAGE with
 * "path:line:column: ...". */
CF_CHECKED cf_err cf_sweep_read(const char *path, const cf_strings *overrides, cf_sweep *sweep);
/* Adds the pairs of a map to `sweep`: for the reader of configurations. */
CF_CHECKED cf_err cf_sweep_take_map(cf_sweep *sweep, cf_yaml_node map);
/* One override "sweep.KEY=[...]". */
CF_CHECKED cf_err cf_sweep_set(cf_sweep *sweep, const char *assignment);
/* Whether an override is one of a sweep's. */
bool cf_sweep_is_override(const char *assignment);
void cf_sweep_fini(cf_sweep *sweep);

/* The value of an axis at a point. Borrowed. */
const char *cf_sweep_value(const cf_sweep *sweep, int point, int axis);
/* The overrides of a point: those given, without the sweep's own, then "KEY=VALUE" of each axis.
 * out: empty; owned by the caller, also after a failure. */
CF_CHECKED cf_err cf_sweep_overrides(const cf_sweep *sweep, int point, const cf_strings *overrides,
                                     cf_strings *out);
/* "point-007", the name of a point's run folder. */
void cf_sweep_name(int point, char name[32]);
/* Appends "train.learning_rate 0.001, model.network resnext". */
void cf_sweep_describe(const cf_sweep *sweep, int point, cf_buf *out);
/* Appends the section as YAML that reads back to the same sweep, with the points as comments. */
void cf_sweep_write(const cf_sweep *sweep, cf_buf *out);

#endif
