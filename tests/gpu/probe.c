/* Exit code 0 where a GPU can be used, 77 (skip) with the reason where not. */
#include <stdio.h>

#include "kernels/backend.h"

enum { SKIP = 77 };

int main(void)
{
    const cf_backend_ops *ops = NULL;
    cf_backend *backend = NULL;
    char text[256];
    if (cf_backend_find("cuda", &ops) != CF_OK || ops->open(-1, 1, &backend) != CF_OK) {
        printf("no GPU: %s\n", cf_err_text());
        return SKIP;
    }
    ops->describe(backend, text, sizeof text);
    ops->close(backend);
    printf("%s\n", text);
    return 0;
}
