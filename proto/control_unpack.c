/* Unpacking: every count is compared with the arrays it speaks of, every index with its range,
 * before a plain struct gets it. */
#include <stdlib.h>
#include <string.h>

#include "control.pb-c.h"
#include "kernels/base/mem.h"
#include "proto/control.h"
#include "proto/control_kinds.h"
#include "proto/wire.h"

static cf_err bad(const char *kind, const char *what)
{
    return cf_fail(CF_E_DEVICE, "control message %s: %s", kind, what);
}

static cf_err take_text(const ProtobufCBinaryData *from, char **out)
{
    if (from->len > CF_CONTROL_MAX_TEXT) return bad("PLAN", "text too long");
    CF_TRY(cf_new(out, from->len + 1, 1));
    return cf_wire_text(from, *out, from->len + 1) ? CF_OK : bad("PLAN", "text with a NUL");
}

static cf_err copy_block(const void *from, size_t n, size_t item_bytes, void *out)
{
    void *block = NULL;
    CF_TRY(cf_new(&block, n, item_bytes));
    if (n > 0) memcpy(block, from, n * item_bytes);
    memcpy(out, &block, sizeof block);
    return CF_OK;
}

static cf_err take_hello(const Cf__Hello *w, cf_msg_hello *m)
{
    if (!cf_wire_text(&w->host, m->host, sizeof m->host)) return bad("HELLO", "host");
    if (!cf_wire_text(&w->device, m->device, sizeof m->device)) return bad("HELLO", "device");
    if (w->threads > INT32_MAX) return bad("HELLO", "threads out of range");
    m->pid = w->pid;
    m->threads = (int)w->threads;
    return CF_OK;
}

static bool groups_in_range(const int32_t *groups, size_t n, int32_t lowest, uint32_t n_groups)
{
    for (size_t i = 0; i < n; i++) {
        if (groups[i] < lowest || groups[i] >= (int32_t)n_groups) return false;
    }
    return true;
}

static cf_err check_plan(const Cf__Plan *w)
{
    if (w->n_folds < 1 || w->n_folds > CF_MAX_FOLDS || w->n_group_of_fold != w->n_folds) {
        return bad("PLAN", "number of folds");
    }
    if (w->n_groups < 1 || w->n_groups > INT16_MAX || w->n_group_of_worker < 1) {
        return bad("PLAN", "number of groups or workers");
    }
    if (!groups_in_range(w->group_of_fold, w->n_group_of_fold, -1, w->n_groups) ||
        !groups_in_range(w->group_of_worker, w->n_group_of_worker, 0, w->n_groups)) {
        return bad("PLAN", "group out of range");
    }
    for (size_t i = 0; i < w->fold_of.len; i++) {
        uint8_t fold = w->fold_of.data[i];
        if (fold >= w->n_folds && fold != CF_FOLD_TRAIN)
            return bad("PLAN", "fold of an image out of range");
    }
    return CF_OK;
}

static cf_err take_plan(const Cf__Plan *w, cf_msg_plan *m)
{
    CF_TRY(check_plan(w));
    CF_TRY(take_text(&w->config, &m->config));
    CF_TRY(take_text(&w->config_path, &m->config_path));
    CF_TRY(take_text(&w->run_dir, &m->run_dir));
    CF_TRY(copy_block(w->fold_of.data, w->fold_of.len, 1, &m->fold_of));
    CF_TRY(copy_block(w->group_of_fold, w->n_group_of_fold, sizeof *w->group_of_fold,
                      &m->group_of_fold));
    CF_TRY(copy_block(w->group_of_worker, w->n_group_of_worker, sizeof *w->group_of_worker,
                      &m->group_of_worker));
    m->data_hash = w->data_hash;
    m->cells_hash = w->cells_hash;
    m->init_hash = w->init_hash;
    m->n_folds = (int)w->n_folds;
    m->n_images = (int64_t)w->fold_of.len;
    m->n_groups = (int)w->n_groups;
    m->n_workers = (int)w->n_group_of_worker;
    return CF_OK;
}

static cf_err take_progress(const Cf__Progress *w, cf_msg_progress *m)
{
    const uint64_t counts[] = {w->step,   w->total_steps, w->epoch,
                               w->epochs, w->images,      w->resident_bytes};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (counts[i] > INT64_MAX) return bad("PROGRESS", "count out of range");
    }
    if (w->fold >= CF_MAX_FOLDS) return bad("PROGRESS", "fold out of range");
    if (w->phase > CF_PHASE_SAVED) return bad("PROGRESS", "unknown phase");
    m->fold = (int)w->fold;
    m->phase = (cf_phase)w->phase;
    m->step = (int64_t)w->step;
    m->total_steps = (int64_t)w->total_steps;
    m->epoch = (int64_t)w->epoch;
    m->epochs = (int64_t)w->epochs;
    m->loss = w->loss;
    m->accuracy = w->accuracy;
    m->learning_rate = w->learning_rate;
    m->wait_seconds = w->wait_seconds;
    m->step_seconds = w->step_seconds;
    m->images = (int64_t)w->images;
    m->resident_bytes = (int64_t)w->resident_bytes;
    m->longest_step = w->longest_step;
    m->longest_save = w->longest_save;
    return CF_OK;
}

static cf_err take_result(const Cf__Result *w, cf_msg_result *m)
{
    size_t logits = 0;
    if (w->fold >= CF_MAX_FOLDS || w->epoch > INT64_MAX) {
        return bad("RESULT", "fold or epoch out of range");
    }
    if (w->n_nodes < 1 || w->n_nodes > CF_CONTROL_MAX_NODES ||
        !cf_size_mul(w->n_images, w->n_nodes, &logits) || logits != w->n_logits) {
        return bad("RESULT", "number of logits is not images x nodes");
    }
    for (size_t i = 0; i < w->n_images; i++) {
        if (w->images[i] > INT64_MAX) return bad("RESULT", "image out of range");
    }
    CF_TRY(copy_block(w->images, w->n_images, sizeof *w->images, &m->images));
    CF_TRY(copy_block(w->logits, w->n_logits, sizeof *w->logits, &m->logits));
    m->fold = (int)w->fold;
    m->n = (int64_t)w->n_images;
    m->n_nodes = (int)w->n_nodes;
    m->final = w->final != 0;
    m->epoch = (int64_t)w->epoch;
    return CF_OK;
}

static bool is_code(uint32_t code)
{
    return code <= CF_E_BUSY || code == CF_E_REQUEUE;
}

static cf_err take_done(const Cf__Done *w, cf_msg_done *m)
{
    if (!is_code(w->code)) return bad("DONE", "unknown code");
    if (!cf_wire_text(&w->text, m->text, sizeof m->text)) return bad("DONE", "text");
    m->code = (cf_err)w->code;
    return CF_OK;
}

static cf_err take_watch(const Cf__Watch *w, cf_msg_watch *m)
{
    size_t n = w->addresses.len / CF_WATCH_ADDRESS_BYTES;
    if (w->addresses.len % CF_WATCH_ADDRESS_BYTES != 0 || n < 1 || n > CF_WATCH_MAX_ADDRESSES)
        return bad("WATCH", "addresses");
    if (w->port < 1 || w->port > UINT16_MAX) return bad("WATCH", "port out of range");
    if (w->timeout_ns < 1 || w->timeout_ns > INT64_MAX / 16) return bad("WATCH", "time-out");
    if (w->rank > INT32_MAX) return bad("WATCH", "rank out of range");
    if (!cf_wire_text(&w->host, m->host, sizeof m->host)) return bad("WATCH", "host");
    m->token = w->token;
    m->port = (int)w->port;
    m->timeout_ns = (int64_t)w->timeout_ns;
    m->rank = (int)w->rank;
    m->pid = w->pid;
    m->n_addresses = (int)n;
    memcpy(m->addresses, w->addresses.data, w->addresses.len);
    return CF_OK;
}

static cf_err take_stop(const Cf__Stop *w, cf_msg_stop *m)
{
    if (!cf_wire_text(&w->reason, m->reason, sizeof m->reason)) return bad("STOP", "reason");
    return CF_OK;
}

static cf_err take_bye(const Cf__Bye *w, cf_msg_bye *m)
{
    if (!is_code(w->code)) return bad("BYE", "unknown code");
    m->code = (cf_err)w->code;
    m->more = w->more;
    return CF_OK;
}

static cf_err take_any(const ProtobufCMessage *w, cf_message *m)
{
    switch (m->kind) {
    case CF_MSG_HELLO:
        return take_hello((const Cf__Hello *)w, &m->hello);
    case CF_MSG_PLAN:
        return take_plan((const Cf__Plan *)w, &m->plan);
    case CF_MSG_PROGRESS:
        return take_progress((const Cf__Progress *)w, &m->progress);
    case CF_MSG_RESULT:
        return take_result((const Cf__Result *)w, &m->result);
    case CF_MSG_DONE:
        return take_done((const Cf__Done *)w, &m->done);
    case CF_MSG_WATCH:
        return take_watch((const Cf__Watch *)w, &m->watch);
    case CF_MSG_BYE:
        return take_bye((const Cf__Bye *)w, &m->bye);
    case CF_MSG_STOP:
        return take_stop((const Cf__Stop *)w, &m->stop);
    }
    return CF_OK;
}

static const ProtobufCMessageDescriptor *descriptor_of(int kind)
{
    switch (kind) {
    case CF_MSG_HELLO:
        return &cf__hello__descriptor;
    case CF_MSG_PLAN:
        return &cf__plan__descriptor;
    case CF_MSG_PROGRESS:
        return &cf__progress__descriptor;
    case CF_MSG_RESULT:
        return &cf__result__descriptor;
    case CF_MSG_DONE:
        return &cf__done__descriptor;
    case CF_MSG_WATCH:
        return &cf__watch__descriptor;
    case CF_MSG_BYE:
        return &cf__bye__descriptor;
    case CF_MSG_STOP:
        return &cf__stop__descriptor;
    default:
        return NULL;
    }
}

static cf_err unpack_body(const uint8_t *body, size_t n, cf_message *m)
{
    cf_budget budget;
    const ProtobufCMessageDescriptor *descriptor = descriptor_of((int)m->kind);
    if (!descriptor) {
        return cf_fail(CF_E_DEVICE, "control message of unknown kind %d, %zu bytes", (int)m->kind,
                       n);
    }
    cf_budget_init(&budget, n);
    ProtobufCMessage *w = protobuf_c_message_unpack(descriptor, &budget.allocator, n, body);
    if (!w) return bad(descriptor->short_name, cf_budget_fault(&budget));
    cf_err err = take_any(w, m);
    protobuf_c_message_free_unpacked(w, &budget.allocator);
    return err;
}

cf_err cf_message_unpack(const void *bytes, size_t n, cf_message *m)
{
    const uint8_t *b = bytes;
    memset(m, 0, sizeof *m);
    if (n < CF_CONTROL_PREFIX_BYTES || n > CF_CONTROL_MAX_BYTES) {
        return cf_fail(CF_E_DEVICE, "control message of %zu bytes, expected %d to %d", n,
                       CF_CONTROL_PREFIX_BYTES, CF_CONTROL_MAX_BYTES);
    }
    if (b[1] != CF_CONTROL_VERSION) {
        return cf_fail(CF_E_DEVICE,
                       "control message of version %u, expected %d: ranks run different programs",
                       b[1], CF_CONTROL_VERSION);
    }
    m->kind = (cf_message_kind)b[0];
    cf_err err = unpack_body(b + CF_CONTROL_PREFIX_BYTES, n - CF_CONTROL_PREFIX_BYTES, m);
    if (err != CF_OK) cf_message_fini(m);
    return err;
}
