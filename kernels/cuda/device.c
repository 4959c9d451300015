/* The device: opening, memory, copies; and the table of this backend. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/program.h"

enum { OLDEST_CAPABILITY = 80 }; /* bf16 on tensor cores, asynchronous copies */

/* ---- opening ----------------------------------------------------------------------------------
 */

static int cuda_count(void)
{
    int n = 0;
    cudaError_t code = cudaGetDeviceCount(&n);
    if (code == cudaSuccess && n > 0) return n;
    (void)cudaGetLastError(); /* not an error of the next call */
    const char *why = code == cudaSuccess ? "no device is visible" : cudaGetErrorString(code);
    if (cf_fail(CF_E_DEVICE, "no usable GPU: %s", why) != CF_OK) return 0;
    return 0;
}

static cf_err describe_device(cf_backend *b)
{
    struct cudaDeviceProp prop;
    CF_TRY(cf_cuda_check(cudaGetDeviceProperties(&prop, b->device), "cudaGetDeviceProperties"));
    snprintf(b->name, sizeof b->name, "%.90s", prop.name);
    b->capability = 10 * prop.major + prop.minor;
    if (b->capability < OLDEST_CAPABILITY)
        return cf_fail(CF_E_DEVICE,
                       "GPU %d (%s) has compute capability %d.%d, expected 8.0 or newer", b->device,
                       b->name, prop.major, prop.minor);
    return CF_OK;
}

cf_err cf_cuda_use(const cf_backend *b)
{
    return cf_cuda_check(cudaSetDevice(b->device), "cudaSetDevice");
}

static void cuda_close(cf_backend *b)
{
    if (b == NULL) return;
    if (cudaSetDevice(b->device) == cudaSuccess) {
        cf_cudnn_destroy(b->cudnn);
        (void)cudaFree(b->store);
        (void)cudaFree(b->update_workspace);
        (void)cudaFree(b->digest_sum);
        if (b->copy != NULL) (void)cudaStreamDestroy(b->copy);
        if (b->stream != NULL) (void)cudaStreamDestroy(b->stream);
    }
    free(b);
}

static cf_err start(cf_backend *b)
{
    CF_TRY(describe_device(b));
    CF_TRY(cf_cuda_use(b));
    CF_TRY(cf_cuda_check(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking),
                         "cudaStreamCreate"));
    CF_TRY(cf_cuda_check(cudaStreamCreateWithFlags(&b->copy, cudaStreamNonBlocking),
                         "cudaStreamCreate"));
    return cf_cudnn_create(b->stream, &b->cudnn);
}

static cf_err cuda_open(int device, int n_threads, cf_backend **out)
{
    (void)n_threads; /* compute is the device's */
    *out = NULL;
    int n = cuda_count();
    if (n == 0) return CF_E_DEVICE; /* the message is count's */
    if (device >= n) return cf_fail(CF_E_DEVICE, "cuda: device %d of %d", device, n);
    cf_backend *b = NULL;
    CF_TRY(cf_new(&b, 1, sizeof *b));
    b->device = device < 0 ? 0 : device;
    cf_err err = start(b);
    if (err != CF_OK) {
        cuda_close(b);
        return cf_where(err, "GPU %d", device < 0 ? 0 : device);
    }
    *out = b;
    return CF_OK;
}

static void cuda_describe(const cf_backend *b, char *text, size_t n)
{
    char library[64];
    int driver = 0, runtime = 0;
    cf_cudnn_describe(library, sizeof library);
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    snprintf(text, n, "cuda, %s (sm_%d), driver %d.%d, runtime %d.%d, %s", b->name, b->capability,
             driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, library);
}

static cf_err cuda_identity(int device, char text[64])
{
    return cf_cuda_check(cudaDeviceGetPCIBusId(text, 64, device < 0 ? 0 : device),
                         "cudaDeviceGetPCIBusId");
}

static void *cuda_queue(cf_backend *b)
{
    return b->stream;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static cf_err cuda_memory(cf_backend *b, size_t *free_bytes, size_t *total_bytes)
{
    CF_TRY(cf_cuda_use(b));
    return cf_cuda_check(cudaMemGetInfo(free_bytes, total_bytes), "cudaMemGetInfo");
}

cf_err cf_cuda_alloc(cf_backend *b, size_t bytes, const char *what, void *out)
{
    void *p = NULL;
    CF_TRY(cf_cuda_use(b));
    size_t wanted = bytes > 0 ? bytes : 1, free_bytes = 0, total = 0;
    cudaError_t code = cudaMalloc(&p, wanted);
    if (code == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&free_bytes, &total);
        return cf_fail(CF_E_DEVICE,
                       "GPU %d (%s): out of memory: %s need %zu MiB, %zu of %zu MiB are free; a "
                       "smaller train.micro_batch needs less",
                       b->device, b->name, what, wanted >> 20, free_bytes >> 20, total >> 20);
    }
    CF_TRY(cf_cuda_check(code, "cudaMalloc"));
    cf_err err = cf_cuda_check(cudaMemsetAsync(p, 0, wanted, b->stream), "cudaMemsetAsync");
    if (err != CF_OK) {
        (void)cudaFree(p);
        return err;
    }
    memcpy(out, &p, sizeof p);
    return CF_OK;
}

static cf_err cuda_alloc(cf_backend *b, size_t bytes, void **out)
{
    return cf_cuda_alloc(b, bytes, "weights, moments or sums", out);
}

static void cuda_free(cf_backend *b, void *p)
{
    if (p == NULL || cf_cuda_use(b) != CF_OK) return;
    (void)cudaStreamSynchronize(b->stream); /* nothing under way may still read it */
    (void)cudaFree(p);
}

/* Pinned memory is copied behind our back: the source must be free again when this returns. */
static cf_err cuda_copy_in(cf_backend *b, void *dst, const void *src, size_t bytes)
{
    if (bytes == 0) return CF_OK;
    CF_TRY(cf_cuda_use(b));
    CF_TRY(cf_cuda_check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, b->stream),
                         "copy to the device"));
    return cf_cuda_check(cudaStreamSynchronize(b->stream), "copy to the device");
}

static cf_err cuda_copy_out(cf_backend *b, void *dst, const void *src, size_t bytes)
{
    if (bytes == 0) return CF_OK;
    CF_TRY(cf_cuda_use(b));
    CF_TRY(cf_cuda_check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, b->stream),
                         "copy from the device"));
    return cf_cuda_check(cudaStreamSynchronize(b->stream), "copy from the device");
}

static cf_err cuda_zero(cf_backend *b, void *dst, size_t bytes)
{
    if (bytes == 0) return CF_OK;
    CF_TRY(cf_cuda_use(b));
    return cf_cuda_check(cudaMemsetAsync(dst, 0, bytes, b->stream), "cudaMemsetAsync");
}

static cf_err cuda_alloc_host(cf_backend *b, size_t bytes, void **out)
{
    CF_TRY(cf_cuda_use(b));
    return cf_cuda_check(cudaMallocHost(out, bytes > 0 ? bytes : 1), "cudaMallocHost");
}

static void cuda_free_host(cf_backend *b, void *p)
{
    if (p == NULL || cf_cuda_use(b) != CF_OK) return;
    (void)cudaDeviceSynchronize(); /* a copy may still be under way */
    (void)cudaFreeHost(p);
}

/* The store is a mapped file: it is copied through the driver's own staging, piece by piece, so
 * that a large file is not pinned as a whole. */
static cf_err copy_store(cf_backend *b, const uint8_t *pixels, size_t bytes)
{
    const size_t piece = (size_t)64 << 20;
    for (size_t at = 0; at < bytes; at += piece) {
        size_t n = bytes - at < piece ? bytes - at : piece;
        CF_TRY(cf_cuda_check(
            cudaMemcpyAsync(b->store + at, pixels + at, n, cudaMemcpyHostToDevice, b->stream),
            "copy of the cells file"));
    }
    return cf_cuda_check(cudaStreamSynchronize(b->stream), "copy of the cells file");
}

static cf_err cuda_hold_pixels(cf_backend *b, const void *pixels, size_t bytes, size_t reserve,
                               bool *held)
{
    size_t free_bytes = 0, total = 0;
    *held = false;
    if (b->store != NULL) return cf_fail(CF_E_UNEXPECTED, "the device holds a pixel store already");
    CF_TRY(cuda_memory(b, &free_bytes, &total));
    if (bytes > free_bytes || free_bytes - bytes < reserve) return CF_OK;
    CF_TRY(cf_cuda_alloc(b, bytes, "the cells file's pixels", &b->store));
    b->store_bytes = bytes;
    CF_TRY(copy_store(b, pixels, bytes));
    *held = true;
    return CF_OK;
}

static cf_err cuda_sync(cf_backend *b)
{
    CF_TRY(cf_cuda_use(b));
    CF_TRY(cf_cuda_check(cudaStreamSynchronize(b->stream), "the device"));
    return cf_cuda_check(cudaGetLastError(), "the device");
}

/* ---- the optimizer ----------------------------------------------------------------------------
 */

static cf_err cuda_update(cf_backend *b, const cf_update *u)
{
    CF_TRY(cf_cuda_use(b));
    size_t wanted = cf_cuda_update_workspace(u);
    if (wanted > b->update_bytes) { /* the first update alone */
        (void)cudaFree(b->update_workspace);
        b->update_workspace = NULL;
        b->update_bytes = 0;
        CF_TRY(cf_cuda_alloc(b, wanted, "the optimizer's workspace", &b->update_workspace));
        b->update_bytes = wanted;
    }
    bool bad = false;
    CF_TRY(cf_cuda_update(b->stream, u, b->update_workspace, &bad));
    if (bad) return cf_fail(CF_E_NUMERIC, "norm of the gradient is not finite");
    return CF_OK;
}

/* The sum's place on the device is allocated by the first call alone. */
static cf_err cuda_digest(cf_backend *b, const float *values, int64_t n, uint64_t first,
                          uint64_t *sum)
{
    CF_TRY(cf_cuda_use(b));
    if (b->digest_sum == NULL)
        CF_TRY(cf_cuda_alloc(b, sizeof *sum, "the digest's sum", &b->digest_sum));
    return cf_cuda_digest(b->stream, values, n, first, b->digest_sum, sum);
}

/* ---- the table --------------------------------------------------------------------------------
 */

static size_t cuda_program_bytes(const cf_program *p)
{
    return p->bytes;
}

static int cuda_ready(cf_program *p, const cf_ready **ranges)
{
    *ranges = p->ready;
    return p->n_ready;
}

const cf_backend_ops cf_cuda_backend = {.name = "cuda",
                                        .count = cuda_count,
                                        .open = cuda_open,
                                        .close = cuda_close,
                                        .on_device = true,
                                        .augments = true,
                                        .describe = cuda_describe,
                                        .alloc = cuda_alloc,
                                        .free = cuda_free,
                                        .copy_in = cuda_copy_in,
                                        .copy_out = cuda_copy_out,
                                        .zero = cuda_zero,
                                        .alloc_host = cuda_alloc_host,
                                        .free_host = cuda_free_host,
                                        .memory = cuda_memory,
                                        .hold_pixels = cuda_hold_pixels,
                                        .identity = cuda_identity,
                                        .queue = cuda_queue,
                                        .supports = cf_cuda_supports,
                                        .compile = cf_cuda_compile,
                                        .release = cf_cuda_release,
                                        .program_bytes = cuda_program_bytes,
                                        .set_weights = cf_cuda_set_weights,
                                        .train = cf_cuda_train,
                                        .fault = cf_cuda_fault_of,
                                        .set_scale = cf_cuda_set_scale,
                                        .ready = cuda_ready,
                                        .infer = cf_cuda_infer,
                                        .update = cuda_update,
                                        .digest = cuda_digest,
                                        .peek = cf_cuda_peek,
                                        .phases = cf_cuda_phases,
                                        .sync = cuda_sync};
