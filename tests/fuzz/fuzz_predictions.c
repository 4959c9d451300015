/* Predictions: what is taken, written and read again is the same. */
#include <math.h>
#include <string.h>

#include "proto/csv.h"
#include "tests/fuzz/fuzz.h"

static const cf_scheme *scheme(void)
{
    static const char text[] = "name: tiny\nclasses:\n  - {code: A, name: Alpha}\n  - {code: B}\n"
                               "  - {code: C}\nmerged_nodes: {B: [B_1, B_2]}\naliases: {Beta: B}\n"
                               "dropped: [Delta]\n";
    static cf_scheme s;
    if (s.n_classes == 0) FUZZ_REQUIRE(cf_scheme_parse("tiny", text, sizeof text - 1, &s) == CF_OK);
    return &s;
}

static void require_same(const cf_predictions *a, const cf_predictions *b)
{
    FUZZ_REQUIRE(a->n == b->n && a->n_classes == b->n_classes);
    for (int64_t i = 0; i < a->n; i++) {
        FUZZ_REQUIRE(strcmp(a->ids[i], b->ids[i]) == 0 && strcmp(a->sites[i], b->sites[i]) == 0);
        FUZZ_REQUIRE(a->folds[i] == b->folds[i] && a->labels[i] == b->labels[i]);
        FUZZ_REQUIRE(a->predicted[i] == b->predicted[i]);
    }
    for (int64_t i = 0; i < a->n * a->n_classes; i++) /* nine digits were written */
        FUZZ_REQUIRE(fabs(a->p[i] - b->p[i]) <= 1e-8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    cf_predictions p, again;
    if (cf_predictions_read_any(fuzz_file(data, n, ".csv"), scheme(), &p) != CF_OK) return 0;
    const char *path = fuzz_scratch();
    FUZZ_REQUIRE(cf_predictions_write(path, scheme(), &p) == CF_OK);
    cf_err err = cf_predictions_read_any(path, scheme(), &again);
    if (err != CF_OK) fprintf(stderr, "%s\n", cf_err_text());
    FUZZ_REQUIRE(err == CF_OK);
    require_same(&p, &again);
    cf_predictions_fini(&again);
    FUZZ_REQUIRE(cf_predictions_read(path, scheme(), &again) == (p.n_unknown ? CF_E_DATA : CF_OK));
    cf_predictions_fini(&again);
    int64_t n_known = p.n - p.n_unknown;
    cf_predictions_drop_unknown(&p);
    FUZZ_REQUIRE(p.n == n_known && p.n_unknown == 0);
    for (int64_t i = 0; i < p.n; i++) FUZZ_REQUIRE(p.labels[i] >= 0);
    cf_predictions_fini(&p);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static const char classes[] = "id,site,fold,label,predicted,p_A,p_B,p_C\n"
                                  "a.png,Munich,0,A,A,.7,0.2,1e-1\n"
                                  "\"b,\"\"1\",,1,Beta,C,0,0.5,0.5\n"
                                  "'=x,'-y,2,B,B,0.25,0.5,0.25\n";
    static const char logits[] = "id,label,predicted,z_A,z_B_1,z_B_2,z_C\r\n"
                                 "a,A,A,3,1,-2,0.5\r\nb,B,B,1,1,1,1\r\n";
    static const char nodes[] = "\xef\xbb\xbfpredicted,p_A,p_B_1,p_B_2,p_C,label,id\n"
                                "A,1,0,0,0,Alpha,x\n";
    static const char unlabelled[] = "id,fold,label,predicted,p_A,p_B,p_C\n"
                                     "a.png,,,A,.7,0.2,1e-1\nb.png,1,B,B,0,1,0\n";
    take(context, unlabelled, sizeof unlabelled - 1);
    take(context, classes, sizeof classes - 1);
    take(context, logits, sizeof logits - 1);
    take(context, nodes, sizeof nodes - 1);
}
