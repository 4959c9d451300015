#include "proto/class_map.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/text.h"
#include "proto/yaml.h"

/* "~", "null" and nothing at all, unquoted. */
static bool is_null(cf_yaml_node node)
{
    const char *text = cf_yaml_text(node);
    return cf_yaml_is_unquoted(node) &&
           (strcmp(text, "~") == 0 || strcmp(text, "null") == 0 || text[0] == '\0');
}

static cf_err read_pair(cf_yaml_node map, int i, const cf_scheme *s, cf_alias *pair)
{
    char quoted[CF_QUOTE_MAX];
    cf_yaml_node to = cf_yaml_value(map, i);
    CF_TRY(cf_yaml_get_text(cf_yaml_key(map, i), "a label", pair->from, sizeof pair->from));
    pair->to = CF_LABEL_UNKNOWN;
    if (is_null(to)) return CF_OK;
    CF_TRY(cf_yaml_expect(to, CF_YAML_SCALAR, pair->from));
    pair->to = cf_scheme_find(s, cf_yaml_text(to));
    if (pair->to >= 0) return CF_OK;
    return cf_yaml_fail(to, "%s is no class of scheme %s; expected a code, or ~ for none",
                        cf_text_quote(cf_yaml_text(to), quoted), s->name);
}

static cf_err take_map(const cf_yaml *yaml, const cf_scheme *s, cf_class_map *map)
{
    cf_yaml_node root = cf_yaml_root(yaml);
    CF_TRY(cf_yaml_expect(root, CF_YAML_MAP, "the class map"));
    CF_TRY(cf_new(&map->items, (size_t)cf_yaml_count(root), sizeof *map->items));
    for (; map->n < cf_yaml_count(root); map->n++)
        CF_TRY(read_pair(root, map->n, s, &map->items[map->n]));
    return CF_OK;
}

cf_err cf_class_map_parse(const char *name, const char *text, size_t n, const cf_scheme *s,
                          cf_class_map *map)
{
    cf_yaml *yaml = NULL;
    *map = (cf_class_map){0};
    CF_TRY(cf_yaml_parse(name, text, n, &yaml));
    cf_err err = take_map(yaml, s, map);
    cf_yaml_destroy(yaml);
    return err;
}

cf_err cf_class_map_read(const char *path, const cf_scheme *s, cf_class_map *map)
{
    cf_yaml *yaml = NULL;
    *map = (cf_class_map){0};
    CF_TRY(cf_yaml_read(path, &yaml, NULL));
    cf_err err = take_map(yaml, s, map);
    cf_yaml_destroy(yaml);
    return err;
}

void cf_class_map_fini(cf_class_map *map)
{
    free(map->items);
    *map = (cf_class_map){0};
}

static const cf_alias *find(const cf_class_map *map, const char *label)
{
    for (int i = 0; map != NULL && i < map->n; i++)
        if (strcmp(map->items[i].from, label) == 0) return &map->items[i];
    return NULL;
}

bool cf_class_map_knows(const cf_class_map *map, const char *label)
{
    return find(map, label) != NULL;
}

int cf_class_map_find(const cf_class_map *map, const cf_scheme *s, const char *label)
{
    const cf_alias *alias = find(map, label);
    if (alias != NULL) return alias->to;
    int found = cf_scheme_find(s, label);
    return found >= 0 ? found : CF_LABEL_UNKNOWN;
}
