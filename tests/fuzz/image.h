/* What the three image targets share: any bytes are decoded or refused, in bounded memory. */
#ifndef CF_TESTS_FUZZ_IMAGE_H
#define CF_TESTS_FUZZ_IMAGE_H

#include "kernels/base/hash.h"
#include "tests/fuzz/fuzz.h"
#include "worker/data/image.h"

/* Small, so that executions are short: tests/unit/test_bombs.c has the limit that users have. */
enum { FUZZ_MAX_PIXELS = 1 << 18 };

/* Decodes and looks at every pixel, so that one that was never written is found. */
static inline void fuzz_decode(const uint8_t *data, size_t n)
{
    cf_image image;
    cf_err err = cf_image_decode("input", data, n, FUZZ_MAX_PIXELS, &image);
    FUZZ_REQUIRE(err == CF_OK || err == CF_E_DATA);
    FUZZ_REQUIRE((err == CF_OK) == (image.pixels != NULL));
    if (err == CF_OK) {
        FUZZ_REQUIRE(image.height > 0 && image.width > 0);
        FUZZ_REQUIRE((int64_t)image.height * image.width <= FUZZ_MAX_PIXELS);
        uint64_t hash = cf_hash64(image.pixels, (size_t)image.height * (size_t)image.width * 3);
        if (hash == 1) fputs("a hash of one\n", stderr); /* the hash is used */
    }
    cf_image_fini(&image);
}

#endif
