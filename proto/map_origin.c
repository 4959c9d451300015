#include "proto/map_origin.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/checkpoint.h"

enum { MAX_BYTES = 1 << 20 };

cf_err cf_map_origin_mark(const char *run_dir, int fold, char text[CF_MAP_MARK_MAX])
{
    char name[32], dir[CF_PATH_MAX];
    uint64_t mark = 0;
    bool found = false;
    snprintf(name, sizeof name, "fold-%d", fold);
    CF_TRY(cf_path_join(dir, sizeof dir, run_dir, name));
    CF_TRY(cf_checkpoint_newest_mark(dir, &mark, &found));
    snprintf(text, CF_MAP_MARK_MAX, "%016llx", (unsigned long long)mark);
    if (!found) text[0] = '\0';
    return CF_OK;
}

static cf_err compare(const char *run_dir, const json_t *root, bool *earlier)
{
    const json_t *folds = json_object_get(root, "folds");
    for (size_t i = 0; i < json_array_size(folds); i++) {
        const json_t *fold = json_object_get(json_array_get(folds, i), "fold");
        const json_t *then = json_object_get(json_array_get(folds, i), "checkpoint");
        char now[CF_MAP_MARK_MAX];
        if (!json_is_integer(fold) || !json_is_string(then)) continue;
        CF_TRY(cf_map_origin_mark(run_dir, (int)json_integer_value(fold), now));
        *earlier |= now[0] != '\0' && strcmp(now, json_string_value(then)) != 0;
    }
    return CF_OK;
}

cf_err cf_map_origin_is_earlier(const char *run_dir, bool *earlier)
{
    char path[CF_PATH_MAX], *text = NULL;
    size_t n = 0;
    json_error_t fault;
    *earlier = false;
    CF_TRY(cf_path_join(path, sizeof path, run_dir, "embed.json"));
    if (!cf_path_exists(path)) return CF_OK;
    CF_TRY(cf_file_read(path, MAX_BYTES, &text, &n));
    json_t *root = json_loadb(text, n, 0, &fault);
    free(text);
    if (root == NULL)
        return cf_fail(CF_E_DATA, "%s:%d:%d: %s", path, fault.line, fault.column, fault.text);
    cf_err err = compare(run_dir, root, earlier);
    json_decref(root);
    return err;
}
