/* Inputs as files: a file in memory, reached by its descriptor's path. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/scratch.h"

/* Of this process: libFuzzer's entry has no context to pass. */
static char folder[CF_PATH_MAX];
static int memory = -1;

static void remove_folder(void)
{
    scratch_remove(folder);
}

static void prepare(void)
{
    if (memory >= 0) return;
    memory = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_REQUIRE(memory >= 0 && scratch_make(folder));
    atexit(remove_folder);
}

static const char *in_folder(const char *name, char path[CF_PATH_MAX])
{
    FUZZ_REQUIRE(cf_path_join(path, CF_PATH_MAX, folder, name) == CF_OK);
    return path;
}

const char *fuzz_scratch(void)
{
    static char path[CF_PATH_MAX];
    prepare();
    return in_folder("written", path);
}

const char *fuzz_file(const void *bytes, size_t n, const char *ending)
{
    static char path[CF_PATH_MAX];
    char name[32], target[64];
    prepare();
    FUZZ_REQUIRE(ftruncate(memory, 0) == 0 && pwrite(memory, bytes, n, 0) == (ssize_t)n);
    snprintf(name, sizeof name, "input%s", ending);
    snprintf(target, sizeof target, "/proc/self/fd/%d", memory);
    in_folder(name, path);
    unlink(path);
    FUZZ_REQUIRE(symlink(target, path) == 0);
    return path;
}

uint8_t *fuzz_load(const char *path, size_t *n)
{
    char *bytes;
    FUZZ_REQUIRE(cf_file_read(path, (size_t)1 << 26, &bytes, n) == CF_OK);
    return (uint8_t *)bytes;
}
