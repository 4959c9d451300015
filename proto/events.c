#include "proto/events.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "events.pb-c.h"
#include "kernels/base/hash.h"
#include "kernels/base/mem.h"
#include "proto/wire.h"

enum {
    MAX_RECORD = 64 << 20,
    MASK_TURN = 15,
    RGB = 3,
};
#define MASK_DELTA 0xa282ead8u

static uint32_t masked_crc(const void *bytes, size_t n)
{
    uint32_t crc = cf_crc32c(0, bytes, n);
    return ((crc >> MASK_TURN) | (crc << (32 - MASK_TURN))) + MASK_DELTA;
}

static cf_err put_record(const Cf__Event *event, cf_buf *out)
{
    uint8_t head[12], tail[4];
    cf_buf message = {0};
    cf_err err = cf_wire_pack(&event->base, MAX_RECORD, &message);
    if (err == CF_OK) {
        cf_put_u64(head, message.len);
        cf_put_u32(head + 8, masked_crc(head, 8));
        cf_put_u32(tail, masked_crc(message.data, message.len));
        cf_buf_add(out, head, sizeof head);
        cf_buf_add(out, message.data, message.len);
        cf_buf_add(out, tail, sizeof tail);
        err = cf_buf_check(out);
    }
    cf_buf_fini(&message);
    return err;
}

/* A string field has to be UTF-8, or readers refuse the whole record. */
static void put_utf8(const char *text, cf_buf *out)
{
    static const char replacement[] = "\xef\xbf\xbd";
    while (*text != '\0') {
        size_t n = cf_utf8_length(text);
        cf_buf_add(out, n > 0 ? text : replacement, n > 0 ? n : sizeof replacement - 1);
        text += n > 0 ? n : 1;
    }
}

cf_err cf_events_begin(cf_buf *out)
{
    char version[] = "brain.Event:2";
    Cf__Event event = CF__EVENT__INIT;
    event.has_wall_time = true;
    event.file_version = version;
    return put_record(&event, out);
}

/* One record of `n` values that are filled in. */
static cf_err put_summary(const cf_event_place *place, Cf__EventValue **values, int n, cf_buf *out)
{
    Cf__EventSummary summary = CF__EVENT_SUMMARY__INIT;
    Cf__Event event = CF__EVENT__INIT;
    summary.n_value = (size_t)n;
    summary.value = values;
    event.has_wall_time = event.has_step = true;
    event.wall_time = place->wall_time;
    event.step = place->step;
    event.summary = &summary;
    return put_record(&event, out);
}

/* Memory of one record: values, pointers to them, and their tags in one buffer. */
typedef struct record {
    Cf__EventValue *values;
    Cf__EventValue **pointers;
    cf_buf *tags; /* owned, [n] */
} record;

static cf_err fill_record(const cf_event_scalar *scalars, int n, record *r, int *n_values)
{
    size_t room = (size_t)n;
    CF_TRY(cf_new(&r->values, room, sizeof *r->values));
    CF_TRY(cf_new(&r->pointers, room, sizeof *r->pointers));
    CF_TRY(cf_new(&r->tags, room, sizeof *r->tags));
    for (int i = 0; i < n; i++) {
        if (isnan(scalars[i].value)) continue;
        int k = (*n_values)++;
        put_utf8(scalars[i].tag, &r->tags[k]);
        CF_TRY(cf_buf_check(&r->tags[k]));
        r->values[k] = (Cf__EventValue)CF__EVENT_VALUE__INIT;
        r->values[k].tag = r->tags[k].data;
        r->values[k].has_simple_value = true;
        r->values[k].simple_value = (float)scalars[i].value;
        r->pointers[k] = &r->values[k];
    }
    return CF_OK;
}

cf_err cf_events_scalars(const cf_event_place *place, const cf_event_scalar *scalars, int n,
                         cf_buf *out)
{
    record r = {0};
    int n_values = 0;
    if (n <= 0) return CF_OK;
    cf_err err = fill_record(scalars, n, &r, &n_values);
    if (err == CF_OK && n_values > 0) err = put_summary(place, r.pointers, n_values, out);
    for (int i = 0; r.tags != NULL && i < n; i++) cf_buf_fini(&r.tags[i]);
    free(r.tags);
    free(r.pointers);
    free(r.values);
    return err;
}

cf_err cf_events_image(const cf_event_place *place, const char *tag, int width, int height,
                       const void *png, size_t n, cf_buf *out)
{
    cf_buf text = {0};
    Cf__EventImage image = CF__EVENT_IMAGE__INIT;
    Cf__EventValue value = CF__EVENT_VALUE__INIT, *values[] = {&value};
    put_utf8(tag, &text);
    cf_err err = cf_buf_check(&text);
    if (err == CF_OK) {
        image.has_height = image.has_width = image.has_colorspace = true;
        image.has_encoded_image_string = true;
        image.height = height;
        image.width = width;
        image.colorspace = RGB;
        image.encoded_image_string.len = n;
        image.encoded_image_string.data = (uint8_t *)(uintptr_t)png; /* packing only reads */
        value.tag = text.data;
        value.image = &image;
        err = put_summary(place, values, 1, out);
    }
    cf_buf_fini(&text);
    return err;
}
