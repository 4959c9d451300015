/* Configurations: what is taken is the same after it was written and read again. */
#include <string.h>

#include "kernels/base/buf.h"
#include "proto/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static cf_config config, again;
    cf_config_defaults(&config);
    if (cf_config_parse("input", (const char *)data, n, &config) != CF_OK) return 0;
    cf_buf text = {0};
    cf_config_write(&config, true, &text);
    cf_config_defaults(&again);
    FUZZ_REQUIRE(cf_buf_check(&text) == CF_OK);
    FUZZ_REQUIRE(cf_config_parse("again", cf_buf_text(&text), text.len, &again) == CF_OK);
    uint64_t first = 0, second = 1;
    FUZZ_REQUIRE(cf_config_hash(&config, &first) == CF_OK);
    FUZZ_REQUIRE(cf_config_hash(&again, &second) == CF_OK);
    FUZZ_REQUIRE(first == second);
    cf_err valid = cf_config_validate(&config);
    FUZZ_REQUIRE(valid == cf_config_validate(&again));
    cf_buf_fini(&text);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static cf_config config;
    cf_buf text = {0};
    cf_config_defaults(&config);
    cf_config_write(&config, false, &text);
    take(context, cf_buf_text(&text), text.len);
    cf_buf_fini(&text);
    static const char small[] = "# a comment\ndata: {cells: 'x.cells', folds: 3}\n"
                                "model:\n  depths: [1, 2]\n  variant: paper\n"
                                "train:\n  learning_rate: 1e-3\n  epochs: 7\n  nesterov: true\n"
                                "augment:\n  mean: [.5, 0.25, 1]\n  rotation: 180.0\n";
    take(context, small, sizeof small - 1);
}
