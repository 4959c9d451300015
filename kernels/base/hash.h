/* Checksums and hashes: CRC32C (Castagnoli, iSCSI; RFC 3720) for tensors on disk, XXH3 64-bit
 * (xxHash library) for identities. Threads: any. */
#ifndef CF_KERNELS_BASE_HASH_H
#define CF_KERNELS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Continue with the previous result as `crc`; start with 0. SSE4.2 where the machine has it. */
uint32_t cf_crc32c(uint32_t crc, const void *bytes, size_t n);
/* The same without the instruction: what other machines run, for tests. */
uint32_t cf_crc32c_portable(uint32_t crc, const void *bytes, size_t n);
uint64_t cf_hash64(const void *bytes, size_t n);

#endif
