/* The flat weights into a program's copy: rounding, padding, and nothing else touched. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernels/cuda/kernels.h"
#include "upload.h"

enum { SEED = 23, N_ITEMS = 8, FLAT = 200000, ROOM = 1 << 20 };

/* [rows, c] as [rows, c_stored]; the seventh is longer than one round of a block. */
static const int64_t shapes[N_ITEMS][3] = {{64, 3, 4},   {10, 16, 16}, {7, 1, 1},       {33, 5, 8},
                                           {64, 49, 49}, {1, 4, 4},    {300, 256, 256}, {3, 2, 4}};

/* Lays the tensors out one behind the other, 16-byte aligned, with a gap; returns bytes used. */
static int64_t lay_out(cf_cuda_pack_item items[N_ITEMS], int64_t *most)
{
    int64_t from = 1, to = 16;
    for (int i = 0; i < N_ITEMS; i++) {
        int64_t rows = shapes[i][0], stored = rows * shapes[i][2];
        cf_dtype dtype = (cf_dtype)(i % 3);
        items[i] = (cf_cuda_pack_item){
            from, to, rows * shapes[i][1], (int32_t)shapes[i][1], (int32_t)shapes[i][2], dtype};
        from += items[i].n;
        to += (stored * (int64_t)cf_dtype_bytes(dtype) + 31) / 16 * 16;
        *most = stored > *most ? stored : *most;
    }
    assert_true(from <= FLAT && to <= ROOM);
    return to;
}

static void fill_expected(const cf_cuda_pack_item *item, const float *flat, unsigned char *packed)
{
    for (int64_t i = 0; i < item->n / item->c * item->c_stored; i++) {
        int64_t row = i / item->c_stored, c = i % item->c_stored;
        float x = c < item->c ? flat[item->from + row * item->c + c] : 0.0f;
        store_as(item->dtype, packed + item->to, i, x);
    }
}

static void tensors_are_rounded_and_padded(void **state)
{
    (void)state;
    cf_rng rng = cf_rng_at(SEED, 0, 0, 0, CF_PURPOSE_TEST);
    float *flat = reserve(FLAT * sizeof *flat);
    for (int i = 0; i < FLAT; i++) flat[i] = (cf_rng_uniform(&rng) - 0.5f) * 0.1f;
    cf_cuda_pack_item items[N_ITEMS];
    int64_t most = 0;
    size_t bytes = (size_t)lay_out(items, &most);
    unsigned char *expected = reserve(bytes), *found = reserve(bytes);
    memset(expected, 0xFF, bytes); /* as the memory is before: gaps must stay so */
    for (int i = 0; i < N_ITEMS; i++) fill_expected(&items[i], flat, expected);
    void *d_flat = upload(flat, FLAT * sizeof *flat), *d_items = upload(items, sizeof items);
    void *packed = upload(expected, bytes);
    CUDA_OK(cudaMemset(packed, 0xFF, bytes));
    OK(cf_cuda_pack(NULL, d_items, N_ITEMS, most, d_flat, packed));
    download(found, packed, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (found[i] != expected[i])
            fail_msg("byte %zu is %02x, expected %02x", i, found[i], expected[i]);
    CUDA_OK(cudaFree(d_flat));
    CUDA_OK(cudaFree(d_items));
    CUDA_OK(cudaFree(packed));
    free(flat);
    free(expected);
    free(found);
}

static void too_large_a_tensor_is_refused(void **state)
{
    (void)state;
    assert_int_equal(cf_cuda_pack(NULL, NULL, 1, INT64_C(1) << 32, NULL, NULL), CF_E_DEVICE);
    assert_non_null(strstr(cf_err_text(), "2^32"));
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_rounded_and_padded),
        cmocka_unit_test(too_large_a_tensor_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
