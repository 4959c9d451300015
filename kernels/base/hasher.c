#include "kernels/base/hasher.h"

#include <xxhash.h>

/* The library's own state needs its own alignment and allocator; ours is that state under our name.
 */
static XXH3_state_t *state_of(cf_hasher *h)
{
    return (XXH3_state_t *)(void *)h;
}

cf_err cf_hasher_create(cf_hasher **out)
{
    XXH3_state_t *state = XXH3_createState();
    *out = (cf_hasher *)(void *)state;
    if (!state) return cf_fail(CF_E_UNEXPECTED, "out of memory for a hash");
    XXH3_64bits_reset(state);
    return CF_OK;
}

void cf_hasher_destroy(cf_hasher *h)
{
    if (h) XXH3_freeState(state_of(h));
}

void cf_hasher_add(cf_hasher *h, const void *bytes, size_t n)
{
    if (n > 0) XXH3_64bits_update(state_of(h), bytes, n);
}

uint64_t cf_hasher_value(const cf_hasher *h)
{
    return XXH3_64bits_digest((const XXH3_state_t *)(const void *)h);
}
