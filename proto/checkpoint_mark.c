/* What tells a fold's checkpoints apart without reading them: the hash in the footer. */
#include <string.h>

#include "proto/checkpoint.h"
#include "proto/checkpoint_layout.h"
#include "proto/text.h"
#include "proto/wire.h"

/* The step of "checkpoint-<step>.ckpt"; -1 for any other name. */
static int64_t step_of(const char *name)
{
    static const char head[] = "checkpoint-", tail[] = ".ckpt";
    char number[32];
    int64_t step = -1;
    size_t n = strlen(name), around = sizeof head + sizeof tail - 2;
    if (n <= around || n - around >= sizeof number) return -1;
    if (strncmp(name, head, sizeof head - 1) != 0) return -1;
    if (strcmp(name + n - (sizeof tail - 1), tail) != 0) return -1;
    memcpy(number, name + sizeof head - 1, n - around);
    number[n - around] = '\0';
    return cf_text_integer(number, &step) ? step : -1;
}

/* False, and *mark left alone, where the end is not a checkpoint's: a file that is cut off is none.
 */
static bool take_mark(const cf_map *map, uint64_t *mark)
{
    if (map->n_bytes < CF_CHECKPOINT_PREAMBLE_BYTES + CF_CHECKPOINT_FOOTER_BYTES) return false;
    const uint8_t *footer = map->bytes + map->n_bytes - CF_CHECKPOINT_FOOTER_BYTES;
    if (cf_get_u64(footer) != map->n_bytes ||
        memcmp(footer + CF_CHECKPOINT_FOOTER_AT_MAGIC, CF_CHECKPOINT_END, 8) != 0)
        return false;
    *mark = cf_get_u64(footer + CF_CHECKPOINT_FOOTER_AT_HASH);
    return true;
}

/* The one of the highest step below *bound, which becomes that step; NULL for none. */
static const char *next_below(const cf_strings *names, int64_t *bound)
{
    const char *next = NULL;
    int64_t highest = -1;
    for (size_t i = 0; i < names->n; i++) {
        int64_t step = step_of(names->items[i]);
        if (step <= highest || step >= *bound) continue;
        highest = step;
        next = names->items[i];
    }
    *bound = highest;
    return next;
}

cf_err cf_checkpoint_newest_mark(const char *fold_dir, uint64_t *mark, bool *found)
{
    cf_strings names = {0};
    const char *name = NULL;
    int64_t bound = INT64_MAX;
    cf_err err = CF_OK;
    *found = false;
    if (!cf_path_is_dir(fold_dir)) return CF_OK;
    CF_TRY(cf_dir_list(fold_dir, &names));
    while (!*found && (name = next_below(&names, &bound)) != NULL) {
        char path[CF_PATH_MAX];
        cf_map map = {0};
        CF_TRY_GOTO(cf_path_join(path, sizeof path, fold_dir, name), out);
        err = cf_map_open(path, &map);
        if (err != CF_OK && !cf_path_exists(path)) { /* a training beside us removed it */
            err = CF_OK;
            continue;
        }
        CF_TRY_GOTO(err, out);
        *found = take_mark(&map, mark);
        cf_map_close(&map);
    }
out:
    cf_strings_fini(&names);
    return err;
}
