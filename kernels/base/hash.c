#include "kernels/base/hash.h"

#include <string.h>
/* Compiled here, for this machine's vectors: the library of a distribution has those of the oldest
 * one. The hashes are the same. */
#define XXH_INLINE_ALL
#include <xxhash.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

/* Half a byte at a time: sixteen constants can be checked by eye, and only machines without the
 * instruction ever pay for it. Reflected polynomial 0x82F63B78. */
static const uint32_t nibble_table[16] = {0x00000000u, 0x105ec76fu, 0x20bd8edeu, 0x30e349b1u,
                                          0x417b1dbcu, 0x5125dad3u, 0x61c69362u, 0x7198540du,
                                          0x82f63b78u, 0x92a8fc17u, 0xa24bb5a6u, 0xb21572c9u,
                                          0xc38d26c4u, 0xd3d3e1abu, 0xe330a81au, 0xf36e6f75u};

uint32_t cf_crc32c_portable(uint32_t crc, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ nibble_table[crc & 15];
        crc = crc >> 4 ^ nibble_table[crc & 15];
    }
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse(uint32_t crc, const uint8_t *p,
                                                             size_t n)
{
    uint64_t wide = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; n > 0; p++, n--) crc = _mm_crc32_u8(crc, *p);
    return ~crc;
}
#endif

uint32_t cf_crc32c(uint32_t crc, const void *bytes, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return crc32c_sse(crc, bytes, n);
#endif
    return cf_crc32c_portable(crc, bytes, n);
}

uint64_t cf_hash64(const void *bytes, size_t n)
{
    return XXH3_64bits(bytes, n);
}
