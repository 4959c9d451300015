#include "coordinator/tensorboard_errors.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/base/log.h"

static double sureness(const cf_predictions *p, int64_t row)
{
    return p->p[row * p->n_classes + p->predicted[row]];
}

/* Rows of the surest errors, in order; of equally sure ones the first. Returns how many. */
static int find_errors(const cf_predictions *p, int64_t rows[CF_TENSORBOARD_ERRORS])
{
    int n = 0;
    for (int64_t i = 0; i < p->n; i++) {
        if (p->labels[i] == CF_LABEL_UNKNOWN || p->labels[i] == p->predicted[i]) continue;
        int at = n;
        while (at > 0 && sureness(p, i) > sureness(p, rows[at - 1])) at--;
        if (at == CF_TENSORBOARD_ERRORS) continue;
        if (n < CF_TENSORBOARD_ERRORS) n++;
        for (int k = n - 1; k > at; k--) rows[k] = rows[k - 1];
        rows[at] = i;
    }
    return n;
}

static bool is_frame_header(uint8_t marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/* From the frame header (SOFn) of a JPEG file; false where there is none. */
static bool size_of_jpeg(const cf_buf *jpeg, int *width, int *height)
{
    const uint8_t *b = (const uint8_t *)jpeg->data;
    size_t at = 2; /* behind the start of the image */
    while (at + 9 <= jpeg->len && b[at] == 0xff) {
        *height = b[at + 5] << 8 | b[at + 6];
        *width = b[at + 7] << 8 | b[at + 8];
        if (is_frame_header(b[at + 1])) return true;
        at += 2 + (size_t)(b[at + 2] << 8 | b[at + 3]);
    }
    return false;
}

cf_err cf_tensorboard_errors(const cf_scheme *s, const cf_predictions *p,
                             const cf_report_source *source, const cf_event_place *place,
                             cf_buf *out)
{
    int64_t rows[CF_TENSORBOARD_ERRORS];
    int n = find_errors(p, rows), width = 0, height = 0;
    cf_buf jpeg = {0};
    cf_err err = CF_OK;
    for (int i = 0; i < n && err == CF_OK; i++) {
        char tag[2 * CF_CODE_MAX + 32];
        snprintf(tag, sizeof tag, "errors/%02d %s as %s", i + 1,
                 s->classes[p->labels[rows[i]]].code, s->classes[p->predicted[rows[i]]].code);
        cf_buf_clear(&jpeg);
        err = source->picture(source->context, p->ids[rows[i]], CF_TENSORBOARD_TILE_PX, &jpeg);
        if (err == CF_E_DATA) { /* a damaged image costs its tile, not the other figures */
            cf_log_warn("%s", cf_err_text());
            err = CF_OK;
            continue;
        }
        if (err != CF_OK || jpeg.len == 0 || !size_of_jpeg(&jpeg, &width, &height)) continue;
        err = cf_events_image(place, tag, width, height, jpeg.data, jpeg.len, out);
    }
    cf_buf_fini(&jpeg);
    return err;
}
