#include "kernels/cuda/engines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/cuda/engines_file.h"
#include "kernels/cuda/engines_time.h"

/* In the order of preference. */
static const cf_conv_kernel *const KERNELS[] = {&cf_conv_slab, &cf_conv_gemm, &cf_conv_direct};
enum { N_KERNELS = sizeof KERNELS / sizeof KERNELS[0], MAX_PLANS = 8 };
enum { MAX_CANDIDATES = N_KERNELS + MAX_PLANS };

typedef struct made {
    char *key; /* owned */
    cf_engine_choice choice;
} made;

struct cf_engines {
    cf_cudnn *cudnn;
    cudaStream_t stream;
    cf_engines_options options;
    char *path, *device; /* owned; path NULL: none */
    cf_engine_lines lines;
    made *made; /* owned: every choice so far, whose plans are owned */
    int n_made, reserved_made;
    bool changed;        /* lines that the file lacks */
    double bytes_per_ns; /* of a copy; 0: not measured yet */
};

cf_err cf_engines_create(cf_cudnn *cudnn, cudaStream_t stream, const cf_engines_options *o,
                         cf_engines **out)
{
    cf_engines *e = NULL;
    *out = NULL;
    if (strpbrk(o->device, "\t\n") || strlen(o->device) > CF_ENGINE_KEY_MAX / 2)
        return cf_fail(CF_E_UNEXPECTED, "engines: device '%s', expected one line without tabs",
                       o->device);
    CF_TRY(cf_new(&e, 1, sizeof *e));
    cf_err err = CF_OK;
    e->cudnn = cudnn;
    e->stream = stream;
    e->options = *o;
    CF_TRY_GOTO(cf_strdup(o->device, &e->device), out);
    if (o->path) CF_TRY_GOTO(cf_strdup(o->path, &e->path), out);
    if (o->path) CF_TRY_GOTO(cf_engine_lines_read(e->path, &e->lines), out);
out:
    if (err == CF_OK)
        *out = e;
    else
        cf_engines_destroy(e);
    return err;
}

void cf_engines_destroy(cf_engines *e)
{
    if (!e) return;
    for (int i = 0; i < e->n_made; i++) {
        cf_cudnn_plan_destroy(e->made[i].choice.plan);
        free(e->made[i].key);
    }
    free(e->made);
    cf_engine_lines_fini(&e->lines);
    free(e->device);
    free(e->path);
    free(e);
}

void cf_engine_choice_text(const cf_engine_choice *choice, char *text, size_t n)
{
    const char *word = choice->kernel ? choice->kernel->name : "cudnn ";
    size_t at = (size_t)snprintf(text, n, "%s", word);
    if (!choice->kernel && at < n) cf_cudnn_plan_text(choice->plan, text + at, n - at);
}

/* ---- candidates -------------------------------------------------------------------------------
 */

static cf_engine_choice choice_of_kernel(const cf_conv_kernel *kernel, const cf_geometry *g,
                                         cf_conv_pass pass)
{
    bool parts = kernel->fused || pass == CF_CONV_WEIGHTS;
    return (cf_engine_choice){.kernel = kernel, .parts = parts ? kernel->parts(g, pass) : 0};
}

static cf_engine_choice choice_of_plan(cf_cudnn_plan *plan, cf_conv_pass pass)
{
    return (cf_engine_choice){.plan = plan,
                              .parts = pass == CF_CONV_WEIGHTS ? 1 : 0,
                              .workspace = cf_cudnn_plan_workspace(plan)};
}

typedef struct candidates {
    cf_engine_choice items[MAX_CANDIDATES];
    int n;
} candidates;

/* Releases the plans of all but `kept` (-1: none is). */
static void release(candidates *c, int kept)
{
    for (int i = 0; i < c->n; i++)
        if (i != kept) cf_cudnn_plan_destroy(c->items[i].plan);
    c->n = 0;
}

/* The direct kernel's place is last. In 16 bits it is only there for shapes that nothing else
 * supports: arithmetic on ordinary cores is never the fastest then, but takes long to time. */
static cf_err find(const cf_engines *e, const cf_geometry *g, cf_conv_pass pass, int most_plans,
                   candidates *c)
{
    cf_cudnn_plan *plans[MAX_PLANS];
    int n_plans = 0;
    c->n = 0;
    for (int i = 0; i < N_KERNELS; i++)
        if (KERNELS[i] != &cf_conv_direct && KERNELS[i]->supports(g, pass))
            c->items[c->n++] = choice_of_kernel(KERNELS[i], g, pass);
    if (e->cudnn && most_plans > 0)
        CF_TRY(cf_cudnn_candidates(e->cudnn, g, pass, e->options.deterministic,
                                   e->options.workspace, most_plans, plans, &n_plans));
    for (int i = 0; i < n_plans; i++) c->items[c->n++] = choice_of_plan(plans[i], pass);
    if ((g->dtype == CF_F32 || c->n == 0) && cf_conv_direct.supports(g, pass))
        c->items[c->n++] = choice_of_kernel(&cf_conv_direct, g, pass);
    if (c->n > 0) return CF_OK;
    char shape[160];
    cf_geometry_text(g, shape, sizeof shape);
    return cf_fail(CF_E_DEVICE, "no engine for the %s pass of a convolution %s",
                   cf_conv_pass_name(pass), shape);
}

/* ---- choosing by time -------------------------------------------------------------------------
 */

static cf_err cost_of(cf_engines *e, const cf_engine_trial *t, const cf_engine_choice *choice,
                      double *ns)
{
    CF_TRY(cf_engine_trial_time(t, choice, ns));
    if (t->context.unfused_bytes == 0 || (choice->kernel && choice->kernel->fused)) return CF_OK;
    if (e->bytes_per_ns <= 0.0) CF_TRY(cf_engine_copy_rate(e->stream, &e->bytes_per_ns));
    *ns += (double)t->context.unfused_bytes / e->bytes_per_ns;
    return CF_OK;
}

/* A candidate that fails is dropped: others may do, and a device that is lost fails them all. */
static cf_err time_all(cf_engines *e, const cf_engine_trial *t, const candidates *c, int *best)
{
    double cost[MAX_CANDIDATES];
    int index[MAX_CANDIDATES], n = 0;
    char text[CF_ENGINE_TEXT_MAX], shape[160];
    cf_err last = CF_OK;
    cf_geometry_text(t->geometry, shape, sizeof shape);
    for (int i = 0; i < c->n; i++) {
        cf_err err = cost_of(e, t, &c->items[i], &cost[n]);
        cf_engine_choice_text(&c->items[i], text, sizeof text);
        if (err != CF_OK) {
            last = err;
            cf_log_warn("%s left out for the %s pass of %s: %s", text, cf_conv_pass_name(t->pass),
                        shape, cf_err_text());
            (void)cudaGetLastError();
            continue;
        }
        cf_log_debug("%s %s: %.1f us, %s", cf_conv_pass_name(t->pass), shape, cost[n] / 1e3, text);
        index[n++] = i;
    }
    if (n == 0) return cf_where(last, "every engine for %s", shape);
    *best = index[cf_engine_cheapest(cost, n)];
    return CF_OK;
}

static cf_err choose_by_time(cf_engines *e, const cf_geometry *g, cf_conv_pass pass,
                             const cf_engine_context *context, cf_engine_choice *out)
{
    candidates c;
    int best = 0;
    cf_engine_trial t = {
        .stream = e->stream, .cudnn = e->cudnn, .geometry = g, .pass = pass, .context = *context};
    CF_TRY(find(e, g, pass, MAX_PLANS, &c));
    cf_err err = CF_OK;
    if (c.n == 1) goto out;
    if (e->bytes_per_ns <= 0.0) CF_TRY_GOTO(cf_engine_copy_rate(e->stream, &e->bytes_per_ns), out);
    CF_TRY_GOTO(cf_engine_trial_open(&t, c.items, c.n), out);
    CF_TRY_GOTO(time_all(e, &t, &c, &best), out);
out:
    cf_engine_trial_close(&t);
    if (err == CF_OK) *out = c.items[best];
    release(&c, err == CF_OK ? best : -1);
    return err;
}

/* ---- choosing without -------------------------------------------------------------------------
 */

/* The order of the candidates is the rule. One plan is enough, none where an own kernel is ahead.
 */
static cf_err choose_by_rule(cf_engines *e, const cf_geometry *g, cf_conv_pass pass,
                             cf_engine_choice *out)
{
    candidates c;
    bool own = cf_conv_slab.supports(g, pass) || cf_conv_gemm.supports(g, pass);
    CF_TRY(find(e, g, pass, own ? 0 : 1, &c));
    *out = c.items[0];
    release(&c, 0);
    return CF_OK;
}

static cf_err choose_kernel(const cf_geometry *g, cf_conv_pass pass, const char *name,
                            cf_engine_choice *out)
{
    for (int i = 0; i < N_KERNELS; i++) {
        if (strcmp(name, KERNELS[i]->name) != 0) continue;
        if (!KERNELS[i]->supports(g, pass))
            return cf_fail(CF_E_DATA, "kernel '%s' does not support this shape", name);
        *out = choice_of_kernel(KERNELS[i], g, pass);
        return CF_OK;
    }
    return cf_fail(CF_E_DATA, "kernel '%s', expected slab, gemm or direct", name);
}

static cf_err choose_by_text(cf_engines *e, const cf_geometry *g, cf_conv_pass pass,
                             const char *text, cf_engine_choice *out)
{
    cf_cudnn_plan *plan = NULL;
    if (strncmp(text, "kernel ", 7) == 0) return choose_kernel(g, pass, text + 7, out);
    if (!e->cudnn) return cf_fail(CF_E_DEVICE, "'%s', but there is no cuDNN", text);
    CF_TRY(cf_cudnn_plan_of_text(e->cudnn, g, pass, text + 6, &plan));
    *out = choice_of_plan(plan, pass);
    if (out->workspace <= e->options.workspace) return CF_OK;
    cf_err err = cf_fail(CF_E_DEVICE, "'%s' takes %zu bytes of workspace, expected at most %zu",
                         text, out->workspace, e->options.workspace);
    cf_cudnn_plan_destroy(plan);
    return err;
}

/* ---- choosing ---------------------------------------------------------------------------------
 */

/* The choice, and its plan, are the object's from here on, also after a failure. */
static cf_err remember(cf_engines *e, const char *key, const cf_engine_choice *choice)
{
    cf_err err = CF_OK;
    if (e->n_made == e->reserved_made) {
        int reserved = e->reserved_made * 2 + 64;
        CF_TRY_GOTO(cf_resize(&e->made, (size_t)reserved, sizeof *e->made), out);
        e->reserved_made = reserved;
    }
    made *m = &e->made[e->n_made];
    CF_TRY_GOTO(cf_strdup(key, &m->key), out);
    m->choice = *choice;
    e->n_made++;
    return CF_OK;
out:
    cf_cudnn_plan_destroy(choice->plan);
    return err;
}

static cf_err add_line(cf_engines *e, const char *key, const cf_engine_choice *choice)
{
    char text[CF_ENGINE_TEXT_MAX], line[CF_ENGINE_TEXT_MAX + 8];
    cf_engine_choice_text(choice, text, sizeof text);
    snprintf(line, sizeof line, "%s%s", choice->kernel ? "kernel " : "", text);
    CF_TRY(cf_engine_lines_add(&e->lines, key, line, 0));
    e->changed = true;
    return CF_OK;
}

/* By file, time or rule. A choice by rule is not written down: the rule gives it again, and a run
 * that may time is not to find it. */
static cf_err choose(cf_engines *e, const char *key, const cf_geometry *g, cf_conv_pass pass,
                     const cf_engine_context *context, cf_engine_choice *out)
{
    const cf_engine_line *line = cf_engine_lines_find(&e->lines, key);
    *out = (cf_engine_choice){0};
    if (line)
        return cf_where(choose_by_text(e, g, pass, line->choice, out), "%s:%d", e->path,
                        line->number);
    if (!e->options.may_tune) return choose_by_rule(e, g, pass, out);
    return choose_by_time(e, g, pass, context, out);
}

cf_err cf_engines_choose(cf_engines *e, const cf_geometry *g, cf_conv_pass pass,
                         const cf_engine_context *context, cf_engine_choice *out)
{
    char key[CF_ENGINE_KEY_MAX];
    cf_engine_key(e->device, g, pass, context, e->options.deterministic, key, sizeof key);
    for (int i = 0; i < e->n_made; i++)
        if (strcmp(e->made[i].key, key) == 0) {
            *out = e->made[i].choice;
            return CF_OK;
        }
    CF_TRY(choose(e, key, g, pass, context, out));
    CF_TRY(remember(e, key, out));
    if (!e->options.may_tune || cf_engine_lines_find(&e->lines, key)) return CF_OK;
    return add_line(e, key, out);
}

cf_err cf_engines_run(cf_engines *e, const cf_engine_choice *choice, const cf_conv_call *call)
{
    return cf_engine_run(e->stream, e->cudnn, choice, call);
}

cf_err cf_engines_save(cf_engines *e)
{
    if (!e->path || !e->changed) return CF_OK;
    CF_TRY(cf_engine_lines_save(e->path, &e->lines));
    e->changed = false;
    return CF_OK;
}
