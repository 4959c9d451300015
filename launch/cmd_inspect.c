/* cytofold inspect: what is in a cells file, a checkpoint, a file of weights, a configuration. The
 * kind is told by the file's first bytes, never by its name. */
#include <stdio.h>
#include <string.h>

#include "launch/inspect.h"
#include "launch/verbs.h"
#include "proto/config.h"
#include "proto/file_kind.h"
#include "proto/safetensors.h"
#include "proto/wire.h"

static cf_err run_inspect(int argc, char **argv);

const cf_verb cf_verb_inspect = {
    .name = "inspect",
    .summary = "what is in a cells file, a checkpoint, a safetensors file, a configuration",
    .usage = "FILE [--set key=value]... [--layers] [--json], inspect CONFIG --augment X.cells -o "
             "sheet.png,\n       or inspect --reference",
    .details =
        "Of a configuration: its effective values and the network with its layers, parameters, "
        "multiply-\naccumulates of one image and memory. With --json the counts stand under "
        "parameters (trainable),\nstate (running moments) and macs.",
    .run = run_inspect,
};

typedef cf_err (*inspector)(const cf_inspection *i, cf_buf *out);

/* A short length, and a JSON object behind it: eight bytes of text would be a long one. */
static bool is_safetensors(const cf_map *map)
{
    return map->n_bytes > 8 && cf_get_u64(map->bytes) <= CF_SAFETENSORS_MAX_HEADER &&
           map->bytes[8] == '{';
}

/* Files without a magic are configurations, unless they are known for another program's. */
static cf_err find_inspector(const char *path, inspector *inspect)
{
    cf_map map;
    if (cf_path_is_dir(path))
        return cf_fail(CF_E_DATA,
                       "%s: a folder; inspect takes a cells file, a checkpoint, a safetensors file "
                       "or a configuration",
                       path);
    CF_TRY(cf_map_open(path, &map));
    *inspect = cf_inspect_config;
    if (map.n_bytes >= 8 && memcmp(map.bytes, "CYTOCELL", 8) == 0) *inspect = cf_inspect_cells;
    if (map.n_bytes >= 8 && memcmp(map.bytes, "CYTOCKPT", 8) == 0) *inspect = cf_inspect_checkpoint;
    if (is_safetensors(&map)) *inspect = cf_inspect_weights;
    const cf_file_kind *kind =
        *inspect == cf_inspect_config ? cf_file_kind_find(map.bytes, map.n_bytes) : NULL;
    cf_map_close(&map);
    if (kind == NULL) return CF_OK;
    return cf_fail(CF_E_DATA,
                   "%s: %s; inspect takes a cells file, a checkpoint, a safetensors file or a "
                   "configuration",
                   path, kind->name);
}

static cf_err print(const cf_inspection *i, bool reference)
{
    inspector inspect = NULL;
    cf_buf out = {0};
    cf_err err = CF_OK;
    if (reference) {
        cf_config_reference(&out);
    } else {
        CF_TRY_GOTO(find_inspector(i->path, &inspect), out);
        if (i->augment != NULL && inspect != cf_inspect_config)
            CF_TRY_GOTO(cf_fail(CF_E_USAGE, "%s: --augment takes a configuration", i->path), out);
        CF_TRY_GOTO(i->augment != NULL ? cf_inspect_augment(i, &out) : inspect(i, &out), out);
    }
    CF_TRY_GOTO(cf_buf_check(&out), out);
    fputs(cf_buf_text(&out), stdout);
out:
    cf_buf_fini(&out);
    return err;
}

static cf_err run_inspect(int argc, char **argv)
{
    cf_strings operands = {0}, overrides = {0};
    cf_inspection i = {.overrides = &overrides, .images = 8};
    bool help = false, reference = false;
    const cf_option options[] = {
        {"set", 0, CF_OPTION_MANY, &overrides, 0, 0, "KEY=VALUE",
         "override a key of the configuration"},
        {"scheme", 0, CF_OPTION_TEXT, &i.scheme, 0, 0, "S",
         "class scheme of the network (default: data.scheme)"},
        {"layers", 0, CF_OPTION_FLAG, &i.layers, 0, 0, NULL, "print the graph node by node"},
        {"json", 0, CF_OPTION_FLAG, &i.json, 0, 0, NULL, "print one JSON object"},
        {"augment", 0, CF_OPTION_TEXT, &i.augment, 0, 0, "X.cells",
         "draw a contact sheet: images of X.cells, each beside eight augmented draws"},
        {"output", 'o', CF_OPTION_TEXT, &i.output, 0, 0, "FILE", "the sheet, a PNG"},
        {"images", 0, CF_OPTION_INT, &i.images, 1, 100, "N",
         "images on the sheet (default: 8), spread over the classes"},
        {"reference", 0, CF_OPTION_FLAG, &reference, 0, 0, NULL,
         "print the reference of all configuration keys (Markdown)"},
    };
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_options_parse(&cf_verb_inspect, options, sizeof options / sizeof options[0],
                                 argc, argv, 0, 1, &operands, &help),
                out);
    if (help) goto out;
    if (operands.n == 0 && !reference) {
        err = cf_fail(CF_E_USAGE, "inspect: no file; usage: cytofold inspect %s",
                      cf_verb_inspect.usage);
        goto out;
    }
    if ((i.augment != NULL) != (i.output != NULL)) {
        err = cf_fail(CF_E_USAGE, "inspect: --augment X.cells and -o FILE come together");
        goto out;
    }
    i.path = operands.n > 0 ? operands.items[0] : NULL;
    err = print(&i, reference);
out:
    cf_strings_fini(&overrides);
    cf_strings_fini(&operands);
    return err;
}
