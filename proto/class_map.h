/* A class map: labels of another centre to classes of a scheme, as a YAML file of one map:
 *
 *   Neutrophil: NGS   # a code, a name or an alias of the scheme
 *   Basophil: ~       # no counterpart: such images have no class
 *
 * It goes before what the scheme itself says of a label. Threads: a read map is read-only. Read
 * first: cf_class_map_find. */
#ifndef CF_PROTO_CLASS_MAP_H
#define CF_PROTO_CLASS_MAP_H

#include "kernels/base/err.h"
#include "proto/scheme.h"

typedef struct cf_class_map {
    cf_alias *items; /* owned, [n]; to: class index, or CF_LABEL_UNKNOWN */
    int n;
} cf_class_map;

/* Errors: CF_E_USAGE with path:line:column: a file that cannot be read, a label twice, a class that
 * the scheme does not know. Release with fini in any case. */
CF_CHECKED cf_err cf_class_map_read(const char *path, const cf_scheme *s, cf_class_map *map);
CF_CHECKED cf_err cf_class_map_parse(const char *name, const char *text, size_t n,
                                     const cf_scheme *s, cf_class_map *map);
void cf_class_map_fini(cf_class_map *map);

/* Class index of a label, by the map or, where that does not know it, by the scheme (code, name,
 * alias); CF_LABEL_UNKNOWN for a label without a class. map: NULL for none. */
int cf_class_map_find(const cf_class_map *map, const cf_scheme *s, const char *label);
/* Whether the map itself says something of a label. map: NULL for none. */
bool cf_class_map_knows(const cf_class_map *map, const char *label);

#endif
