/* Class schemes: the text that a scheme keeps gives the same scheme again. */
#include <string.h>

#include "kernels/base/file.h"
#include "proto/scheme.h"
#include "tests/fuzz/fuzz.h"

static void require_same(const cf_scheme *a, const cf_scheme *b)
{
    FUZZ_REQUIRE(a->n_classes == b->n_classes && a->n_nodes == b->n_nodes);
    FUZZ_REQUIRE(a->n_aliases == b->n_aliases && a->n_questions == b->n_questions);
    for (int c = 0; c < a->n_classes; c++) {
        FUZZ_REQUIRE(strcmp(a->classes[c].code, b->classes[c].code) == 0);
        FUZZ_REQUIRE(cf_name_is_safe(a->classes[c].code)); /* a column, a folder */
        FUZZ_REQUIRE(cf_scheme_find(a, a->classes[c].code) == c);
        FUZZ_REQUIRE(cf_scheme_find(a, a->classes[c].name) == c);
    }
    for (int o = 0; o < a->n_nodes; o++)
        FUZZ_REQUIRE(a->class_of[o] >= 0 && a->class_of[o] < a->n_classes);
    for (int i = 0; i < a->n_aliases; i++)
        FUZZ_REQUIRE(a->aliases[i].to >= -1 && a->aliases[i].to < a->n_classes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    cf_scheme s, again;
    if (cf_scheme_parse("input", (const char *)data, n, &s) != CF_OK) return 0;
    FUZZ_REQUIRE(cf_scheme_parse("again", s.text, strlen(s.text), &again) == CF_OK);
    require_same(&s, &again);
    cf_scheme_fini(&again);
    cf_scheme_fini(&s);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static const char small[] =
        "name: tiny\nclasses:\n  - {code: A, name: Alpha, color: \"#ff00aa\", lineage: x}\n"
        "  - {code: B}\n  - {code: C}\nmerged_nodes: {B: [B_1, B_2]}\n"
        "tolerance: [[A, B]]\nquestions: {blast: [A]}\naliases: {Beta: B}\ndropped: [Delta]\n";
    static const char quoted[] =
        "name: p\ntitle: \"with \\x41 escapes\"\ncitation: 'it''s'\nclasses:\n  - code: 'A'\n"
        "    published:\n      images: 12\n      recall_strict: [.5, 0.1]\n"
        "  - code: \"\\u00e4\"\n";
    take(context, small, sizeof small - 1);
    take(context, quoted, sizeof quoted - 1);
    cf_scheme s; /* the largest one there is */
    if (cf_scheme_read("matek2021", &s) != CF_OK) return;
    take(context, s.text, strlen(s.text));
    cf_scheme_fini(&s);
}
