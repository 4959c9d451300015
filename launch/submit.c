#include "launch/submit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/submit_template.h"

/* ---- words of a script -------------------------------------------------------------------------
 */

static cf_err check_text(const char *what, const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            return cf_fail(CF_E_USAGE, "%s: a control character cannot stand in a job script: %s",
                           what, text);
    return CF_OK;
}

/* One word for bash, whatever is in it. */
static void add_word(cf_buf *out, const char *text)
{
    cf_buf_printf(out, "'");
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\'')
            cf_buf_printf(out, "'\\''");
        else
            cf_buf_add(out, p, 1);
    }
    cf_buf_printf(out, "'");
}

/* A value of an #SBATCH line, for which sbatch has quotes but no escapes. */
static cf_err check_value(const char *what, const char *text)
{
    CF_TRY(check_text(what, text));
    if (strpbrk(text, "\"'\\`$") == NULL) return CF_OK;
    return cf_fail(CF_E_USAGE, "%s: sbatch takes no quotes, backslashes or $ in it: %s", what,
                   text);
}

/* "<run>/slurm/%x-%j.log" between quotes, where %% is a % of the folder's own name. */
static cf_err add_log(cf_buf *out, const char *run, const char *number)
{
    CF_TRY(check_value("--run", run));
    cf_buf_printf(out, "\"");
    for (const char *p = run; *p != '\0'; p++) cf_buf_printf(out, *p == '%' ? "%%%%" : "%c", *p);
    cf_buf_printf(out, "/slurm/%%x-%s.log\"", number);
    return cf_buf_check(out);
}

static cf_err add_options(cf_buf *out, const cf_submit_job *job, bool report)
{
    CF_TRY(check_value("current folder", job->folder));
    cf_buf_printf(out, "#SBATCH --chdir=\"%s\"\n", job->folder);
    if (job->partition != NULL) {
        CF_TRY(check_value("--partition", job->partition));
        cf_buf_printf(out, "#SBATCH --partition=\"%s\"\n", job->partition);
    }
    if (job->account != NULL) {
        CF_TRY(check_value("--account", job->account));
        cf_buf_printf(out, "#SBATCH --account=\"%s\"\n", job->account);
    }
    if (report) return cf_buf_check(out);
    if (job->gpus == 0 && job->array == 0 && job->tasks > 0)
        cf_buf_printf(out, "#SBATCH --ntasks-per-node=%lld\n", (long long)job->tasks);
    for (size_t i = 0; i < job->options->n; i++) {
        const char *option = job->options->items[i];
        CF_TRY(check_text("--sbatch", option));
        if (strncmp(option, "--", 2) != 0)
            return cf_fail(CF_E_USAGE, "--sbatch takes an option such as --mem=64G, found '%s'",
                           option);
        cf_buf_printf(out, "#SBATCH %s\n", option);
    }
    return cf_buf_check(out);
}

/* A list for bash: (--set 'a.b=c' ...). */
static cf_err add_settings(cf_buf *out, const cf_strings *sets)
{
    cf_buf_printf(out, "(");
    for (size_t i = 0; i < sets->n; i++) {
        CF_TRY(check_text("--set", sets->items[i]));
        cf_buf_printf(out, "%s--set ", i > 0 ? " " : "");
        add_word(out, sets->items[i]);
    }
    cf_buf_printf(out, ")");
    return cf_buf_check(out);
}

/* ---- scripts -----------------------------------------------------------------------------------
 */

/* What the lines of a script become; the texts are owned. */
enum { VALUES_MAX = 20 };
typedef struct sheet {
    cf_submit_value values[VALUES_MAX];
    cf_buf texts[VALUES_MAX];
    int n;
} sheet;

/* A new row; its text is written by the caller. */
static cf_buf *row(sheet *s, const char *name)
{
    s->values[s->n].name = name;
    return &s->texts[s->n++];
}

static void row_number(sheet *s, const char *name, int64_t value)
{
    cf_buf_printf(row(s, name), "%lld", (long long)value);
}

static cf_err row_word(sheet *s, const char *name, const char *text)
{
    CF_TRY(check_text(name, text));
    add_word(row(s, name), text);
    return CF_OK;
}

/* A row without a text takes the line away. */
static cf_err fill(sheet *s, const char *script, const char *title, const cf_submit_job *job,
                   cf_buf *out)
{
    cf_buf options = {0};
    for (int i = 0; i < s->n; i++) s->values[i].value = s->texts[i].data;
    cf_err err = add_options(&options, job, strcmp(script, "report") == 0);
    if (err == CF_OK)
        err = cf_submit_fill(script, title, s->values, s->n, cf_buf_text(&options), out);
    cf_buf_fini(&options);
    return err;
}

static cf_err fill_sizes(const cf_submit_job *job, sheet *s)
{
    int64_t tasks = job->tasks > 0 ? job->tasks : job->gpus;
    row_number(s, "--nodes", job->nodes);
    row_number(s, "--cpus-per-task", job->cpus);
    CF_TRY(check_value("--time", job->time));
    cf_buf_printf(row(s, "--time"), "%s", job->time);
    cf_buf_printf(row(s, "--signal"), "USR1@%lld", (long long)job->lead_s);
    row_number(s, "max_restarts", job->max_restarts);
    if (job->gpus > 0 || job->array > 0) {
        cf_buf *gpus = row(s, "--gpus-per-node");
        if (job->gpus > 0) cf_buf_printf(gpus, "%lld", (long long)job->gpus);
        row_number(s, "--ntasks-per-node", tasks > 0 ? tasks : 1);
    } else if (tasks > 0) {
        row(s, "--exclusive");
        cf_buf_printf(row(s, "tasks"), "(--ntasks-per-node=%lld)", (long long)tasks);
    }
    return CF_OK;
}

static cf_err fill_script(const cf_submit_job *job, sheet *s, cf_buf *out)
{
    const char *script = job->array > 0   ? "array"
                         : job->gpus == 0 ? "cpu"
                         : job->nodes > 1 ? "multi-node"
                                          : "one-node";
    CF_TRY(fill_sizes(job, s));
    CF_TRY(row_word(s, "config", job->config));
    CF_TRY(row_word(s, "run", job->run));
    CF_TRY(row_word(s, "cytofold", job->program));
    CF_TRY(row_word(s, "stage", job->stage));
    CF_TRY(add_settings(row(s, "settings"), job->sets));
    CF_TRY(add_log(row(s, "--output"), job->run, job->array > 0 ? "%A_%a" : "%j"));
    if (job->array > 0) cf_buf_printf(row(s, "--array"), "0-%d", job->array - 1);
    if (job->points) cf_buf_printf(row(s, "settings+"), "(--point \"$SLURM_ARRAY_TASK_ID\")");
    return fill(s, script, "Written by cytofold submit; sbatch starts it, or goes on where it was.",
                job, out);
}

static void sheet_fini(sheet *s)
{
    for (int i = 0; i < s->n; i++) cf_buf_fini(&s->texts[i]);
}

cf_err cf_submit_script(const cf_submit_job *job, cf_buf *out)
{
    sheet s = {0};
    cf_err err = fill_script(job, &s, out);
    sheet_fini(&s);
    return err;
}

cf_err cf_submit_report_script(const cf_submit_job *job, cf_buf *out)
{
    sheet s = {0};
    cf_err err = CF_OK;
    CF_TRY_GOTO(row_word(&s, "run", job->run), out);
    CF_TRY_GOTO(row_word(&s, "cytofold", job->program), out);
    CF_TRY_GOTO(add_log(row(&s, "--output"), job->run, "%j"), out);
    err = fill(&s, "report", "Written by cytofold submit: the table of all that an array trained.",
               job, out);
out:
    sheet_fini(&s);
    return err;
}

/* ---- time --------------------------------------------------------------------------------------
 */

cf_err cf_submit_time(const char *text, int64_t *seconds)
{
    const int64_t year_s = 366LL * 86400;
    int64_t days = 0, part[3] = {0}, total = 0;
    int n = 0;
    char *end = NULL;
    const char *p = text, *dash = strchr(text, '-');
    bool good = *text != '\0' && strspn(text, "0123456789:-") == strlen(text);
    if (good && dash != NULL) {
        days = strtoll(p, &end, 10);
        good = end == dash && end > p && days <= 366;
        p = dash + 1;
    }
    for (; good && n < 3; p = end + 1) {
        part[n] = strtoll(p, &end, 10);
        good = end > p && *p != '-' && part[n] >= 0 && part[n] <= year_s;
        n++;
        if (*end == '\0') break;
        good = good && *end == ':' && n < 3;
    }
    if (!good || end == NULL || *end != '\0')
        return cf_fail(CF_E_USAGE, "--time takes M, M:S, H:M:S, D-H, D-H:M or D-H:M:S, found '%s'",
                       text);
    if (dash != NULL) /* hours first */
        total = days * 86400 + part[0] * 3600 + part[1] * 60 + part[2];
    else if (n == 3)
        total = part[0] * 3600 + part[1] * 60 + part[2];
    else
        total = part[0] * 60 + part[1];
    if (total <= 0 || total > year_s)
        return cf_fail(CF_E_USAGE, "--time takes up to a year, found %s", text);
    *seconds = total;
    return CF_OK;
}
