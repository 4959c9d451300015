/* The most memory that this process ever had, for tests of memory limits. */
#ifndef CF_TESTS_SUPPORT_PEAK_H
#define CF_TESTS_SUPPORT_PEAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* False under AddressSanitizer, which keeps freed blocks for a while: the figure is then not ours.
 */
static inline bool peak_is_ours(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return false;
#elif defined(__has_feature)
    return !__has_feature(address_sanitizer);
#else
    return true;
#endif
}

/* Resident bytes; 0 where the system does not tell. */
static inline size_t peak_bytes(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    if (!f) return 0;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmHWM: %zu kB", &kib) == 1) break;
    }
    fclose(f);
    return kib * 1024;
}

#endif
