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

/* False where the end is not a checkpoint's: a file that is cut off is none. */
static bool take_mark(const cf_map *map, uint64_t *mark)
{
    if (map->n_bytes < CF_CHECKPOINT_PREAMBLE_BYTES + CF_CHECKPOINT_FOOTER_BYTES) return false;
    const uint8_t *footer = map->bytes + map->n_bytes - CF_CHECKPOINT_FOOTER_BYTES;
    *mark = cf_get_u64(footer + CF_CHECKPOINT_FOOTER_AT_HASH);
    return cf_get_u64(footer) == map->n_bytes &&
           memcmp(footer + CF_CHECKPOINT_FOOTER_AT_MAGIC, CF_CHECKPOINT_END, 8) == 0;
}

cf_err cf_checkpoint_newest_mark(const char *fold_dir, uint64_t *mark, bool *found)
{
    cf_strings names = {0};
    int64_t newest = -1;
    cf_err err = CF_OK;
    *found = false;
    if (!cf_path_is_dir(fold_dir)) return CF_OK;
    CF_TRY(cf_dir_list(fold_dir, &names));
    for (size_t i = 0; i < names.n; i++) {
        char path[CF_PATH_MAX];
        uint64_t value = 0;
        cf_map map = {0};
        int64_t step = step_of(names.items[i]);
        if (step <= newest) continue;
        CF_TRY_GOTO(cf_path_join(path, sizeof path, fold_dir, names.items[i]), out);
        CF_TRY_GOTO(cf_map_open(path, &map), out);
        if (take_mark(&map, &value)) {
            newest = step;
            *mark = value;
            *found = true;
        }
        cf_map_close(&map);
    }
out:
    cf_strings_fini(&names);
    return err;
}
