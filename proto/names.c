#include "proto/names.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/hash.h"
#include "kernels/base/mem.h"

static bool is_text(const cf_names *set, uint32_t number, const char *text, size_t n)
{
    return set->lengths[number] == n && memcmp(set->bytes + set->starts[number], text, n) == 0;
}

/* The place of a string in the table, or the empty place where it belongs. */
static size_t find_place(const cf_names *set, const char *text, size_t n)
{
    size_t mask = set->table_size - 1, place = (size_t)cf_hash64(text, n) & mask;
    while (set->table[place] != 0 && !is_text(set, set->table[place] - 1, text, n)) {
        place = (place + 1) & mask;
    }
    return place;
}

static cf_err grow_table(cf_names *set)
{
    size_t size = set->table_size ? 2 * set->table_size : 64;
    uint32_t *table = NULL;
    CF_TRY(cf_new(&table, size, sizeof *table));
    free(set->table);
    set->table = table;
    set->table_size = size;
    for (size_t i = 0; i < set->n; i++) {
        size_t place = find_place(set, set->bytes + set->starts[i], set->lengths[i]);
        set->table[place] = (uint32_t)i + 1;
    }
    return CF_OK;
}

static cf_err reserve(cf_names *set, size_t n)
{
    if (set->n == set->capacity) {
        size_t capacity = set->capacity ? 2 * set->capacity : 32;
        CF_TRY(cf_resize(&set->lengths, capacity, sizeof *set->lengths));
        CF_TRY(cf_resize(&set->starts, capacity, sizeof *set->starts));
        set->capacity = capacity;
    }
    if (n > set->bytes_capacity - set->n_bytes || !set->bytes) {
        size_t capacity = 2 * set->bytes_capacity + n + 256;
        CF_TRY(cf_resize(&set->bytes, capacity, 1));
        set->bytes_capacity = capacity;
    }
    /* At most half full: searches stay short. */
    return 2 * (set->n + 1) > set->table_size ? grow_table(set) : CF_OK;
}

cf_err cf_names_add(cf_names *set, const char *text, size_t n, uint32_t *number, bool *added)
{
    if (n >= UINT32_MAX || set->n >= UINT32_MAX - 1) {
        return cf_fail(CF_E_DATA, "name of %zu bytes after %zu names: too long or too many", n,
                       set->n);
    }
    CF_TRY(reserve(set, n));
    size_t place = find_place(set, text, n);
    *added = set->table[place] == 0;
    if (*added) {
        if (n > 0) memcpy(set->bytes + set->n_bytes, text, n);
        set->lengths[set->n] = (uint32_t)n;
        set->starts[set->n] = set->n_bytes;
        set->n_bytes += n;
        set->table[place] = (uint32_t)++set->n;
    }
    *number = set->table[place] - 1;
    return CF_OK;
}

void cf_names_fini(cf_names *set)
{
    free(set->bytes);
    free(set->lengths);
    free(set->starts);
    free(set->table);
    *set = (cf_names){0};
}
