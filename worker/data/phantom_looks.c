/* Looks of the classes of the schemes that come with the program, after the usual descriptions of
 * May-Gruenwald-Giemsa smears: large pale nuclei with nucleoli in blasts, brick-red granules in
 * eosinophils, and so on. */
#include <string.h>

#include "kernels/base/hash.h"
#include "worker/data/phantom.h"

/* clang-format off */
static const cf_look looks[] = {
    /*code   nucleus     radius share lobes chrom nucleoli dark  cytoplasm    granules    r       colour  vacuoles ragged blur */
    {"BLA", CF_NUCLEUS_ROUND,  .30f, .84f, 0, .35f, 2.0f, .55f, {112, 104, 196},   3, .008f, {120,  50, 150}, 0, .25f, .4f},
    {"PMO", CF_NUCLEUS_ROUND,  .34f, .66f, 0, .40f, 1.2f, .60f, {134, 122, 204},  70, .011f, {126,  36, 136}, 0, .20f, .4f},
    {"MYB", CF_NUCLEUS_ROUND,  .32f, .60f, 0, .50f, 0.2f, .65f, {178, 160, 214},  50, .008f, {160,  90, 170}, 0, .20f, .4f},
    {"MMZ", CF_NUCLEUS_KIDNEY, .30f, .62f, 0, .60f, 0.0f, .72f, {210, 184, 218},  45, .007f, {176, 120, 184}, 0, .20f, .4f},
    {"NGB", CF_NUCLEUS_BAND,   .27f, .62f, 0, .60f, 0.0f, .78f, {222, 196, 222},  45, .007f, {184, 130, 190}, 0, .18f, .4f},
    {"NGS", CF_NUCLEUS_LOBES,  .26f, .64f, 3.6f, .55f, 0.0f, .85f, {226, 200, 224}, 45, .007f, {188, 136, 194}, 0, .18f, .4f},
    {"EOS", CF_NUCLEUS_LOBES,  .27f, .58f, 2.1f, .55f, 0.0f, .80f, {216, 172, 190}, 110, .015f, {170,  88,  90}, 0, .18f, .4f},
    {"ABE", CF_NUCLEUS_LOBES,  .29f, .60f, 2.1f, .50f, 0.0f, .74f, {190, 160, 200}, 80, .016f, {110,  50,  90}, 1, .22f, .4f},
    {"BAS", CF_NUCLEUS_LOBES,  .25f, .62f, 2.4f, .40f, 0.0f, .62f, {206, 180, 212}, 60, .017f, { 60,  22, 100}, 0, .20f, .4f},
    {"MON", CF_NUCLEUS_KIDNEY, .31f, .70f, 0, .45f, 0.1f, .62f, {158, 150, 200},  14, .006f, {150, 100, 170}, 3, .40f, .4f},
    {"MOB", CF_NUCLEUS_ROUND,  .33f, .80f, 0, .35f, 2.0f, .52f, {118, 112, 192},   5, .007f, {130,  70, 160}, 1, .35f, .4f},
    {"PMB", CF_NUCLEUS_KIDNEY, .33f, .70f, 0, .35f, 1.2f, .58f, {130, 122, 200},  50, .009f, {126,  40, 140}, 1, .30f, .4f},
    {"MYO", CF_NUCLEUS_ROUND,  .29f, .82f, 0, .32f, 2.4f, .52f, {120, 114, 200},   4, .008f, {120,  50, 150}, 0, .22f, .4f},
    {"LYT", CF_NUCLEUS_ROUND,  .20f, .84f, 0, .55f, 0.0f, .88f, {146, 150, 222},   1, .008f, {150,  60, 150}, 0, .15f, .4f},
    {"LYI", CF_NUCLEUS_ROUND,  .24f, .84f, 0, .42f, 1.2f, .66f, {120, 122, 206},   1, .008f, {150,  60, 150}, 0, .20f, .4f},
    {"LYA", CF_NUCLEUS_KIDNEY, .29f, .66f, 0, .50f, 0.3f, .72f, {128, 134, 216},   2, .008f, {150,  60, 150}, 1, .50f, .4f},
    {"HAC", CF_NUCLEUS_ROUND,  .26f, .66f, 0, .45f, 0.2f, .68f, {176, 176, 220},   1, .008f, {150,  60, 150}, 0, .90f, .4f},
    {"PLM", CF_NUCLEUS_ROUND,  .29f, .50f, 0, .80f, 0.0f, .82f, { 84,  96, 186},   1, .008f, {120,  60, 150}, 1, .18f, .4f},
    {"PEB", CF_NUCLEUS_ROUND,  .31f, .80f, 0, .50f, 1.2f, .68f, { 66,  78, 172},   0, .008f, {120,  60, 150}, 0, .15f, .4f},
    {"EBO", CF_NUCLEUS_ROUND,  .20f, .60f, 0, .60f, 0.0f, .96f, {168, 160, 196},   0, .008f, {120,  60, 150}, 0, .12f, .4f},
    {"FGC", CF_NUCLEUS_ROUND,  .33f, .66f, 0, .40f, 0.8f, .60f, {150, 128, 204},  90, .013f, {150,  20, 110}, 0, .25f, .4f},
    {"KSC", CF_NUCLEUS_SMUDGE, .32f, .90f, 0, .50f, 0.0f, .40f, {190, 160, 206},   0, .008f, {150,  60, 150}, 0, .90f, .8f},
    {"ART", CF_NUCLEUS_SMUDGE, .28f, .60f, 0, .90f, 0.0f, .80f, {140, 120, 160},  12, .022f, { 50,  40, 110}, 2, 1.0f, .6f},
    {"NIF", CF_NUCLEUS_ROUND,  .27f, .76f, 0, .30f, 0.3f, .74f, {158, 140, 200},  12, .008f, {140,  80, 160}, 0, .35f, 2.4f},
    {"OTH", CF_NUCLEUS_ROUND,  .36f, .46f, 0, .60f, 0.5f, .66f, {196, 182, 226},  24, .009f, {130,  60, 150}, 3, .60f, .4f},
};
/* clang-format on */

/* A stable look for a class that nobody described: the same letters, the same look. */
static cf_look invent(const char *code)
{
    cf_rng rng = cf_rng_at(cf_hash64(code, strlen(code)), 0, 0, 0, CF_PURPOSE_SYNTH);
    cf_look l = {.granule_radius = 0.008f, .blur = 0.4f};
    l.nucleus = (enum cf_nucleus)cf_rng_below(&rng, CF_NUCLEUS_SMUDGE);
    l.radius = 0.20f + 0.14f * cf_rng_uniform(&rng);
    l.nucleus_share = 0.5f + 0.3f * cf_rng_uniform(&rng);
    l.lobes = 2.0f + 2.0f * cf_rng_uniform(&rng);
    l.chromatin = 0.3f + 0.4f * cf_rng_uniform(&rng);
    l.nucleoli = 2.0f * cf_rng_uniform(&rng);
    l.darkness = 0.5f + 0.4f * cf_rng_uniform(&rng);
    l.granules = 80.0f * cf_rng_uniform(&rng);
    l.ragged = 0.1f + 0.4f * cf_rng_uniform(&rng);
    for (int c = 0; c < 3; c++) {
        l.cytoplasm[c] = 110.0f + 30.0f * (float)c + 80.0f * cf_rng_uniform(&rng);
        l.granule[c] = 40.0f + 130.0f * cf_rng_uniform(&rng);
    }
    return l;
}

cf_look cf_phantom_look(const char *code)
{
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++)
        if (strcmp(looks[i].code, code) == 0) return looks[i];
    return invent(code);
}
