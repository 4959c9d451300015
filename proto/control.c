#include "proto/control.h"

#include <stdlib.h>
#include <string.h>

#include "control.pb-c.h"
#include "proto/control_kinds.h"
#include "proto/wire.h"

static const size_t body_max = CF_CONTROL_MAX_BYTES - CF_CONTROL_PREFIX_BYTES;

static cf_err pack_hello(const cf_msg_hello *m, cf_buf *out)
{
    Cf__Hello w = CF__HELLO__INIT;
    w.host = cf_wire_bytes(m->host);
    w.pid = m->pid;
    w.threads = (uint32_t)m->threads;
    w.device = cf_wire_bytes(m->device);
    return cf_wire_pack(&w.base, body_max, out);
}

static cf_err pack_plan(const cf_msg_plan *m, cf_buf *out)
{
    Cf__Plan w = CF__PLAN__INIT;
    w.config = cf_wire_bytes(m->config);
    w.config_path = cf_wire_bytes(m->config_path);
    w.run_dir = cf_wire_bytes(m->run_dir);
    w.data_hash = m->data_hash;
    w.cells_hash = m->cells_hash;
    w.init_hash = m->init_hash;
    w.n_folds = (uint32_t)m->n_folds;
    w.fold_of = (ProtobufCBinaryData){.len = (size_t)m->n_images, .data = m->fold_of};
    w.n_groups = (uint32_t)m->n_groups;
    w.n_group_of_fold = (size_t)m->n_folds;
    w.group_of_fold = m->group_of_fold;
    w.n_group_of_worker = (size_t)m->n_workers;
    w.group_of_worker = m->group_of_worker;
    return cf_wire_pack(&w.base, body_max, out);
}

static cf_err pack_progress(const cf_msg_progress *m, cf_buf *out)
{
    Cf__Progress w = CF__PROGRESS__INIT;
    w.fold = (uint32_t)m->fold;
    w.phase = (uint32_t)m->phase;
    w.step = (uint64_t)m->step;
    w.total_steps = (uint64_t)m->total_steps;
    w.epoch = (uint64_t)m->epoch;
    w.epochs = (uint64_t)m->epochs;
    w.loss = m->loss;
    w.accuracy = m->accuracy;
    w.learning_rate = m->learning_rate;
    w.wait_seconds = m->wait_seconds;
    w.step_seconds = m->step_seconds;
    w.images = (uint64_t)m->images;
    w.resident_bytes = (uint64_t)m->resident_bytes;
    w.longest_step = m->longest_step;
    w.longest_save = m->longest_save;
    return cf_wire_pack(&w.base, body_max, out);
}

static cf_err pack_result(const cf_msg_result *m, cf_buf *out)
{
    Cf__Result w = CF__RESULT__INIT;
    w.fold = (uint32_t)m->fold;
    w.n_nodes = (uint32_t)m->n_nodes;
    w.final = m->final;
    w.epoch = (uint64_t)m->epoch;
    _Static_assert(sizeof *w.images == sizeof *m->images, "indices are not negative: same bits");
    w.images = (uint64_t *)(void *)m->images;
    w.n_images = (size_t)m->n;
    w.logits = m->logits;
    w.n_logits = (size_t)m->n * (size_t)m->n_nodes;
    return cf_wire_pack(&w.base, body_max, out);
}

static cf_err pack_done(const cf_msg_done *m, cf_buf *out)
{
    Cf__Done w = CF__DONE__INIT;
    w.code = (uint32_t)m->code;
    w.text = cf_wire_bytes(m->text);
    return cf_wire_pack(&w.base, body_max, out);
}

static cf_err pack_watch(const cf_msg_watch *m, cf_buf *out)
{
    Cf__Watch w = CF__WATCH__INIT;
    w.token = m->token;
    w.port = (uint32_t)m->port;
    w.timeout_ns = (uint64_t)m->timeout_ns;
    w.host = cf_wire_bytes(m->host);
    w.rank = (uint32_t)m->rank;
    w.pid = m->pid;
    w.addresses = (ProtobufCBinaryData){
        .len = (size_t)m->n_addresses * CF_WATCH_ADDRESS_BYTES,
        .data = (uint8_t *)(uintptr_t)m->addresses}; /* read only while packing */
    return cf_wire_pack(&w.base, body_max, out);
}

static cf_err pack_stop(const cf_msg_stop *m, cf_buf *out)
{
    Cf__Stop w = CF__STOP__INIT;
    w.reason = cf_wire_bytes(m->reason);
    return cf_wire_pack(&w.base, body_max, out);
}

static cf_err pack_bye(const cf_msg_bye *m, cf_buf *out)
{
    Cf__Bye w = CF__BYE__INIT;
    w.code = (uint32_t)m->code;
    w.more = m->more;
    return cf_wire_pack(&w.base, body_max, out);
}

cf_err cf_message_pack(const cf_message *m, cf_buf *out)
{
    const uint8_t prefix[CF_CONTROL_PREFIX_BYTES] = {(uint8_t)m->kind, CF_CONTROL_VERSION};
    cf_buf_add(out, prefix, sizeof prefix);
    switch (m->kind) {
    case CF_MSG_HELLO:
        return pack_hello(&m->hello, out);
    case CF_MSG_PLAN:
        return pack_plan(&m->plan, out);
    case CF_MSG_PROGRESS:
        return pack_progress(&m->progress, out);
    case CF_MSG_RESULT:
        return pack_result(&m->result, out);
    case CF_MSG_DONE:
        return pack_done(&m->done, out);
    case CF_MSG_BYE:
        return pack_bye(&m->bye, out);
    case CF_MSG_STOP:
        return pack_stop(&m->stop, out);
    case CF_MSG_WATCH:
        return pack_watch(&m->watch, out);
    }
    return cf_fail(CF_E_UNEXPECTED, "control message of unknown kind %d", (int)m->kind);
}

void cf_message_fini(cf_message *m)
{
    if (m->kind == CF_MSG_PLAN) {
        free(m->plan.config);
        free(m->plan.config_path);
        free(m->plan.run_dir);
        free(m->plan.fold_of);
        free(m->plan.group_of_fold);
        free(m->plan.group_of_worker);
    } else if (m->kind == CF_MSG_RESULT) {
        free(m->result.images);
        free(m->result.logits);
    }
    memset(m, 0, sizeof *m);
}
