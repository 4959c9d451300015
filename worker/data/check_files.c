/* The files of a check: tables as CSV. The contact sheets stand in check_sheets.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "proto/control.h"
#include "proto/csv.h"
#include "worker/data/check_files.h"

enum { DIGITS = 6 }; /* significant ones */

static const char *name_of(const cf_strings *names, int32_t i)
{
    return i >= 0 && (size_t)i < names->n ? names->items[i] : "";
}

const char *cf_check_label(const cf_cells *cells, int32_t i)
{
    int32_t label = cells->labels[i];
    return label >= 0 ? cells->scheme.classes[label].code : "";
}

const char *cf_check_fold(const cf_check_options *o, int32_t i, char text[16])
{
    if (!o->fold_of)
        text[0] = '\0';
    else if (o->fold_of[i] == CF_FOLD_TRAIN)
        snprintf(text, 16, "train");
    else
        snprintf(text, 16, "%d", o->fold_of[i]);
    return text;
}

static cf_err save(const char *folder, const char *name, cf_buf *text)
{
    char path[CF_PATH_MAX];
    cf_err err = cf_buf_check(text);
    if (err == CF_OK) err = cf_path_join(path, sizeof path, folder, name);
    if (err == CF_OK) err = cf_file_save(path, cf_buf_text(text), text->len);
    cf_buf_fini(text);
    return err;
}

static cf_err write_duplicates(const cf_check_options *o, const cf_check_result *r,
                               const char *folder)
{
    const cf_cells *cells = o->cells;
    cf_buf out = {0};
    cf_buf_printf(&out, "id_a,id_b,kind,similarity,transform,label_a,label_b,fold_a,fold_b,"
                        "site_a,site_b,patient_a,patient_b\n");
    for (int64_t k = 0; k < r->n_duplicates; k++) {
        const cf_duplicate *d = &r->duplicates[k];
        const int32_t of[2] = {d->a, d->b};
        char words[96], fold[16];
        for (int i = 0; i < 2; i++) cf_csv_put(&out, cells->ids[of[i]], CF_CSV_MORE);
        cf_csv_put(&out, d->exact ? "exact" : "near", CF_CSV_MORE);
        cf_csv_put_number(&out, (double)d->similarity, DIGITS, CF_CSV_MORE);
        cf_csv_put(&out, cf_align_words(&d->map, cells->height, cells->width, words), CF_CSV_MORE);
        for (int i = 0; i < 2; i++) cf_csv_put(&out, cf_check_label(cells, of[i]), CF_CSV_MORE);
        for (int i = 0; i < 2; i++) cf_csv_put(&out, cf_check_fold(o, of[i], fold), CF_CSV_MORE);
        for (int i = 0; i < 2; i++)
            cf_csv_put(&out, name_of(&cells->site_names, cells->sites[of[i]]), CF_CSV_MORE);
        for (int i = 0; i < 2; i++)
            cf_csv_put(&out, name_of(&cells->patient_names, cells->patients[of[i]]),
                       i == 0 ? CF_CSV_MORE : CF_CSV_END_ROW);
    }
    return save(folder, "duplicates.csv", &out);
}

static cf_err write_odd(const cf_check_options *o, const cf_check_result *r, const char *folder)
{
    const cf_cells *cells = o->cells;
    cf_buf out = {0};
    cf_buf_printf(&out, "id,why,label,site,luma_mean,luma_sd,sharpness,bars\n");
    for (int32_t i = 0; i < cells->n; i++) {
        char words[160];
        const cf_measure *m = &r->measures[i];
        if (!r->damaged[i] && !r->odd[i]) continue;
        cf_csv_put(&out, cells->ids[i], CF_CSV_MORE);
        cf_csv_put(&out, r->damaged[i] ? "damaged" : cf_odd_words(r->odd[i], words), CF_CSV_MORE);
        cf_csv_put(&out, cf_check_label(cells, i), CF_CSV_MORE);
        cf_csv_put(&out, name_of(&cells->site_names, cells->sites[i]), CF_CSV_MORE);
        cf_csv_put_number(&out, (double)m->luma_mean, DIGITS, CF_CSV_MORE);
        cf_csv_put_number(&out, (double)m->luma_sd, DIGITS, CF_CSV_MORE);
        cf_csv_put_number(&out, (double)m->sharpness, DIGITS, CF_CSV_MORE);
        cf_csv_put_number(&out, (double)m->bars, DIGITS, CF_CSV_END_ROW);
    }
    return save(folder, "odd.csv", &out);
}

/* One row a class, site and patient count that is not zero. */
static cf_err write_counts(const cf_check_options *o, const cf_check_result *r, const char *folder)
{
    const cf_cells *cells = o->cells;
    cf_buf out = {0};
    cf_buf_printf(&out, "class,site,images,patients,without_patient\n");
    for (int64_t k = 0; k < (int64_t)r->n_classes * r->n_sites; k++) {
        const cf_check_count *c = &r->counts[k];
        if (c->images == 0) continue;
        int32_t label = (int32_t)(k / r->n_sites);
        cf_csv_put(&out, label < cells->scheme.n_classes ? cells->scheme.classes[label].code : "",
                   CF_CSV_MORE);
        cf_csv_put(&out, name_of(&cells->site_names, (int32_t)(k % r->n_sites)), CF_CSV_MORE);
        cf_csv_put_integer(&out, c->images, CF_CSV_MORE);
        cf_csv_put_integer(&out, c->patients, CF_CSV_MORE);
        cf_csv_put_integer(&out, c->without_patient, CF_CSV_END_ROW);
    }
    return save(folder, "counts.csv", &out);
}

static cf_err write_sites(const cf_check_options *o, const cf_check_result *r, const char *folder)
{
    const cf_cells *cells = o->cells;
    cf_buf out = {0};
    cf_buf_printf(&out, "site,images,mean_r,mean_g,mean_b,sd_r,sd_g,sd_b,sd_of_means_r,"
                        "sd_of_means_g,sd_of_means_b,lab_l,lab_a,lab_b,sharpness,stain1_r,stain1_g,"
                        "stain1_b,stain2_r,stain2_g,stain2_b\n");
    for (int s = 0; s < r->sites.n; s++) {
        const cf_site_color *c = &r->sites.colors[s];
        cf_csv_put(&out, name_of(&cells->site_names, s), CF_CSV_MORE);
        cf_csv_put_integer(&out, c->n, CF_CSV_MORE);
        for (int k = 0; k < 3; k++) cf_csv_put_number(&out, c->mean[k], DIGITS, CF_CSV_MORE);
        for (int k = 0; k < 3; k++) cf_csv_put_number(&out, c->within[k], DIGITS, CF_CSV_MORE);
        for (int k = 0; k < 3; k++) cf_csv_put_number(&out, c->between[k], DIGITS, CF_CSV_MORE);
        for (int k = 0; k < 3; k++) cf_csv_put_number(&out, c->lab[k], DIGITS, CF_CSV_MORE);
        cf_csv_put_number(&out, c->sharpness, DIGITS, CF_CSV_MORE);
        for (int k = 0; k < 6; k++)
            cf_csv_put_number(&out, cells->stains ? c->stain[k / 3][k % 3] : (double)NAN, DIGITS,
                              k < 5 ? CF_CSV_MORE : CF_CSV_END_ROW);
    }
    return save(folder, "sites.csv", &out);
}

static cf_err write_site_pairs(const cf_check_options *o, const cf_check_result *r,
                               const char *folder)
{
    const cf_strings *names = &o->cells->site_names;
    cf_buf out = {0};
    cf_buf_printf(&out, "site_a,site_b,delta_e,effect_size,frechet,stain_angle\n");
    for (int64_t k = 0; k < r->sites.n_pairs; k++) {
        const cf_site_pair *p = &r->sites.pairs[k];
        cf_csv_put(&out, name_of(names, p->a), CF_CSV_MORE);
        cf_csv_put(&out, name_of(names, p->b), CF_CSV_MORE);
        cf_csv_put_number(&out, p->delta_e, DIGITS, CF_CSV_MORE);
        cf_csv_put_number(&out, p->effect, DIGITS, CF_CSV_MORE);
        cf_csv_put_number(&out, p->frechet, DIGITS, CF_CSV_MORE);
        cf_csv_put_number(&out, p->stain_angle, DIGITS, CF_CSV_END_ROW);
    }
    return save(folder, "site_pairs.csv", &out);
}

cf_err cf_check_write(const cf_check_options *o, const cf_check_result *r, const char *folder)
{
    CF_TRY(cf_dir_make(folder));
    CF_TRY(write_counts(o, r, folder));
    CF_TRY(write_duplicates(o, r, folder));
    CF_TRY(write_odd(o, r, folder));
    CF_TRY(write_sites(o, r, folder));
    CF_TRY(write_site_pairs(o, r, folder));
    return cf_check_sheets(o, r, folder);
}
