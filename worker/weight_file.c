#include "worker/weight_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "worker/model_facts.h"

enum { SHOWN = 3 }; /* tensors that a message names */

static bool is_state(const cf_param *p)
{
    return p->kind == CF_PARAM_MEAN || p->kind == CF_PARAM_VAR;
}

/* The dense layer before the loss. */
static bool is_classifier(const cf_graph *g, const cf_param *p)
{
    return g->nodes[p->node].op == CF_OP_DENSE;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* What tells the two families apart, as far as one tensor does: norms' names, and where a filter
 * has its two equal sides. */
static void judge_tensor(const cf_safetensor *t, bool *ours, bool *theirs)
{
    *ours |= strcmp(t->name, "stem.weight") == 0 || ends_with(t->name, ".gamma");
    *theirs |= ends_with(t->name, ".running_mean");
    if (t->rank != 4) return;
    *ours |= t->dim[1] == t->dim[2] && t->dim[2] != t->dim[3];
    *theirs |= t->dim[1] != t->dim[2] && t->dim[2] == t->dim[3];
}

cf_err cf_weight_file_naming(const cf_safetensors *f, cf_naming *naming)
{
    const char *word = cf_safetensors_note(f, CF_FACT_NAMES);
    bool ours = false, theirs = false, filters = false;
    *naming = CF_NAMING_TORCHVISION;
    if (word != NULL && cf_naming_find(word, naming)) return CF_OK;
    for (int i = 0; i < f->n; i++) {
        judge_tensor(&f->items[i], &ours, &theirs);
        filters |= f->items[i].rank == 4;
    }
    if (filters && !ours && !theirs)
        return cf_fail(CF_E_CHECKPOINT,
                       "%s: [out, in, height, width] or [out, height, width, in]? Its filters fit "
                       "both; expected the metadata \"%s\" with torchvision or cytofold",
                       f->path, CF_FACT_NAMES);
    if (ours && !theirs) *naming = CF_NAMING_CYTOFOLD;
    return CF_OK;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

typedef struct reading {
    const cf_safetensors *f; /* borrowed */
    const cf_graph *g;       /* borrowed */
    cf_naming naming;
    cf_weight_taken *taken; /* borrowed */
} reading;

/* The tensor as the network would have it there. */
static cf_safetensor expected(const reading *r, const cf_param *p, char name[CF_WEIGHT_NAME_MAX])
{
    cf_safetensor t = {.name = cf_weight_name(r->g, p, r->naming, name),
                       .type = CF_SAFETENSOR_F32,
                       .count = p->count};
    t.rank = cf_weight_shape(r->g, p, r->naming, t.dim);
    return t;
}

static bool same_shape(const cf_safetensor *a, const cf_safetensor *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

/* What does not fit, a few of them by name. */
typedef struct misfits {
    int n;
    cf_buf text;
} misfits;

static void add_misfit(misfits *m, const cf_safetensor *t, const cf_safetensor *instead)
{
    if (m->n++ >= SHOWN) return;
    if (m->n > 1) cf_buf_printf(&m->text, ", ");
    cf_safetensor_print(t, &m->text);
    if (instead == NULL) return;
    cf_buf_printf(&m->text, " (found ");
    cf_safetensor_print(instead, &m->text);
    cf_buf_printf(&m->text, ")");
}

static cf_err refuse_misfits(const reading *r, misfits *m, const char *what)
{
    cf_err err = CF_OK;
    if (m->n > 0)
        err =
            cf_fail(CF_E_CHECKPOINT, "%s: %d tensor%s %s: %s%s", r->f->path, m->n,
                    m->n == 1 ? "" : "s", what, cf_buf_text(&m->text), m->n > SHOWN ? " ..." : "");
    cf_buf_fini(&m->text);
    return err;
}

static void leave_classifier(reading *r, const char *why)
{
    r->taken->classifier_left = true;
    snprintf(r->taken->why, sizeof r->taken->why, "%s", why);
}

/* A classifier of another size, or of a file that names other classes. */
static cf_err judge_classifier(reading *r, const cf_scheme *scheme)
{
    cf_buf nodes = {0}, why = {0};
    const char *said = cf_safetensors_note(r->f, CF_FACT_NODES);
    for (int i = 0; i < r->g->n_params && !r->taken->classifier_left; i++) {
        char name[CF_WEIGHT_NAME_MAX];
        const cf_param *p = &r->g->params[i];
        if (!is_classifier(r->g, p)) continue;
        cf_safetensor want = expected(r, p, name);
        const cf_safetensor *t = cf_safetensors_find(r->f, name);
        if (t != NULL && same_shape(&want, t)) continue;
        cf_buf_clear(&why);
        if (t != NULL)
            cf_safetensor_print(t, &why);
        else
            cf_buf_printf(&why, "no %s", name);
        cf_buf_printf(&why, " there, ");
        cf_safetensor_print(&want, &why);
        cf_buf_printf(&why, " here");
        leave_classifier(r, cf_buf_text(&why));
    }
    if (said != NULL && scheme != NULL && !r->taken->classifier_left) {
        cf_fact_nodes(scheme, &nodes);
        if (strcmp(said, cf_buf_text(&nodes)) != 0)
            leave_classifier(r, "the file's classes are others");
    }
    cf_err err = cf_buf_check(&nodes);
    if (err == CF_OK) err = cf_buf_check(&why);
    cf_buf_fini(&why);
    cf_buf_fini(&nodes);
    return err;
}

static bool is_wanted(const reading *r, const cf_param *p)
{
    return !r->taken->classifier_left || !is_classifier(r->g, p);
}

static cf_err check_missing(const reading *r)
{
    misfits missing = {0}, other = {0};
    cf_err type = CF_OK;
    for (int i = 0; i < r->g->n_params; i++) {
        char name[CF_WEIGHT_NAME_MAX];
        const cf_param *p = &r->g->params[i];
        if (!is_wanted(r, p)) continue;
        cf_safetensor want = expected(r, p, name);
        const cf_safetensor *t = cf_safetensors_find(r->f, name);
        if (t == NULL)
            add_misfit(&missing, &want, NULL);
        else if (!same_shape(t, &want))
            add_misfit(&other, &want, t);
        else if (type == CF_OK)
            type = cf_safetensors_check_type(r->f, t);
    }
    cf_err err = refuse_misfits(r, &missing, "of the network missing");
    if (err == CF_OK) err = refuse_misfits(r, &other, "expected in another shape");
    cf_buf_fini(&missing.text);
    cf_buf_fini(&other.text);
    return err == CF_OK ? type : err;
}

static bool has_place(const reading *r, const cf_safetensor *t)
{
    char name[CF_WEIGHT_NAME_MAX];
    if (ends_with(t->name, ".num_batches_tracked")) return true;
    for (int i = 0; i < r->g->n_params; i++)
        if (strcmp(cf_weight_name(r->g, &r->g->params[i], r->naming, name), t->name) == 0)
            return true;
    return false;
}

/* A deeper network's weights would else be taken for a shallower one's. */
static cf_err check_strangers(const reading *r)
{
    misfits strangers = {0};
    for (int i = 0; i < r->f->n; i++)
        if (!has_place(r, &r->f->items[i])) add_misfit(&strangers, &r->f->items[i], NULL);
    return refuse_misfits(r, &strangers, "without a place in the network");
}

static cf_err take(const reading *r, float *weights, float *state)
{
    float *theirs = NULL;
    int64_t most = 0;
    cf_err err = CF_OK;
    for (int i = 0; i < r->g->n_params; i++)
        if (r->g->params[i].count > most) most = r->g->params[i].count;
    CF_TRY(cf_new(&theirs, (size_t)most, sizeof *theirs));
    for (int i = 0; i < r->g->n_params && err == CF_OK; i++) {
        char name[CF_WEIGHT_NAME_MAX];
        const cf_param *p = &r->g->params[i];
        if (!is_wanted(r, p)) continue;
        const cf_safetensor *t =
            cf_safetensors_find(r->f, cf_weight_name(r->g, p, r->naming, name));
        err = cf_safetensors_floats(r->f, t, theirs);
        cf_weight_in(r->g, p, r->naming, theirs, (is_state(p) ? state : weights) + p->offset);
        r->taken->n++;
    }
    free(theirs);
    return err;
}

static cf_err check(reading *r, const cf_scheme *scheme, cf_weight_use use)
{
    *r->taken = (cf_weight_taken){0};
    CF_TRY(cf_weight_file_naming(r->f, &r->naming));
    if (use == CF_WEIGHT_USE_START) CF_TRY(judge_classifier(r, scheme));
    CF_TRY(check_missing(r));
    return check_strangers(r);
}

cf_err cf_weight_file_check(const cf_safetensors *f, const cf_graph *g, const cf_scheme *scheme,
                            cf_weight_use use, cf_weight_taken *taken)
{
    reading r = {.f = f, .g = g, .taken = taken};
    return check(&r, scheme, use);
}

cf_err cf_weight_file_read(const cf_safetensors *f, const cf_graph *g, const cf_scheme *scheme,
                           cf_weight_use use, float *weights, float *state, cf_weight_taken *taken)
{
    reading r = {.f = f, .g = g, .taken = taken};
    CF_TRY(check(&r, scheme, use));
    return take(&r, weights, state);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static const int64_t not_counted = 0; /* batches seen: not known, and used by no inference */

typedef struct writing {
    cf_safetensor *items;                   /* owned, [n] */
    char (*names)[CF_WEIGHT_NAME_MAX + 24]; /* owned, [n] */
    int n;
    float *values; /* owned, in their layout */
} writing;

static cf_safetensor *next_item(writing *w)
{
    cf_safetensor *t = &w->items[w->n];
    *t = (cf_safetensor){.name = w->names[w->n]};
    w->n++;
    return t;
}

/* Beside "bn1.running_mean" stands "bn1.num_batches_tracked". */
static void add_tracked(writing *w, const cf_graph *g, const cf_param *p, cf_naming naming)
{
    char mean[CF_WEIGHT_NAME_MAX];
    int stem = (int)(strlen(cf_weight_name(g, p, naming, mean)) - strlen("running_mean"));
    cf_safetensor *t = next_item(w);
    snprintf(w->names[w->n - 1], sizeof w->names[0], "%.*snum_batches_tracked", stem, mean);
    t->type = CF_SAFETENSOR_I64;
    t->count = 1;
    t->data = &not_counted;
}

static void add_param(writing *w, const cf_graph *g, const cf_param *p, cf_naming naming,
                      const float *ours, float *theirs)
{
    cf_safetensor *t = next_item(w);
    cf_weight_name(g, p, naming, w->names[w->n - 1]);
    t->type = CF_SAFETENSOR_F32;
    t->rank = cf_weight_shape(g, p, naming, t->dim);
    t->count = p->count;
    t->data = theirs;
    cf_weight_out(g, p, naming, ours, theirs);
}

cf_err cf_weight_file_write(const char *path, const cf_graph *g, cf_naming naming,
                            const float *weights, const float *state,
                            const cf_safetensor_note *notes, int n_notes)
{
    writing w = {0};
    cf_err err = CF_OK;
    size_t most = 2 * (size_t)g->n_params;
    CF_TRY_GOTO(cf_new(&w.items, most, sizeof *w.items), out);
    CF_TRY_GOTO(cf_new(&w.names, most, sizeof *w.names), out);
    CF_TRY_GOTO(cf_new(&w.values, (size_t)(g->n_weights + g->n_state), sizeof *w.values), out);
    for (int i = 0; i < g->n_params; i++) {
        const cf_param *p = &g->params[i];
        float *theirs = w.values + p->offset + (is_state(p) ? g->n_weights : 0);
        add_param(&w, g, p, naming, (is_state(p) ? state : weights) + p->offset, theirs);
        if (p->kind == CF_PARAM_MEAN && naming != CF_NAMING_CYTOFOLD) add_tracked(&w, g, p, naming);
    }
    err = cf_safetensors_write(path, w.items, w.n, notes, n_notes);
out:
    free(w.values);
    free(w.names);
    free(w.items);
    return err;
}
