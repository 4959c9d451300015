/* Class maps: every class that is said is one of the scheme's, and what a map knows it finds. */
#include "proto/class_map.h"
#include "tests/fuzz/fuzz.h"

static const cf_scheme *scheme(void)
{
    static const char *const codes[] = {"A", "B", "C"};
    static cf_scheme s;
    if (s.n_classes == 0) FUZZ_REQUIRE(cf_scheme_from_codes(codes, 3, &s) == CF_OK);
    return &s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    cf_class_map map;
    cf_err err = cf_class_map_parse("input", (const char *)data, n, scheme(), &map);
    FUZZ_REQUIRE(err == CF_OK || err == CF_E_USAGE);
    for (int i = 0; err == CF_OK && i < map.n; i++) {
        FUZZ_REQUIRE(map.items[i].to >= -1 && map.items[i].to < scheme()->n_classes);
        FUZZ_REQUIRE(cf_class_map_knows(&map, map.items[i].from));
        FUZZ_REQUIRE(cf_class_map_find(&map, scheme(), map.items[i].from) == map.items[i].to);
    }
    cf_class_map_fini(&map);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static const char plain[] = "Neutrophil: A   # a comment\nBasophil: ~\n\"B cell\": B\n";
    static const char flow[] = "{a: A, b: C, 'it''s': ~, 12: B}\n";
    take(context, plain, sizeof plain - 1);
    take(context, flow, sizeof flow - 1);
}
