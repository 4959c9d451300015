#include "launch/predict_output.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

static bool is_json(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".json") == 0;
}

static const char *patient_of(const cf_cells *cells, int64_t i)
{
    int32_t patient = cells->patients != NULL ? cells->patients[i] : -1;
    return patient >= 0 ? cells->patient_names.items[patient] : "";
}

static cf_err write_csv(const cf_predict_output *o)
{
    enum { MAX_COLUMNS = 4 };
    cf_further_column columns[MAX_COLUMNS];
    const char **patients = NULL;
    double *flags = NULL;
    int n = 0;
    cf_err err = CF_OK;
    if (o->cells->patient_names.n > 0) {
        CF_TRY_GOTO(cf_new(&patients, (size_t)o->p->n, sizeof *patients), out);
        for (int64_t i = 0; i < o->p->n; i++) patients[i] = patient_of(o->cells, i);
        columns[n++] = (cf_further_column){.name = "patient", .texts = patients};
    }
    if (o->unlike != NULL) {
        CF_TRY_GOTO(cf_new(&flags, (size_t)o->p->n, sizeof *flags), out);
        for (int64_t i = 0; i < o->p->n; i++) flags[i] = o->unlike->flags[i];
        columns[n++] = (cf_further_column){.name = "unlike", .numbers = flags};
        columns[n++] = (cf_further_column){.name = "unlike_look", .numbers = o->unlike->look};
        columns[n++] =
            (cf_further_column){.name = "unlike_features", .numbers = o->unlike->features};
    }
    err = cf_predictions_write_further(o->path, &o->run->scheme, o->p, columns, n);
out:
    free(flags);
    free(patients);
    return err;
}

static void put_code(cf_json *j, const char *key, const cf_scheme *s, int k)
{
    cf_json_string(j, key, k == CF_LABEL_UNKNOWN ? "" : s->classes[k].code);
}

static void put_image(const cf_predict_output *o, int64_t i, cf_json *j)
{
    const cf_scheme *s = &o->run->scheme;
    const cf_predictions *p = o->p;
    cf_json_object(j, NULL);
    cf_json_string(j, "id", p->ids[i]);
    cf_json_string(j, "site", p->sites[i]);
    cf_json_string(j, "patient", patient_of(o->cells, i));
    put_code(j, "label", s, p->labels[i]);
    put_code(j, "predicted", s, p->predicted[i]);
    cf_json_array(j, "p");
    for (int k = 0; k < s->n_classes; k++) cf_json_number(j, NULL, p->p[i * s->n_classes + k]);
    cf_json_end_array(j);
    if (o->unlike != NULL) {
        cf_json_boolean(j, "unlike", o->unlike->flags[i]);
        cf_json_number(j, "unlike_look", o->unlike->look[i]);
        cf_json_number(j, "unlike_features", o->unlike->features[i]);
    }
    cf_json_end_object(j);
}

static cf_err write_json(const cf_predict_output *o)
{
    const cf_saved *run = o->run;
    cf_buf out = {0};
    cf_json j;
    cf_json_begin(&j, &out, true);
    cf_json_object(&j, NULL);
    cf_json_string(&j, "scheme", run->scheme.name);
    cf_json_string(&j, "run", run->dir);
    cf_json_array(&j, "folds");
    for (int f = 0; f < run->n_folds; f++) cf_json_integer(&j, NULL, run->folds[f]);
    cf_json_end_array(&j);
    cf_json_array(&j, "temperatures");
    for (int f = 0; f < run->n_folds && o->temperatures != NULL; f++)
        cf_json_number(&j, NULL, o->temperatures[f]);
    cf_json_end_array(&j);
    cf_json_array(&j, "classes");
    for (int k = 0; k < run->scheme.n_classes; k++)
        cf_json_string(&j, NULL, run->scheme.classes[k].code);
    cf_json_end_array(&j);
    cf_json_array(&j, "images");
    for (int64_t i = 0; i < o->p->n; i++) put_image(o, i, &j);
    cf_json_end_array(&j);
    cf_json_end_object(&j);
    cf_buf_printf(&out, "\n");
    cf_err err = cf_buf_check(&out);
    if (err == CF_OK) err = cf_file_save(o->path, out.data, out.len);
    cf_buf_fini(&out);
    return err;
}

cf_err cf_predict_output_write(const cf_predict_output *o)
{
    return is_json(o->path) ? write_json(o) : write_csv(o);
}
