/* Wall and processor seconds, trustworthiness and share of neighbours found of this program's UMAP,
 * one line: what umap_beside.py puts beside umap-learn. umap_rate X.f32 ROWS COLUMNS SAMPLE OUT.f32
 * (floats, row by row; SAMPLE 0: all rows) umap_rate X.f32 ROWS COLUMNS SAMPLE --judge Y.f32
 * trustworthiness of a picture made elsewhere
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/base/log.h"
#include "worker/insight/trust.h"
#include "worker/insight/umap.h"

static int read_floats(const char *path, float *x, size_t n)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) return 0;
    size_t found = fread(x, sizeof *x, n, f);
    return fclose(f) == 0 && found == n;
}

static int write_floats(const char *path, const float *x, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL) return 0;
    size_t written = fwrite(x, sizeof *x, n, f);
    return fclose(f) == 0 && written == n;
}

int main(int argc, char **argv)
{
    int judge = argc == 7 && strcmp(argv[5], "--judge") == 0;
    if (argc != 6 && !judge) return 2;
    int64_t n = atoll(argv[2]), d = atoll(argv[3]), most = atoll(argv[4]);
    float *x = malloc((size_t)(n * d) * sizeof *x), *y = malloc((size_t)n * 2 * sizeof *y);
    double trust = 0, cpu = 0;
    cf_crew crew = {0};
    cf_neighbours nb = {0};
    int64_t start_ns = 0, ns = 0;
    int ok = x != NULL && y != NULL && read_floats(argv[1], x, (size_t)(n * d));
    if (ok && judge) {
        ok = read_floats(argv[6], y, (size_t)n * 2);
    } else if (ok) {
        cf_umap_options options = cf_umap_defaults();
        clock_t before = clock();
        start_ns = cf_clock_ns();
        ok = cf_neighbours_find(x, n, d, options.neighbours - 1, &crew, &nb) == CF_OK &&
             cf_umap(x, d, &nb, &options, y) == CF_OK;
        ns = cf_clock_ns() - start_ns;
        cpu = (double)(clock() - before) / CLOCKS_PER_SEC;
        ok = ok && write_floats(argv[5], y, (size_t)n * 2);
    }
    ok = ok && cf_trustworthiness(x, n, d, y, 15, most, &crew, &trust) == CF_OK;
    if (ok) printf("%.3f %.3f %.4f %.4f\n", (double)ns / 1e9, cpu, trust, nb.found);
    cf_neighbours_fini(&nb);
    free(y);
    free(x);
    return ok ? 0 : 1;
}
