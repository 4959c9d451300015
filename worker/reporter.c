#include "worker/reporter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "kernels/base/log.h"
#include "proto/stop_rules.h"
#include "worker/schedule.h"

#define INTERVAL_NS (500LL * 1000000)

void cf_reporter_fini(cf_reporter *r)
{
    cf_buf_fini(&r->wire);
}

cf_err cf_reporter_send(cf_reporter *r, const cf_message *m)
{
    cf_buf_clear(&r->wire);
    CF_TRY(cf_message_pack(m, &r->wire));
    return cf_channel_send(r->channel, 0, r->wire.data, r->wire.len);
}

cf_err cf_reporter_pass_signal_on(cf_reporter *r)
{
    int number = r->signal_caught != NULL && !r->asked ? r->signal_caught() : 0;
    if (number == 0) return CF_OK;
    char storage[32];
    cf_message m = {.kind = CF_MSG_STOP};
    snprintf(m.stop.reason, sizeof m.stop.reason, "signal %s", cf_signal_name(number, storage));
    r->asked = true;
    return cf_reporter_send(r, &m);
}

static cf_err take_word(cf_reporter *r, bool *got)
{
    int rank = 0;
    void *bytes = NULL;
    size_t n = 0;
    cf_message m;
    CF_TRY(cf_channel_receive(r->channel, 0, got, &rank, &bytes, &n));
    if (!*got) return CF_OK;
    cf_err err = cf_message_unpack(bytes, n, &m);
    free(bytes);
    CF_TRY(err);
    if (m.kind == CF_MSG_STOP) {
        r->stop = true;
        return CF_OK;
    }
    cf_message_fini(&m);
    return cf_fail(CF_E_DEVICE, "message %d from the coordinator while training", (int)m.kind);
}

cf_err cf_reporter_listen(cf_reporter *r)
{
    bool got = true;
    CF_TRY(cf_reporter_pass_signal_on(r));
    while (got && !r->stop) CF_TRY(take_word(r, &got));
    return CF_OK;
}

static int64_t peak_resident_bytes(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return (int64_t)usage.ru_maxrss * 1024;
}

static void fill(const cf_reporter *r, const cf_trainer *t, cf_phase phase, cf_message *m)
{
    memset(m, 0, sizeof *m);
    m->kind = CF_MSG_PROGRESS;
    int64_t last = t->step > 0 ? t->step - 1 : 0;
    m->progress = (cf_msg_progress){
        .fold = t->fold,
        .phase = phase,
        .step = t->step,
        .total_steps = t->total_steps,
        .epoch = t->step / t->sampler.steps_per_epoch,
        .epochs = r->config->train_epochs,
        .loss = t->loss,
        .accuracy = t->accuracy,
        .learning_rate =
            cf_schedule_rate(r->config, last, t->sampler.steps_per_epoch, t->total_steps),
        .resident_bytes = peak_resident_bytes(),
        .longest_step = (double)r->longest_step_ns * 1e-9,
        .longest_save = (double)r->longest_save_ns * 1e-9,
    };
}

/* Moves the counters into the message. */
static void drain(cf_reporter *r, int fold, cf_message *m)
{
    m->progress.images = r->images[fold];
    m->progress.step_seconds = (double)r->step_ns * 1e-9;
    m->progress.wait_seconds = (double)r->wait_ns * 1e-9;
    r->images[fold] = 0;
    r->step_ns = r->wait_ns = 0;
}

cf_err cf_reporter_step(cf_reporter *r, const cf_trainer *t, int64_t n_images)
{
    r->images[t->fold] += n_images;
    int64_t now = cf_clock_ns();
    if (now - r->last_ns[t->fold] < INTERVAL_NS) return CF_OK;
    r->last_ns[t->fold] = now;
    return cf_reporter_phase(r, t, CF_PHASE_TRAIN);
}

cf_err cf_reporter_epoch(cf_reporter *r, const cf_trainer *t)
{
    if (!r->leader) return CF_OK;
    cf_message m;
    fill(r, t, CF_PHASE_EPOCH, &m);
    if (t->n_summed > 0) { /* else all its steps were skipped: those of the last step stand */
        m.progress.loss = t->loss_sum / (double)t->n_summed;
        m.progress.accuracy = t->correct_sum / (double)t->n_summed;
    }
    return cf_reporter_send(r, &m);
}

cf_err cf_reporter_phase(cf_reporter *r, const cf_trainer *t, cf_phase phase)
{
    cf_message m;
    fill(r, t, phase, &m);
    drain(r, t->fold, &m);
    return cf_reporter_send(r, &m);
}

cf_err cf_reporter_fold_dir(const cf_reporter *r, int fold, char *dir, size_t n)
{
    char name[32];
    snprintf(name, sizeof name, "fold-%d", fold);
    return cf_path_join(dir, n, r->run_dir, name);
}
