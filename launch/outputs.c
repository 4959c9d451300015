#include "launch/outputs.h"

cf_err cf_output_check(const char *path)
{
    cf_file file;
    if (cf_path_is_dir(path))
        return cf_fail(CF_E_DISK, "%s: is a folder, expected the name of a file", path);
    CF_TRY(cf_file_create(path, &file));
    cf_file_abandon(&file);
    return CF_OK;
}

cf_err cf_output_check_all(const cf_strings *paths)
{
    for (size_t i = 0; i < paths->n; i++) CF_TRY(cf_output_check(paths->items[i]));
    return CF_OK;
}
