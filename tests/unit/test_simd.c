/* Parts of vectors: every number of lanes, in fp32 and bf16, against one element after the other; a
 * page that must not be touched lies behind the array, and marks behind what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "kernels/cpu/simd.h"

enum { PAGE = 4096, MARK = 0x5a };

/* Memory whose last byte is the last that may be read. */
static uint8_t *make_edge(void)
{
    uint8_t *pages =
        mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + PAGE, PAGE, PROT_NONE), 0);
    return pages + PAGE;
}

static size_t size_of(cf_dtype dtype)
{
    return dtype == CF_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* Small whole numbers, which are what they are in bf16. */
static void fill(uint8_t *p, int n, cf_dtype dtype)
{
    for (int i = 0; i < n; i++) {
        float x = (float)(i + 1);
        uint32_t u;
        memcpy(&u, &x, sizeof u);
        uint16_t h = (uint16_t)(u >> 16);
        memcpy(p + (size_t)i * size_of(dtype), dtype == CF_F32 ? (void *)&x : (void *)&h,
               size_of(dtype));
    }
}

static void assert_stored(const uint8_t *p, int n, cf_dtype dtype, const uint8_t *end)
{
    for (int i = 0; i < n; i++) assert_true(cf_scalar_load(p, i, dtype) == (float)(i + 1));
    for (const uint8_t *q = p + (size_t)n * size_of(dtype); q < end; q++)
        assert_int_equal(*q, MARK);
}

CF_INLINE void check_vector(uint8_t *edge, int lanes, cf_dtype dtype)
{
    uint8_t *from = edge - (size_t)lanes * size_of(dtype), *to = edge - PAGE;
    fill(from, lanes, dtype);
    cf_vec x = cf_vec_load_part(from, 0, dtype, lanes);
    for (int l = 0; l < CF_LANES; l++) assert_true(x[l] == (l < lanes ? (float)(l + 1) : 0.0f));
    memset(to, MARK, 128);
    cf_vec_store_part(to, 0, dtype, lanes, x);
    assert_stored(to, lanes, dtype, to + 128);
    cf_vec_store_part(from, 0, dtype, lanes, x); /* nothing behind is written either */
}

CF_INLINE void check_pair(uint8_t *edge, int lanes, cf_dtype dtype)
{
    uint8_t *from = edge - (size_t)lanes * size_of(dtype), *to = edge - PAGE;
    fill(from, lanes, dtype);
    cf_pair x = cf_pair_load(from, 0, dtype, lanes);
    for (int l = 0; l < CF_PAIR; l++) {
        float found = l < CF_LANES ? x.a[l] : x.b[l - CF_LANES];
        int element = cf_pair_element(l, dtype);
        assert_true(found == (element < lanes ? (float)(element + 1) : 0.0f));
    }
    memset(to, MARK, 256);
    cf_pair_store(to, 0, dtype, lanes, x);
    assert_stored(to, lanes, dtype, to + 256);
    cf_pair_store(from, 0, dtype, lanes, x);
}

static void parts_of_vectors_touch_their_lanes_only(void **state)
{
    (void)state;
    uint8_t *edge = make_edge();
    for (int lanes = 0; lanes <= CF_LANES; lanes++) {
        check_vector(edge, lanes, CF_F32);
        check_vector(edge, lanes, CF_BF16);
    }
    assert_int_equal(munmap(edge - PAGE, 2 * PAGE), 0);
}

static void parts_of_pairs_touch_their_lanes_only(void **state)
{
    (void)state;
    uint8_t *edge = make_edge();
    for (int lanes = 0; lanes <= CF_PAIR; lanes++) {
        check_pair(edge, lanes, CF_F32);
        check_pair(edge, lanes, CF_BF16);
    }
    assert_int_equal(munmap(edge - PAGE, 2 * PAGE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_of_vectors_touch_their_lanes_only),
        cmocka_unit_test(parts_of_pairs_touch_their_lanes_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
