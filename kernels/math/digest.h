/* An order-free digest of flat buffers, for host and device: are two replicas the same bits?
 * Read first: cf_digest_element. */
#ifndef CF_KERNELS_MATH_DIGEST_H
#define CF_KERNELS_MATH_DIGEST_H

#include <stdint.h>

#include "kernels/math/philox.h"

/* What element `index` with these bits adds to the digest; the sum of all, modulo 2^64, is it. For
 * one index no two values add the same (every line below is invertible), so that one changed
 * element, by however few bits, always shows; several hide each other with chance 2^-64. No
 * cryptography: against faults, not against people. */
CF_HD uint64_t cf_digest_element(uint32_t bits, uint64_t index)
{
    uint64_t x = bits + index * 0x9E3779B97F4A7C15u;
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93u;
    return x ^ x >> 32;
}

#endif
