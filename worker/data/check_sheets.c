/* Contact sheets of what a check found. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/data/check_files.h"
#include "worker/data/fetch.h"
#include "worker/data/sheet.h"

enum { TILE = 150, PAIR_COLUMNS = 4, ODD_COLUMNS = 6 };
static const char *const conflict_color = "#d02030";

/* Sheets of an earlier check would be taken for this one's. */
static cf_err remove_old(const char *folder)
{
    cf_strings names = {0};
    char path[CF_PATH_MAX];
    cf_err err = cf_dir_list(folder, &names);
    for (size_t i = 0; i < names.n && err == CF_OK; i++) {
        const char *name = names.items[i];
        int number = 0, end = 0;
        bool ours = (sscanf(name, "pairs-%2d.png%n", &number, &end) == 1 ||
                     sscanf(name, "odd-%2d.png%n", &number, &end) == 1) &&
                    end > 0 && name[end] == '\0';
        if (!ours) continue;
        err = cf_path_join(path, sizeof path, folder, name);
        if (err == CF_OK && unlink(path) != 0)
            err = cf_fail_errno(CF_E_DISK, "%s: cannot be removed", path);
    }
    cf_strings_fini(&names);
    return err;
}

static cf_err put_image(const cf_check_options *o, cf_sheet *s, int32_t i, const char *second,
                        const char *color)
{
    const cf_cells *cells = o->cells;
    char caption[1024];
    snprintf(caption, sizeof caption, "%.800s\n%.200s", cells->ids[i], second);
    cf_image room = {0};
    const uint8_t *pixels;
    cf_err err = cf_cells_fetch(cells, i, &room, &pixels);
    if (err == CF_E_DATA) { /* an empty place: it cannot be decoded */
        pixels = NULL;
        err = CF_OK;
    }
    if (err == CF_OK) err = cf_sheet_tile(s, pixels, cells->height, cells->width, caption, color);
    cf_image_fini(&room);
    return err;
}

static cf_err put_pair(const cf_check_options *o, cf_sheet *s, const cf_duplicate *d)
{
    const int32_t of[2] = {d->a, d->b};
    bool serious = (d->conflicts & (CF_CONFLICT_FOLD | CF_CONFLICT_LABEL)) != 0;
    for (int k = 0; k < 2; k++) {
        char second[256], fold[16], kind[32] = "exact";
        cf_check_fold(o, of[k], fold);
        if (!d->exact) snprintf(kind, sizeof kind, "%.2f", (double)d->similarity);
        snprintf(second, sizeof second, "%s%s%s%s%s", cf_check_label(o->cells, of[k]),
                 fold[0] ? "  fold " : "", fold, k == 1 ? "  " : "", k == 1 ? kind : "");
        CF_TRY(put_image(o, s, of[k], second, serious ? conflict_color : NULL));
    }
    return CF_OK;
}

/* Ends a sheet: writes it as NAME-NN.png. */
static cf_err finish(cf_sheet *s, const char *folder, const char *name, int number)
{
    char file[64], path[CF_PATH_MAX];
    snprintf(file, sizeof file, "%s-%02d.png", name, number);
    CF_TRY(cf_path_join(path, sizeof path, folder, file));
    return cf_sheet_write(s, path);
}

static int64_t sheets_of(int64_t n, int64_t a_sheet)
{
    int64_t sheets = (n + a_sheet - 1) / a_sheet;
    return sheets < CF_CHECK_MAX_SHEETS ? sheets : CF_CHECK_MAX_SHEETS;
}

static cf_err write_pairs(const cf_check_options *o, const cf_check_result *r, const char *folder)
{
    int64_t n_sheets = sheets_of(r->n_duplicates, CF_CHECK_PAIRS_A_SHEET);
    for (int64_t k = 0; k < n_sheets; k++) {
        char title[200];
        int64_t begin = k * CF_CHECK_PAIRS_A_SHEET, end = begin + CF_CHECK_PAIRS_A_SHEET;
        if (end > r->n_duplicates) end = r->n_duplicates;
        snprintf(title, sizeof title, "Pairs %lld to %lld of %lld, red: folds or labels differ",
                 (long long)begin + 1, (long long)end, (long long)r->n_duplicates);
        cf_sheet *s;
        CF_TRY(cf_sheet_create(PAIR_COLUMNS, TILE, title, &s));
        cf_err err = CF_OK;
        for (int64_t i = begin; i < end && err == CF_OK; i++)
            err = put_pair(o, s, &r->duplicates[i]);
        if (err == CF_OK) err = finish(s, folder, "pairs", (int)k + 1);
        cf_sheet_destroy(s);
        CF_TRY(err);
    }
    return CF_OK;
}

/* Image i and what is odd about it, if it is. */
static cf_err put_odd(const cf_check_options *o, const cf_check_result *r, cf_sheet *s, int32_t i)
{
    char words[160];
    if (r->damaged[i]) return put_image(o, s, i, "damaged", conflict_color);
    return put_image(o, s, i, cf_odd_words(r->odd[i], words), NULL);
}

static cf_err write_odd(const cf_check_options *o, const cf_check_result *r, const char *folder)
{
    int64_t total = r->n_odd + r->n_damaged;
    int64_t n_sheets = sheets_of(total, CF_CHECK_ODD_A_SHEET);
    int32_t i = 0;
    for (int64_t k = 0; k < n_sheets; k++) {
        char title[200];
        snprintf(title, sizeof title, "Odd images, sheet %lld of %lld (%lld images in all)",
                 (long long)k + 1, (long long)n_sheets, (long long)total);
        cf_sheet *s;
        CF_TRY(cf_sheet_create(ODD_COLUMNS, TILE, title, &s));
        cf_err err = CF_OK;
        for (int put = 0; i < o->cells->n && put < CF_CHECK_ODD_A_SHEET && err == CF_OK; i++) {
            if (!r->damaged[i] && !r->odd[i]) continue;
            err = put_odd(o, r, s, i);
            put++;
        }
        if (err == CF_OK) err = finish(s, folder, "odd", (int)k + 1);
        cf_sheet_destroy(s);
        CF_TRY(err);
    }
    return CF_OK;
}

cf_err cf_check_sheets(const cf_check_options *o, const cf_check_result *r, const char *folder)
{
    CF_TRY(remove_old(folder));
    CF_TRY(write_pairs(o, r, folder));
    return write_odd(o, r, folder);
}
