#include "launch/spin.h"

#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "kernels/base/file.h"

void cf_spin_briefly(char **argv)
{
    char self[CF_PATH_MAX];
    if (getenv("OMP_WAIT_POLICY") != NULL || getenv("GOMP_SPINCOUNT") != NULL) return;
    if (getauxval(AT_BASE) == 0) return; /* started as the loader's argument: exe is the loader */
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0 || (size_t)n >= sizeof self - 1) return;
    self[n] = '\0';
    if (setenv("GOMP_SPINCOUNT", "1000", 0) != 0) return;
    execv(self, argv);
}
