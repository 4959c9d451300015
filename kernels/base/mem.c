#include "kernels/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

bool cf_size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* The caller's pointer has any object type; memcpy stores it without breaking aliasing rules. */
static void store(void *out, void *block)
{
    memcpy(out, &block, sizeof block);
}

static cf_err no_memory(size_t n, size_t item_bytes)
{
    return cf_fail(CF_E_UNEXPECTED, "out of memory: %zu items of %zu bytes", n, item_bytes);
}

cf_err cf_new(void *out, size_t n, size_t item_bytes)
{
    size_t bytes = 0;
    store(out, NULL);
    if (!cf_size_mul(n, item_bytes, &bytes)) return no_memory(n, item_bytes);
    void *block = calloc(bytes ? bytes : 1, 1);
    if (!block) return no_memory(n, item_bytes);
    store(out, block);
    return CF_OK;
}

cf_err cf_new_aligned(void *out, size_t n, size_t item_bytes)
{
    size_t bytes = 0;
    store(out, NULL);
    if (!cf_size_mul(n, item_bytes, &bytes)) return no_memory(n, item_bytes);
    if (bytes > SIZE_MAX - ALIGNMENT) return no_memory(n, item_bytes);
    /* aligned_alloc wants a multiple of the alignment; an empty block gets one line. */
    size_t rounded = bytes == 0 ? ALIGNMENT : (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *block = aligned_alloc(ALIGNMENT, rounded);
    if (!block) return no_memory(n, item_bytes);
    memset(block, 0, rounded);
    store(out, block);
    return CF_OK;
}

cf_err cf_resize(void *inout, size_t n, size_t item_bytes)
{
    size_t bytes = 0;
    void *old = NULL;
    memcpy(&old, inout, sizeof old);
    if (!cf_size_mul(n, item_bytes, &bytes)) return no_memory(n, item_bytes);
    void *block = realloc(old, bytes ? bytes : 1);
    if (!block) return no_memory(n, item_bytes);
    store(inout, block);
    return CF_OK;
}

cf_err cf_strdup(const char *text, char **out)
{
    size_t n = strlen(text) + 1;
    CF_TRY(cf_new(out, n, 1));
    memcpy(*out, text, n);
    return CF_OK;
}
