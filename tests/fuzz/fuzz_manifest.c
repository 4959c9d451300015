/* Manifests: what is listed is sorted, without a second of a kind, and plain to print. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "worker/data/listing.h"

static void try_scheme(const char *path, const char *name, enum cf_unmapped unmapped)
{
    cf_source source = {.path = path, .site = "", .name = "M", .um_per_px = 0.1};
    cf_scheme scheme;
    cf_listing list;
    cf_err err = cf_listing_read(&source, 1, name, unmapped, &scheme, &list);
    if (err != CF_OK) {
        FUZZ_REQUIRE(err == CF_E_DATA || err == CF_E_USAGE);
        return;
    }
    for (int64_t i = 0; i < list.n; i++) {
        const cf_listed *item = &list.items[i];
        FUZZ_REQUIRE(i == 0 || strcmp(list.items[i - 1].id, item->id) < 0);
        FUZZ_REQUIRE(item->label >= 0 && item->label < scheme.n_classes);
        FUZZ_REQUIRE(strncmp(item->id, "M/", 2) == 0 && strlen(item->id) < CF_PATH_MAX);
        for (const char *p = item->id; *p; p++) FUZZ_REQUIRE((unsigned char)*p >= 0x20);
        FUZZ_REQUIRE(*item->site == '\0' || cf_name_is_safe(item->site));
        FUZZ_REQUIRE(item->um_per_px > 0.0);
        FUZZ_REQUIRE((item->x < 0.0) == (item->y < 0.0));
    }
    cf_listing_fini(&list);
    cf_scheme_fini(&scheme);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *path = fuzz_file(data, n, ".csv");
    try_scheme(path, "auto", CF_UNMAPPED_REFUSE);
    try_scheme(path, "bm7", CF_UNMAPPED_DROP);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *context)
{
    static const char plain[] = "path,label\na.png,BLA\nb.png,EOS\n";
    static const char fields[] = "path,label,split,x,y,um_per_px,site,patient\n"
                                 "a.png,BLA,train,4,5.5,.1,M,p1\n"
                                 "\"a.png\",EOS,test,6,7,,\"N \"\"O\"\"\",\n";
    static const char paths[] = "patient,stain,label,path,split\r\n"
                                "P1,MGG,Neutrophil,../up.png,1\r\n,,Eosinophils,/abs.png,2\r\n";
    static const char odd[] = "label,path\n'=cmd(),'-x.png\nBLA,\"two\nlines.png\"\n";
    take(context, plain, sizeof plain - 1);
    take(context, fields, sizeof fields - 1);
    take(context, paths, sizeof paths - 1);
    take(context, odd, sizeof odd - 1);
}
