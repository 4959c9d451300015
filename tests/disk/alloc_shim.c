/* Makes the n-th allocation of a program fail, counting those that its own code asks for: the
 * libraries beside it have their own manners. Preloaded. CYTOFOLD_ALLOC=n: that one fails, 0: none.
 * CYTOFOLD_ALLOC_LOG=FILE: a record of 16 bytes for each, its number and a hash of the places that
 * it was asked from, so that a test can choose one of each kind. glibc alone. */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_FRAMES = 6 };

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t item);
void *__libc_realloc(void *block, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

/* A shim has no argument to carry its state in. */
static uintptr_t text_begin, text_end; /* of the program itself */
static atomic_long counted;
static long fails_at = -1;
static int log_fd = -1;
static _Thread_local bool inside; /* what backtrace allocates is not counted */

static int find_program(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size, (void)user;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
        text_begin = info->dlpi_addr + p->p_vaddr;
        text_end = text_begin + p->p_memsz;
    }
    return 1; /* the first object is the program */
}

__attribute__((constructor)) static void set_up(void)
{
    const char *n = getenv("CYTOFOLD_ALLOC"), *path = getenv("CYTOFOLD_ALLOC_LOG");
    void *frame = NULL;
    inside = true;
    backtrace(&frame, 1); /* loads what it needs now, not in the middle of an allocation */
    if (path != NULL) log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    inside = false;
    dl_iterate_phdr(find_program, NULL);
    if (n != NULL) fails_at = strtol(n, NULL, 10);
}

static void record(long number)
{
    void *frames[MAX_FRAMES];
    uint64_t hash = 14695981039346656037u; /* FNV-1a, of the program's own frames */
    inside = true;
    int n = backtrace(frames, MAX_FRAMES);
    inside = false;
    for (int i = 0; i < n; i++) {
        uintptr_t at = (uintptr_t)frames[i];
        if (at >= text_begin && at < text_end) hash = (hash ^ (at - text_begin)) * 1099511628211u;
    }
    uint64_t pair[2] = {(uint64_t)number, hash};
    if (write(log_fd, pair, sizeof pair) != (ssize_t)sizeof pair) _exit(99);
}

/* Where it was, for whoever looks into a failure: addr2line -e PROGRAM takes the offsets. */
static void show(void)
{
    void *frames[4 * MAX_FRAMES];
    if (getenv("CYTOFOLD_ALLOC_TRACE") == NULL) return;
    inside = true;
    backtrace_symbols_fd(frames, backtrace(frames, 4 * MAX_FRAMES), STDERR_FILENO);
    inside = false;
}

static bool fails(const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    if (fails_at < 0 || inside || at < text_begin || at >= text_end) return false;
    long number = atomic_fetch_add(&counted, 1) + 1;
    if (log_fd >= 0) record(number);
    if (number != fails_at) return false;
    show();
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t item)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, item);
}

void *realloc(void *block, size_t n)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(block, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, n);
}
