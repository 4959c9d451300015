/* A batch onto the device: labels, and images either from the pixel store that lies there, or
 * copied beside the step before, or as fp32 that somebody else has augmented. */
#include <string.h>

#include "kernels/cuda/program.h"

static cf_err wait_for(cudaEvent_t event)
{
    return cf_cuda_check(cudaEventSynchronize(event), "the device");
}

static cf_err to_device(cf_program *p, void *to, const void *from, size_t bytes)
{
    return cf_cuda_check(
        cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, p->backend->stream),
        "copy to the device");
}

/* ---- pixels that are not on the device ----------------------------------------------------------
 */

static size_t image_bytes(const cf_raw_image *image)
{
    return (size_t)image->height * (size_t)image->width * 3;
}

/* A pixel's neighbours are read in words, so that a few bytes behind the last image are touched. */
static cf_err make_room(cf_program *p, cf_cuda_feed *f, const cf_batch *batch)
{
    enum { BEHIND = 16 };
    size_t bytes = BEHIND;
    for (int i = 0; i < batch->n_raw; i++) bytes += image_bytes(&batch->raw[i]);
    if (bytes <= f->pixel_bytes) return CF_OK;
    CF_TRY(wait_for(f->used));
    (void)cudaFree(f->pixels);
    f->pixels = NULL;
    f->pixel_bytes = 0;
    CF_TRY(cf_cuda_alloc(p->backend, bytes, "images on their way", &f->pixels));
    f->pixel_bytes = bytes;
    return cf_cuda_check(cudaStreamSynchronize(p->backend->stream), "cudaStreamSynchronize");
}

/* On a stream of its own, while the step before computes; neighbours in host memory in one copy. */
static cf_err move_pixels(cf_program *p, cf_cuda_feed *f, const cf_batch *batch)
{
    cudaStream_t copy = p->backend->copy;
    CF_TRY(make_room(p, f, batch));
    CF_TRY(cf_cuda_check(cudaStreamWaitEvent(copy, f->used, 0), "cudaStreamWaitEvent"));
    size_t at = 0;
    for (int i = 0; i < batch->n_raw;) {
        const uint8_t *first = batch->raw[i].pixels;
        size_t bytes = 0;
        for (; i < batch->n_raw && batch->raw[i].pixels == first + bytes; i++) {
            f->h_images[i].pixels = f->pixels + at + bytes;
            bytes += image_bytes(&batch->raw[i]);
        }
        CF_TRY(cf_cuda_check(
            cudaMemcpyAsync(f->pixels + at, first, bytes, cudaMemcpyHostToDevice, copy),
            "copy of images"));
        at += bytes;
    }
    CF_TRY(cf_cuda_check(cudaEventRecord(f->moved, copy), "cudaEventRecord"));
    return cf_cuda_check(cudaStreamWaitEvent(p->backend->stream, f->moved, 0),
                         "cudaStreamWaitEvent");
}

/* ---- raw images -------------------------------------------------------------------------------
 */

static cf_err list_images(cf_program *p, cf_cuda_feed *f, const cf_batch *batch, bool *stored)
{
    *stored = true;
    for (int i = 0; i < batch->n_raw; i++) {
        const cf_raw_image *raw = &batch->raw[i];
        f->h_images[i] =
            (cf_cuda_image){.height = raw->height, .width = raw->width, .augment = raw->augment};
        if (raw->offset < 0 || p->backend->store == NULL) {
            *stored = false;
            continue;
        }
        if ((size_t)raw->offset + image_bytes(raw) > p->backend->store_bytes)
            return cf_fail(CF_E_UNEXPECTED, "image %d of the batch lies outside of the store", i);
        f->h_images[i].pixels = p->backend->store + raw->offset;
    }
    return CF_OK;
}

static cf_err feed_raw(cf_program *p, cf_cuda_feed *f, const cf_batch *batch)
{
    const cf_shape *s = &p->graph->nodes[0].out_shape;
    cudaStream_t stream = p->backend->stream;
    bool stored = false;
    if (s->c != 3 || s->h != s->w)
        return cf_fail(CF_E_USAGE, "raw images go into a square input of 3 channels");
    CF_TRY(list_images(p, f, batch, &stored));
    if (!stored) CF_TRY(move_pixels(p, f, batch));
    CF_TRY(to_device(p, p->images, f->h_images, (size_t)batch->n_raw * sizeof *p->images));
    CF_TRY(cf_cuda_augment(stream, p->images, batch->n_raw, (int)s->n, &batch->normalize, (int)s->h,
                           p->options.dtype, p->input_c, p->input));
    CF_TRY(cf_cuda_check(cudaEventRecord(f->used, stream), "cudaEventRecord"));
    /* The loader may overwrite its pinned memory when we return. */
    return stored ? CF_OK : wait_for(f->moved);
}

/* ---- images that come ready --------------------------------------------------------------------
 */

static cf_err feed_ready(cf_program *p, const cf_batch *batch)
{
    const cf_shape *s = &p->graph->nodes[0].out_shape;
    size_t bytes = (size_t)cf_shape_elements(*s) * sizeof(float);
    if (p->host_images == NULL) /* the first such batch alone */
        CF_TRY(cf_cuda_alloc(p->backend, bytes, "fp32 images", &p->host_images));
    CF_TRY(to_device(p, p->host_images, batch->images, bytes));
    return cf_cuda_convert(p->backend->stream, p->host_images, s->n * s->h * s->w, (int)s->c,
                           p->options.dtype, p->input_c, p->input);
}

static cf_err check_batch(const cf_program *p, const cf_batch *batch)
{
    int64_t n = p->graph->nodes[0].out_shape.n;
    if (batch->images == NULL && (batch->raw == NULL || batch->n_raw < 1 || batch->n_raw > n))
        return cf_fail(CF_E_UNEXPECTED, "a batch of %d images, expected 1 to %lld", batch->n_raw,
                       (long long)n);
    for (int64_t i = 0; p->options.mode == CF_MODE_TRAIN && i < n; i++)
        if (batch->labels[i] < 0 || batch->labels[i] >= p->graph->n_classes)
            return cf_fail(CF_E_DATA, "label %d of image %lld, expected 0 to %d", batch->labels[i],
                           (long long)i, p->graph->n_classes - 1);
    return CF_OK;
}

cf_err cf_cuda_feed_batch(cf_program *p, const cf_batch *batch)
{
    CF_TRY(check_batch(p, batch));
    p->turn = 1 - p->turn;
    cf_cuda_feed *f = &p->feeds[p->turn];
    CF_TRY(wait_for(f->listed));
    if (batch->images != NULL)
        CF_TRY(feed_ready(p, batch));
    else
        CF_TRY(feed_raw(p, f, batch));
    if (p->options.mode == CF_MODE_TRAIN) {
        size_t bytes = (size_t)p->graph->nodes[0].out_shape.n * sizeof *f->h_labels;
        memcpy(f->h_labels, batch->labels, bytes);
        CF_TRY(to_device(p, p->labels, f->h_labels, bytes));
    }
    CF_TRY(cf_cuda_check(cudaEventRecord(f->listed, p->backend->stream), "cudaEventRecord"));
    return cf_cuda_mark(p, CF_PHASE_INPUT);
}
