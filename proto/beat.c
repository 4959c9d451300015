#include "proto/beat.h"

#include <string.h>

#include "proto/wire.h"

static const uint32_t magic = 0x74426663; /* "cfBt" */
enum { VERSION = 1, MAX_WORKERS = 1 << 20 };
enum {
    AT_VERSION = 4,
    AT_KIND = 5,
    AT_DOING = 6,
    AT_ROUTE = 7,
    AT_TOKEN = 8,
    AT_WORKER = 16,
    AT_FOLD = 20,
    AT_STEP = 24,
    AT_STILL = 32,
    AT_REST = 40
};

/* Four times as long for what is long by nature: compiling and timing engines, the first reading of
 * a cells file that is in nobody's memory, a full-size checkpoint on a busy disk, the report. */
enum { USUAL = 1, LONG = 4 };

static const cf_doing_row doings[CF_DOING_N] = {
    [CF_DOING_AWAIT_PLAN] = {"waiting for the plan", USUAL, CF_WAITS_LAST},
    [CF_DOING_SET_UP] = {"setting up", LONG, CF_WAITS_NOT},
    [CF_DOING_AWAIT_SET_UP] = {"waiting for other ranks in set-up", USUAL, CF_WAITS_ALL},
    [CF_DOING_FIRST_DATA] = {"waiting for its first images", LONG, CF_WAITS_NOT},
    [CF_DOING_DATA] = {"waiting for images", USUAL, CF_WAITS_NOT},
    [CF_DOING_COMPUTE] = {"computing", USUAL, CF_WAITS_NOT},
    [CF_DOING_SUMS] = {"waiting for sums", USUAL, CF_WAITS_GROUP},
    [CF_DOING_SAVE] = {"saving", LONG, CF_WAITS_NOT},
    [CF_DOING_TEST] = {"testing", USUAL, CF_WAITS_NOT},
    [CF_DOING_AWAIT_BYE] = {"waiting for the coordinator's last word", USUAL, CF_WAITS_LAST},
    [CF_DOING_LEAVE] = {"leaving", USUAL, CF_WAITS_ALL},
    [CF_DOING_LISTEN] = {"listening", LONG, CF_WAITS_NOT},
    [CF_DOING_WRITE] = {"at work in the run folder", LONG, CF_WAITS_NOT},
};

const cf_doing_row *cf_doing_find(cf_doing doing)
{
    return &doings[doing];
}

int64_t cf_beat_interval_ns(int64_t timeout_ns)
{
    const int64_t longest_ns = 1000000000;
    return timeout_ns / 5 < longest_ns ? timeout_ns / 5 : longest_ns;
}

void cf_beat_pack(const cf_beat *b, uint8_t bytes[CF_BEAT_BYTES])
{
    memset(bytes, 0, CF_BEAT_BYTES);
    cf_put_u32(bytes, magic);
    bytes[AT_VERSION] = VERSION;
    bytes[AT_KIND] = (uint8_t)b->kind;
    bytes[AT_DOING] = (uint8_t)b->doing;
    bytes[AT_ROUTE] = b->route;
    cf_put_u64(bytes + AT_TOKEN, b->token);
    cf_put_u32(bytes + AT_WORKER, (uint32_t)b->worker);
    cf_put_u32(bytes + AT_FOLD, (uint32_t)b->fold);
    cf_put_u64(bytes + AT_STEP, (uint64_t)b->step);
    cf_put_u64(bytes + AT_STILL, (uint64_t)b->still_ns);
}

static bool is_ours(const uint8_t *p, size_t n, uint64_t token)
{
    return n == CF_BEAT_BYTES && cf_get_u32(p) == magic && p[AT_VERSION] == VERSION &&
           cf_get_u64(p + AT_TOKEN) == token && cf_get_u64(p + AT_REST) == 0;
}

static bool in_range(const uint8_t *p)
{
    return p[AT_KIND] >= CF_BEAT_ALIVE && p[AT_KIND] <= CF_BEAT_END && p[AT_DOING] < CF_DOING_N &&
           cf_get_u32(p + AT_WORKER) < MAX_WORKERS &&
           cf_get_u32(p + AT_FOLD) + 1 <= CF_BEAT_MAX_FOLDS && /* -1 wraps to 0 */
           cf_get_u64(p + AT_STEP) <= INT64_MAX && cf_get_u64(p + AT_STILL) <= INT64_MAX;
}

bool cf_beat_unpack(const void *bytes, size_t n, uint64_t token, cf_beat *b)
{
    const uint8_t *p = bytes;
    if (!is_ours(p, n, token) || !in_range(p)) return false;
    *b = (cf_beat){
        .kind = (cf_beat_kind)p[AT_KIND],
        .token = token,
        .worker = (int)cf_get_u32(p + AT_WORKER),
        .route = p[AT_ROUTE],
        .doing = (cf_doing)p[AT_DOING],
        .fold = (int)(cf_get_u32(p + AT_FOLD) + 1) - 1,
        .step = (int64_t)cf_get_u64(p + AT_STEP),
        .still_ns = (int64_t)cf_get_u64(p + AT_STILL),
    };
    return true;
}
