/* The reference as a file of tensors. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "proto/safetensors.h"
#include "worker/unlike.h"

enum { NAME = 48, TENSORS_OF_ALL = 4, TENSORS_OF_FOLD = 3 };
static const char *const format = "cytofold unlike 2";

/* What is put together for writing. */
typedef struct shelf {
    cf_safetensor *items;
    cf_safetensor_note *notes;
    char (*names)[NAME]; /* owned: of tensors, then of notes */
    char (*values)[NAME];
    int n, n_notes, n_names, n_values;
} shelf;

static void put(shelf *s, const char *name, cf_safetensor_type type, const void *data, int64_t rows,
                int64_t columns)
{
    s->items[s->n++] = (cf_safetensor){.name = name,
                                       .type = type,
                                       .rank = columns > 0 ? 2 : 1,
                                       .dim = {rows, columns},
                                       .count = columns > 0 ? rows * columns : rows,
                                       .data = data};
}

static const char *name_of(shelf *s, int fold, const char *what)
{
    snprintf(s->names[s->n_names], NAME, "fold-%d.%s", fold, what);
    return s->names[s->n_names++];
}

static void note(shelf *s, const char *key, const char *value)
{
    s->notes[s->n_notes++] = (cf_safetensor_note){key, value};
}

static int64_t factor_size(int64_t d)
{
    return d * (d + 1) / 2;
}

static void fill(const cf_unlike *u, shelf *s)
{
    put(s, "look.mean", CF_SAFETENSOR_F64, u->mean, CF_LOOK_FIGURES, 0);
    put(s, "look.factor", CF_SAFETENSOR_F64, u->factor, CF_LOOK_FIGURES, CF_LOOK_FIGURES);
    put(s, "look.held", CF_SAFETENSOR_F32, u->look, u->n_held, 0);
    put(s, "features.held", CF_SAFETENSOR_F32, u->features, u->n_held, 0);
    note(s, "format", format);
    note(s, "data", u->data);
    for (int f = 0; f < u->n_folds; f++) {
        const cf_unlike_fold *x = &u->folds[f];
        put(s, name_of(s, x->fold, "scale"), CF_SAFETENSOR_F64, &x->scale, 1, 0);
        if (!isnan(x->scale)) {
            put(s, name_of(s, x->fold, "factor"), CF_SAFETENSOR_F32, x->factor, factor_size(u->d),
                0);
            put(s, name_of(s, x->fold, "centres"), CF_SAFETENSOR_F32, x->centres, u->n_classes,
                u->d);
        }
        snprintf(s->values[s->n_values], NAME, "%016" PRIx64, x->weights);
        note(s, name_of(s, x->fold, "weights"), s->values[s->n_values++]);
    }
}

cf_err cf_unlike_write(const cf_unlike *u, const char *path)
{
    shelf s = {0};
    size_t folds = (size_t)u->n_folds;
    cf_err err = CF_OK;
    CF_TRY_GOTO(cf_new(&s.items, TENSORS_OF_ALL + TENSORS_OF_FOLD * folds, sizeof *s.items), out);
    CF_TRY_GOTO(cf_new(&s.notes, 2 + folds, sizeof *s.notes), out);
    CF_TRY_GOTO(cf_new(&s.names, (TENSORS_OF_FOLD + 1) * folds + 1, sizeof *s.names), out);
    CF_TRY_GOTO(cf_new(&s.values, folds + 1, sizeof *s.values), out);
    fill(u, &s);
    err = cf_safetensors_write(path, s.items, s.n, s.notes, s.n_notes);
out:
    free(s.values);
    free(s.names);
    free(s.notes);
    free(s.items);
    return err;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* count: elements that it must have; negative: any. */
static cf_err take(const cf_safetensors *f, const char *name, cf_safetensor_type type,
                   int64_t count, const cf_safetensor **out)
{
    const cf_safetensor *t = cf_safetensors_find(f, name);
    *out = t;
    if (t == NULL) return cf_fail(CF_E_CHECKPOINT, "%s: no tensor %s", f->path, name);
    if (t->type != type || (count >= 0 && t->count != count))
        return cf_fail(CF_E_CHECKPOINT, "%s: tensor %s: expected %lld of %s, found %lld of %s",
                       f->path, name, (long long)count, cf_safetensor_type_name(type),
                       (long long)t->count, cf_safetensor_type_name(t->type));
    return CF_OK;
}

static cf_err copy(const cf_safetensors *f, const char *name, int64_t count, void *out)
{
    const cf_safetensor *t = NULL;
    CF_TRY(take(f, name, CF_SAFETENSOR_F64, count, &t));
    memcpy(out, t->data, (size_t)t->count * sizeof(double));
    return CF_OK;
}

/* *out: owned by the caller. */
static cf_err read_floats(const cf_safetensors *f, const char *name, int64_t count, float **out,
                          int64_t *found)
{
    const cf_safetensor *t = NULL;
    CF_TRY(take(f, name, CF_SAFETENSOR_F32, count, &t));
    CF_TRY(cf_new(out, (size_t)t->count, sizeof **out));
    memcpy(*out, t->data, (size_t)t->count * sizeof **out);
    if (found != NULL) *found = t->count;
    return CF_OK;
}

static cf_err read_fold(const cf_safetensors *f, const char *weights, cf_unlike *u)
{
    cf_unlike_fold *x = &u->folds[u->n_folds];
    char name[NAME];
    const cf_safetensor *t = NULL;
    u->n_folds++;
    if (sscanf(weights, "%" SCNx64, &x->weights) != 1)
        return cf_fail(CF_E_CHECKPOINT, "%s: fold %d: no hash of weights", f->path, x->fold);
    snprintf(name, sizeof name, "fold-%d.scale", x->fold);
    CF_TRY(copy(f, name, 1, &x->scale));
    if (isnan(x->scale)) return CF_OK;
    snprintf(name, sizeof name, "fold-%d.centres", x->fold);
    CF_TRY(take(f, name, CF_SAFETENSOR_F32, -1, &t));
    if (t->rank != 2 || (u->d != 0 && (t->dim[1] != u->d || t->dim[0] != u->n_classes)))
        return cf_fail(CF_E_CHECKPOINT, "%s: tensor %s is of another shape", f->path, name);
    if (t->dim[0] < 1 || t->dim[0] > CF_MAX_CLASSES || t->dim[1] < 1 ||
        t->dim[1] > CF_UNLIKE_MAX_FEATURES)
        return cf_fail(CF_E_CHECKPOINT, "%s: tensor %s is of no possible shape", f->path, name);
    u->n_classes = (int)t->dim[0];
    u->d = t->dim[1];
    CF_TRY(read_floats(f, name, -1, &x->centres, NULL));
    snprintf(name, sizeof name, "fold-%d.factor", x->fold);
    return read_floats(f, name, factor_size(u->d), &x->factor, NULL);
}

static cf_err read_all(const cf_safetensors *f, cf_unlike *u)
{
    const char *found = cf_safetensors_note(f, "format"), *data = cf_safetensors_note(f, "data");
    if (found == NULL || strcmp(found, format) != 0 || data == NULL)
        return cf_fail(CF_E_CHECKPOINT, "%s: expected the format %s", f->path, format);
    snprintf(u->data, sizeof u->data, "%.16s", data);
    CF_TRY(copy(f, "look.mean", CF_LOOK_FIGURES, u->mean));
    CF_TRY(copy(f, "look.factor", (int64_t)CF_LOOK_FIGURES * CF_LOOK_FIGURES, u->factor));
    CF_TRY(read_floats(f, "look.held", -1, &u->look, &u->n_held));
    CF_TRY(read_floats(f, "features.held", u->n_held, &u->features, NULL));
    CF_TRY(cf_new(&u->folds, CF_MAX_FOLDS, sizeof *u->folds));
    for (int fold = 0; fold < CF_MAX_FOLDS; fold++) {
        char key[NAME];
        snprintf(key, sizeof key, "fold-%d.weights", fold);
        const char *weights = cf_safetensors_note(f, key);
        if (weights == NULL) continue;
        u->folds[u->n_folds].fold = fold;
        CF_TRY(read_fold(f, weights, u));
    }
    if (u->d > 0 && u->n_held > 0) return CF_OK;
    return cf_fail(CF_E_CHECKPOINT, "%s: nothing is in it", f->path);
}

cf_err cf_unlike_read(const char *path, cf_unlike *u)
{
    cf_safetensors f;
    memset(u, 0, sizeof *u);
    CF_TRY(cf_safetensors_open(path, &f));
    cf_err err = read_all(&f, u);
    cf_safetensors_close(&f);
    return err;
}
