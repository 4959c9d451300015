#include "coordinator/stop.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cf_stop_ask(cf_stop *s, const char *fmt, ...)
{
    if (s->asked) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->reason, sizeof s->reason, fmt, args);
    va_end(args);
    s->asked = true;
}

void cf_stop_word_init(cf_stop_word *word)
{
    pthread_mutex_init(&word->mutex, NULL);
    word->reason[0] = '\0';
}

void cf_stop_word_fini(cf_stop_word *word)
{
    pthread_mutex_destroy(&word->mutex);
}

void cf_stop_word_say(cf_stop_word *word, const char *reason)
{
    pthread_mutex_lock(&word->mutex);
    if (word->reason[0] == '\0') snprintf(word->reason, sizeof word->reason, "%s", reason);
    pthread_mutex_unlock(&word->mutex);
}

bool cf_stop_word_heard(cf_stop_word *word, char reason[400])
{
    pthread_mutex_lock(&word->mutex);
    strcpy(reason, word->reason);
    pthread_mutex_unlock(&word->mutex);
    return reason[0] != '\0';
}

void cf_stop_hear(cf_stop *s, const cf_msg_progress *p)
{
    if (p->longest_step > s->longest_step) s->longest_step = p->longest_step;
    if (p->longest_save > s->longest_save) s->longest_save = p->longest_save;
    if (p->fold < 0 || p->fold >= CF_MAX_FOLDS) return;
    s->total[p->fold] = p->total_steps;
    if (p->step > s->step[p->fold]) s->step[p->fold] = p->step;
}

double cf_stop_needed(const cf_stop *s, double margin)
{
    return margin + 2 * s->longest_step + 2 * s->longest_save;
}

void cf_stop_write(const cf_stop *s, cf_json *json)
{
    cf_json_string(json, "reason", s->reason);
    cf_json_array(json, "saved_folds");
    for (int f = 0; f < CF_MAX_FOLDS; f++) {
        if (s->total[f] == 0) continue;
        cf_json_object(json, NULL);
        cf_json_integer(json, "fold", f);
        cf_json_integer(json, "step", s->step[f]);
        cf_json_integer(json, "of", s->total[f]);
        cf_json_end_object(json);
    }
    cf_json_end_array(json);
}

cf_err cf_stop_error(const cf_stop *s, const char *run_dir)
{
    cf_buf folds = {0};
    for (int f = 0; f < CF_MAX_FOLDS; f++)
        if (s->total[f] > 0 && s->step[f] > 0) /* one that was not begun has no file */
            cf_buf_printf(&folds, "%s fold %d at step %lld of %lld", folds.len > 0 ? "," : "", f,
                          (long long)s->step[f], (long long)s->total[f]);
    cf_err err = folds.len == 0 ? cf_fail(CF_E_REQUEUE,
                                          "stopped (%s) before the first step; the same command "
                                          "starts %s again",
                                          s->reason, run_dir)
                                : cf_fail(CF_E_REQUEUE,
                                          "stopped (%s) and saved in %s:%s; the same command goes "
                                          "on from there",
                                          s->reason, run_dir, cf_buf_text(&folds));
    cf_buf_fini(&folds);
    return err;
}
