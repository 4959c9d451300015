/* Work on streams: done when issued, or put into a list while the stream is captured.
 *
 * A stream that waits for an event of a capture joins it; all its work goes into one list, in the
 * order of issue, which is one of the orders the device may take. Differences from the device: work
 * is never late, so a missing synchronisation is not found. Read first: submit. */
#include "shim.h"

#include <cstring>
#include <memory>
#include <set>
#include <vector>

using namespace cf_host;

namespace {
struct capture {
    std::vector<std::function<cudaError_t()>> work;
    cudaStreamCaptureMode mode;
    bool spoilt;
    CUstream_st *origin;
    long number; /* 1 and up, never used again */
};
} // namespace

struct CUstream_st {
    capture *into; /* owned by the origin; NULL: not captured */
    int issued;    /* operations in this capture */
    int joined;    /* of them, those that another stream of the capture has waited for */
};

struct CUevent_st {
    bool recorded, timed;
    long when;
    long in; /* number of the capture that it was recorded in, as a dependency alone; 0: none */
    CUstream_st *stream;
    int issued;
};

struct CUgraph_st {
    std::vector<std::function<cudaError_t()>> work;
};
struct CUgraphExec_st {
    std::vector<std::function<cudaError_t()>> work;
};

namespace {

std::set<CUstream_st *> streams; /* every stream that lives */
long ticks, captures;

capture *capture_of(cudaStream_t s)
{
    return s == nullptr ? nullptr : s->into;
}

/* NULL when that capture is over. */
capture *capture_numbered(long number)
{
    for (CUstream_st *s : streams)
        if (s->into != nullptr && s->into->number == number) return s->into;
    return nullptr;
}

cudaError_t spoil(cudaStream_t s, cudaError_t code)
{
    s->into->spoilt = true;
    return report(code);
}

/* Runs `work` now, or takes it into the stream's capture. */
cudaError_t submit(cudaStream_t s, std::function<cudaError_t()> work)
{
    if (s == nullptr && capture_forbids("work on the legacy stream"))
        return report(cudaErrorStreamCaptureImplicit);
    if (s != nullptr && streams.count(s) == 0) return report(cudaErrorInvalidResourceHandle);
    if (capture_of(s) == nullptr) return report(work());
    if (s->into->spoilt) return report(cudaErrorStreamCaptureInvalidated);
    s->into->work.push_back(std::move(work));
    s->issued++;
    return cudaSuccess;
}

cudaError_t check_direction(const void *to, const void *from, cudaMemcpyKind kind)
{
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind == cudaMemcpyDefault) return cudaSuccess;
    if (to_device && !is_reachable(to))
        return complain(cudaErrorInvalidValue, "copy to %p, which is not device memory", to);
    if (from_device && !is_reachable(from))
        return complain(cudaErrorInvalidValue, "copy from %p, which is not device memory", from);
    if ((!to_device && is_device(to)) || (!from_device && is_device(from)))
        return complain(cudaErrorInvalidValue, "copy %p to %p: the host's side is device memory",
                        from, to);
    return cudaSuccess;
}

cudaError_t check_launch(const launch &l, std::initializer_list<const void *> pointers)
{
    uint64_t threads = (uint64_t)l.block.x * l.block.y * l.block.z;
    if (threads == 0 || threads > 1024 || l.block.z > 64 || l.grid.x == 0 || l.grid.y == 0 ||
        l.grid.z == 0 || l.grid.x > 0x7FFFFFFFu || l.grid.y > 65535 || l.grid.z > 65535)
        return complain(cudaErrorInvalidConfiguration,
                        "kernel %s: grid %u x %u x %u of blocks %u x %u x %u is not possible",
                        l.kernel, l.grid.x, l.grid.y, l.grid.z, l.block.x, l.block.y, l.block.z);
    if (l.shared_bytes > shared_allowed(l.address))
        return complain(cudaErrorInvalidValue, "kernel %s: %zu bytes of shared memory, allowed %zu",
                        l.kernel, l.shared_bytes, shared_allowed(l.address));
    for (const void *p : pointers)
        if (p != nullptr && !is_reachable(p))
            return complain(cudaErrorIllegalAddress, "kernel %s: argument %p is host memory",
                            l.kernel, p);
    return cudaSuccess;
}

} // namespace

namespace cf_host {

bool capture_forbids(const char *what)
{
    bool forbidden = false;
    for (CUstream_st *s : streams) {
        if (s->into == nullptr || s->into->mode == cudaStreamCaptureModeRelaxed) continue;
        s->into->spoilt = forbidden = true;
    }
    if (forbidden)
        (void)complain(cudaErrorStreamCaptureUnsupported, "%s while a stream is captured", what);
    return forbidden;
}

void issue(const launch &l, cudaStream_t s, std::initializer_list<const void *> pointers)
{
    guard g;
    cudaError_t code = check_launch(l, pointers);
    if (code == cudaSuccess) code = submit(s, [l] { return run_launch(l); });
    (void)report(code);
}

} // namespace cf_host

/* ---- copies -----------------------------------------------------------------------------------
 */

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t s)
{
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, s);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind, cudaStream_t s)
{
    guard g;
    if (width == 0 || height == 0) return cudaSuccess;
    if (to == nullptr || from == nullptr || width > to_pitch || width > from_pitch)
        return report(cudaErrorInvalidValue);
    cudaError_t code = check_direction(to, from, kind);
    if (code != cudaSuccess) return code;
    return submit(s, [=] {
        for (size_t y = 0; y < height; y++)
            memmove(static_cast<char *>(to) + y * to_pitch,
                    static_cast<const char *>(from) + y * from_pitch, width);
        return cudaSuccess;
    });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s)
{
    guard g;
    if (bytes == 0) return cudaSuccess;
    if (!is_reachable(p))
        return complain(cudaErrorInvalidValue, "memset of %p, which is not device memory", p);
    return submit(s, [=] {
        memset(p, value, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaMemset(void *p, int value, size_t bytes)
{
    return cudaMemsetAsync(p, value, bytes, nullptr);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t call, void *data)
{
    guard g;
    return submit(s, [=] {
        call(data);
        return cudaSuccess;
    });
}

/* ---- streams and events -----------------------------------------------------------------------
 */

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority)
{
    guard g;
    (void)flags;
    (void)priority;
    *s = new CUstream_st();
    streams.insert(*s);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    return cudaStreamCreateWithPriority(s, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *s)
{
    return cudaStreamCreateWithPriority(s, cudaStreamDefault, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    guard g;
    if (streams.erase(s) == 0) return report(cudaErrorInvalidResourceHandle);
    capture *c = s->into;
    if (c != nullptr && c->origin == s) {
        for (CUstream_st *other : streams)
            if (other->into == c) other->into = nullptr;
        delete c;
    }
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    guard g;
    if (s == nullptr)
        return capture_forbids("waiting for the legacy stream")
                   ? report(cudaErrorStreamCaptureImplicit)
                   : cudaSuccess;
    if (streams.count(s) == 0) return report(cudaErrorInvalidResourceHandle);
    return s->into == nullptr ? cudaSuccess : spoil(s, cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    return cudaStreamSynchronize(s);
}

cudaError_t cudaDeviceSynchronize(void)
{
    guard g;
    return capture_forbids("cudaDeviceSynchronize") ? report(cudaErrorStreamCaptureUnsupported)
                                                    : cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    guard g;
    *e = new CUevent_st();
    (*e)->timed = (flags & cudaEventDisableTiming) == 0;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *e)
{
    return cudaEventCreateWithFlags(e, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    guard g;
    if (e == nullptr) return report(cudaErrorInvalidResourceHandle);
    delete e;
    return cudaSuccess;
}

/* In a capture: an external record happens at each replay, a plain one only orders. */
cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned flags)
{
    guard g;
    if (e == nullptr) return report(cudaErrorInvalidResourceHandle);
    if (capture_of(s) != nullptr && (flags & cudaEventRecordExternal) == 0) {
        e->in = s->into->number;
        e->stream = s;
        e->issued = s->issued;
        return cudaSuccess;
    }
    if (capture_of(s) == nullptr && (flags & cudaEventRecordExternal) != 0)
        return report(cudaErrorInvalidValue);
    return submit(s, [e] {
        e->recorded = true;
        e->in = 0;
        e->when = ++ticks;
        return cudaSuccess;
    });
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    return cudaEventRecordWithFlags(e, s, cudaEventRecordDefault);
}

/* Waiting for an event of a capture joins it. Everything else has happened already. */
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    guard g;
    if (e == nullptr) return report(cudaErrorInvalidResourceHandle);
    if (e->in == 0) {
        bool external = (flags & cudaEventWaitExternal) != 0;
        if (capture_of(s) == nullptr || external || !e->recorded) return cudaSuccess;
        (void)complain(cudaErrorStreamCaptureUnsupported,
                       "a captured stream waits for an event recorded outside");
        return spoil(s, cudaErrorStreamCaptureUnsupported);
    }
    capture *joining = capture_numbered(e->in);
    if (joining == nullptr) return report(cudaErrorCapturedEvent);
    if (s == nullptr || (s->into != nullptr && s->into != joining))
        return report(cudaErrorStreamCaptureUnsupported);
    if (s->into == nullptr) {
        s->into = joining;
        s->issued = s->joined = 0;
    }
    if (e->stream != s && streams.count(e->stream) != 0) e->stream->joined = e->issued;
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    guard g;
    if (e == nullptr) return report(cudaErrorInvalidResourceHandle);
    return e->in == 0 ? cudaSuccess : report(cudaErrorCapturedEvent);
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    return cudaEventQuery(e);
}

/* A microsecond for each record between: enough for a division, no measure of anything. */
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    guard g;
    if (start == nullptr || end == nullptr || !start->timed || !end->timed || !start->recorded ||
        !end->recorded)
        return report(cudaErrorInvalidResourceHandle);
    *ms = 1e-3f * (float)(end->when - start->when);
    return cudaSuccess;
}

/* ---- capture ----------------------------------------------------------------------------------
 */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode mode)
{
    guard g;
    if (s == nullptr || s->into != nullptr) return report(cudaErrorStreamCaptureUnsupported);
    s->into = new capture{{}, mode, false, s, ++captures};
    s->issued = s->joined = 0;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph)
{
    guard g;
    *graph = nullptr;
    if (s == nullptr || s->into == nullptr) return report(cudaErrorInvalidValue);
    if (s->into->origin != s) return report(cudaErrorStreamCaptureUnmatched);
    std::unique_ptr<capture> c(s->into);
    bool joined = true;
    for (CUstream_st *other : streams) {
        if (other->into != c.get()) continue;
        joined = joined && (other == s || other->joined == other->issued);
        other->into = nullptr;
    }
    if (c->spoilt) return report(cudaErrorStreamCaptureInvalidated);
    if (!joined) return report(cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st{std::move(c->work)};
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status)
{
    guard g;
    *status = capture_of(s) == nullptr ? cudaStreamCaptureStatusNone
              : s->into->spoilt        ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    guard g;
    (void)flags;
    if (graph == nullptr) return report(cudaErrorInvalidValue);
    *exec = new CUgraphExec_st{graph->work};
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t s)
{
    (void)s;
    guard g;
    return exec == nullptr ? report(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    guard g;
    if (exec == nullptr) return report(cudaErrorInvalidValue);
    for (const auto &work : exec->work) {
        cudaError_t code = submit(s, work);
        if (code != cudaSuccess) return code;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    guard g;
    if (exec == nullptr) return report(cudaErrorInvalidValue);
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    guard g;
    if (graph == nullptr) return report(cudaErrorInvalidValue);
    delete graph;
    return cudaSuccess;
}
