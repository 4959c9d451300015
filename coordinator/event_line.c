#include "coordinator/event_line.h"

#include "kernels/base/log.h"

void cf_event_begin(cf_event_line *line, const char *event, int64_t start_ns)
{
    *line = (cf_event_line){.seconds = (double)(cf_clock_ns() - start_ns) * 1e-9};
    cf_json_begin(&line->json, &line->text, true);
    cf_json_object(&line->json, NULL);
    cf_json_string(&line->json, "event", event);
    cf_json_number(&line->json, "seconds", line->seconds);
}

cf_err cf_event_end(cf_event_line *line, const cf_run_folder *run)
{
    cf_json_end_object(&line->json);
    cf_buf_printf(&line->text, "\n");
    cf_err err = cf_buf_check(&line->text);
    if (err == CF_OK) err = cf_run_folder_log(run, &line->text);
    cf_buf_fini(&line->text);
    return err;
}

cf_err cf_event_epoch(const cf_run_folder *run, cf_tensorboard *t, int64_t start_ns,
                      const cf_msg_progress *p, double rate)
{
    cf_event_line line;
    cf_event_begin(&line, "epoch", start_ns);
    cf_json_integer(&line.json, "fold", p->fold);
    cf_json_integer(&line.json, "epoch", p->epoch);
    cf_json_integer(&line.json, "step", p->step);
    cf_json_number(&line.json, "loss", p->loss);
    cf_json_number(&line.json, "accuracy", p->accuracy);
    cf_json_number(&line.json, "learning_rate", p->learning_rate);
    cf_json_number(&line.json, "images_per_second", rate);
    const cf_log_entry e = {CF_LOG_EPOCH, p->fold,          p->epoch, p->step,    line.seconds,
                            p->loss,      p->learning_rate, rate,     p->accuracy};
    CF_TRY(cf_event_end(&line, run));
    cf_tensorboard_take(t, &e);
    return CF_OK;
}

cf_err cf_event_test(const cf_run_folder *run, cf_tensorboard *t, int64_t start_ns, int fold,
                     int64_t epoch, double accuracy)
{
    cf_event_line line;
    cf_event_begin(&line, "test", start_ns);
    cf_json_integer(&line.json, "fold", fold);
    cf_json_integer(&line.json, "epoch", epoch);
    cf_json_number(&line.json, "accuracy", accuracy);
    const cf_log_entry e = {CF_LOG_TEST, fold, epoch, -1, line.seconds, .accuracy = accuracy};
    CF_TRY(cf_event_end(&line, run));
    cf_tensorboard_take(t, &e);
    return CF_OK;
}
