/* Images made on the device have the bits of the host's augmentation, rounded once to their type.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernels/cuda/kernels.h"
#include "upload.h"
#include "worker/data/loader.h"
#include "worker/data/stain.h"

enum { SEED = 25, SIZE = 37, N = 6, N_SLOTS = 8, BYTES = 300000 };

/* Enlarged, reduced by two to six samples, a single pixel, a single row. */
static const int sides[N][2] = {{30, 41}, {200, 210}, {90, 33}, {1, 1}, {1, 200}, {64, 64}};

static cf_config rich_config(void)
{
    cf_config config;
    cf_config_defaults(&config);
    config.model_image_size = SIZE;
    config.augment_rotation = 180;
    config.augment_flip_horizontal = config.augment_flip_vertical = true;
    config.augment_shift = 0.25;
    config.augment_shear = 0.2;
    config.augment_scale_min = 0.8;
    config.augment_scale_max = 1.3;
    config.augment_brightness = 0.3;
    config.augment_contrast = 0.4;
    config.augment_color = 0.2;
    config.augment_erase = 0.5;
    for (int c = 0; c < 3; c++) {
        config.augment_mean.items[c] = 0.4 + 0.1 * c;
        config.augment_std.items[c] = 0.2 + 0.05 * c;
    }
    return config;
}

typedef struct scene {
    uint8_t *store; /* all images one behind the other, at odd offsets */
    void *device;   /* the same there */
    int64_t offset[N];
    cf_augment draws[N];
    cf_normalize normalize;
} scene;

static scene scene_of(int64_t epoch)
{
    const cf_stain stain = {{{0.65f, 0.70f, 0.29f}, {0.27f, 0.68f, 0.68f}}, {1.5f, 2.0f}};
    scene s = {.store = reserve(BYTES)};
    cf_config config = rich_config();
    cf_rng rng = cf_rng_at(SEED, 0, 0, 0, CF_PURPOSE_TEST);
    for (int i = 0; i < BYTES; i++) s.store[i] = (uint8_t)cf_rng_below(&rng, 256);
    int64_t at = 1;
    for (int i = 0; i < N; i++) {
        s.offset[i] = at;
        at += (int64_t)sides[i][0] * sides[i][1] * 3;
        cf_augment_draw(&config, sides[i][0], sides[i][1], 0, epoch, i, &s.draws[i]);
        config.augment_stain = i % 4; /* none and the three profiles */
        cf_stain_draw(&config, &stain, 0, epoch, i, &s.draws[i].stain);
    }
    assert_true(at <= BYTES);
    cf_normalize_from(&config, &s.normalize);
    s.device = upload(s.store, BYTES);
    return s;
}

static void scene_fini(scene *s)
{
    free(s->store);
    CUDA_OK(cudaFree(s->device));
}

/* [N_SLOTS, SIZE, SIZE, c_stored] as the host makes it. */
static void fill_expected(const scene *s, cf_dtype dtype, int c_stored, void *out)
{
    float *image = reserve(SIZE * SIZE * 3 * sizeof *image);
    for (int n = 0; n < N; n++) {
        cf_augment_apply(s->store + s->offset[n], sides[n][0], sides[n][1], &s->draws[n],
                         &s->normalize, SIZE, image);
        for (int i = 0; i < SIZE * SIZE; i++)
            for (int c = 0; c < 3; c++)
                store_as(dtype, out, (int64_t)(n * SIZE * SIZE + i) * c_stored + c,
                         image[3 * i + c]);
    }
    free(image);
}

static void augment_and_compare(const scene *s, cf_dtype dtype, int c_stored)
{
    size_t bytes = (size_t)(N_SLOTS * SIZE * SIZE * c_stored) * cf_dtype_bytes(dtype);
    unsigned char *expected = reserve(bytes), *found = reserve(bytes); /* zeros */
    fill_expected(s, dtype, c_stored, expected);
    cf_cuda_image images[N];
    for (int i = 0; i < N; i++)
        images[i] = (cf_cuda_image){(const uint8_t *)s->device + s->offset[i], sides[i][0],
                                    sides[i][1], s->draws[i]};
    void *d_images = upload(images, sizeof images), *out = upload(NULL, bytes);
    OK(cf_cuda_augment(NULL, d_images, N, N_SLOTS, &s->normalize, SIZE, dtype, c_stored, out));
    download(found, out, bytes);
    size_t image = bytes / N_SLOTS;
    for (size_t n = 0; n < N_SLOTS; n++)
        if (memcmp(found + n * image, expected + n * image, image) != 0)
            fail_msg("image %zu as %s with %d channels has other bits than the host's", n,
                     cf_dtype_name(dtype), c_stored);
    CUDA_OK(cudaFree(d_images));
    CUDA_OK(cudaFree(out));
    free(expected);
    free(found);
}

static void images_have_the_bits_of_the_host(void **state)
{
    (void)state;
    for (int64_t epoch = 0; epoch < 5; epoch++) {
        scene s = scene_of(epoch);
        augment_and_compare(&s, CF_BF16, 4);
        augment_and_compare(&s, CF_F16, 4);
        augment_and_compare(&s, CF_F32, 4);
        augment_and_compare(&s, CF_F32, 3);
        augment_and_compare(&s, CF_BF16, 8);
        scene_fini(&s);
    }
}

static void a_micro_batch_without_images_is_zero(void **state)
{
    (void)state;
    enum { BYTES_OUT = 2 * 5 * 5 * 4 * 2 };
    const cf_normalize normalize = {{0.5f, 0.5f, 0.5f}, {1.0f, 1.0f, 1.0f}};
    unsigned char found[BYTES_OUT], zeros[BYTES_OUT] = {0};
    void *out = upload(NULL, BYTES_OUT);
    OK(cf_cuda_augment(NULL, NULL, 0, 2, &normalize, 5, CF_BF16, 4, out));
    download(found, out, BYTES_OUT);
    assert_memory_equal(found, zeros, BYTES_OUT);
    CUDA_OK(cudaFree(out));
}

/* fp32 [rows, c] to every type and padding. */
static void convert_and_compare(int64_t rows, int c, cf_dtype dtype, int c_stored)
{
    cf_rng rng = cf_rng_at(SEED, 0, 0, (uint32_t)rows, CF_PURPOSE_TEST);
    size_t bytes = (size_t)(rows * c_stored) * cf_dtype_bytes(dtype);
    float *in = reserve((size_t)(rows * c) * sizeof *in);
    unsigned char *expected = reserve(bytes + 8), *found = reserve(bytes + 8);
    for (int64_t i = 0; i < rows * c; i++) {
        in[i] = cf_rng_uniform(&rng) * 6.0f - 3.0f;
        store_as(dtype, expected, i / c * c_stored + i % c, in[i]);
    }
    memset(expected + bytes, 0xFF, 8); /* nothing is written past the end */
    void *d_in = upload(in, (size_t)(rows * c) * sizeof *in), *out = upload(NULL, bytes + 8);
    OK(cf_cuda_convert(NULL, d_in, rows, c, dtype, c_stored, out));
    download(found, out, bytes + 8);
    assert_memory_equal(found, expected, bytes + 8);
    CUDA_OK(cudaFree(d_in));
    CUDA_OK(cudaFree(out));
    free(in);
    free(expected);
    free(found);
}

static void conversion_rounds_and_pads(void **state)
{
    (void)state;
    for (int t = CF_F32; t <= CF_F16; t++) {
        convert_and_compare(700, 3, (cf_dtype)t, 4);
        convert_and_compare(257, 4, (cf_dtype)t, 4);
        convert_and_compare(99, 3, (cf_dtype)t, 8);
        convert_and_compare(101, 3, (cf_dtype)t, 3);
        convert_and_compare(1, 1, (cf_dtype)t, 4);
    }
}

static void widening_is_exact(void **state)
{
    (void)state;
    enum { ELEMENTS = 777 };
    cf_rng rng = cf_rng_at(SEED, 0, 0, 1, CF_PURPOSE_TEST);
    for (int t = CF_F32; t <= CF_F16; t++) {
        cf_dtype dtype = (cf_dtype)t;
        size_t bytes = ELEMENTS * cf_dtype_bytes(dtype);
        unsigned char *in = reserve(bytes);
        float found[ELEMENTS];
        for (int i = 0; i < ELEMENTS; i++)
            store_as(dtype, in, i, cf_rng_uniform(&rng) * (i % 3 ? 9.0f : 1e-6f));
        void *d_in = upload(in, bytes), *out = upload(NULL, sizeof found);
        OK(cf_cuda_widen(NULL, dtype, d_in, ELEMENTS, out));
        download(found, out, sizeof found);
        for (int i = 0; i < ELEMENTS; i++) assert_true(found[i] == load_as(dtype, in, i));
        CUDA_OK(cudaFree(d_in));
        CUDA_OK(cudaFree(out));
        free(in);
    }
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_have_the_bits_of_the_host),
        cmocka_unit_test(a_micro_batch_without_images_is_zero),
        cmocka_unit_test(conversion_rounds_and_pads),
        cmocka_unit_test(widening_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
