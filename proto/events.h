/* TensorBoard's event files: records of scalars and images, through protobuf-c (events.proto).
 *
 * A file is a row of records: length (uint64), its masked CRC32C, the message, its masked CRC32C,
 * little endian (TensorFlow, record_writer.h: a CRC is turned right by 15 bits and 0xa282ead8 is
 * added, since a CRC over bytes that hold CRCs is weak). Written only; TensorBoard reads. Threads:
 * any. Read first: cf_events_scalars. */
#ifndef CF_PROTO_EVENTS_H
#define CF_PROTO_EVENTS_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

/* Where a record stands. */
typedef struct cf_event_place {
    double wall_time; /* s; TensorBoard's "relative" axis counts from the file's first record */
    int64_t step;
} cf_event_place;

/* A value with its tag: UTF-8, what stands before its first '/' is the group it is shown in. A tag
 * with bytes that are not UTF-8 is written with U+FFFD in their place, which the format demands. */
typedef struct cf_event_scalar {
    const char *tag; /* borrowed */
    double value;    /* written as float; NaN is left out */
} cf_event_scalar;

/* Appends the record with which a file begins. */
CF_CHECKED cf_err cf_events_begin(cf_buf *out);
/* Appends one record with n scalars; nothing where all of them are NaN. */
CF_CHECKED cf_err cf_events_scalars(const cf_event_place *place, const cf_event_scalar *scalars,
                                    int n, cf_buf *out);
/* Appends one record with a picture. png: n bytes of a PNG file of width x height px. */
CF_CHECKED cf_err cf_events_image(const cf_event_place *place, const char *tag, int width,
                                  int height, const void *png, size_t n, cf_buf *out);

#endif
