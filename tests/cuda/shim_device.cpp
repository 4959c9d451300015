/* Devices, memory and errors of the pretended driver.
 *
 * Environment: CF_SHIM_DEVICES, number of devices (default 1); CF_SHIM_MEMORY, MiB of each (default
 * 2048). Device memory is filled with 0xFF (NaN as floats), and writing past its end is found when
 * it is freed. Read first: cudaMalloc. */
#include "shim.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "shim_switch.h"

namespace cf_host {

namespace {

enum kind { ON_DEVICE, PINNED, REGISTERED };

struct allocation {
    size_t bytes;
    kind where;
    int device;
};

struct driver_state {
    std::recursive_mutex lock;
    cudaError_t last = cudaSuccess;
    std::string fault;
    std::map<uintptr_t, allocation> memory; /* by start */
    std::map<const void *, size_t> shared_allowed;
};

driver_state &state()
{
    static driver_state s;
    return s;
}

thread_local int chosen_device;

/* AddressSanitizer guards the ends itself. */
#ifdef CF_SHIM_ASAN
enum { CANARY_BYTES = 0 };
#else
enum { CANARY_BYTES = 64 };
#endif
enum { CANARY = 0xA5, ALIGNMENT = 256 };

long from_environment(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text != nullptr && *text != '\0' ? strtol(text, nullptr, 10) : otherwise;
}

int n_devices()
{
    return (int)from_environment("CF_SHIM_DEVICES", 1);
}

size_t device_bytes()
{
    return (size_t)from_environment("CF_SHIM_MEMORY", 2048) << 20;
}

size_t bytes_used(int device)
{
    size_t sum = 0;
    for (const auto &m : state().memory)
        if (m.second.where == ON_DEVICE && m.second.device == device) sum += m.second.bytes;
    return sum;
}

const allocation *find(const void *p)
{
    uintptr_t at = reinterpret_cast<uintptr_t>(p);
    auto next = state().memory.upper_bound(at);
    if (next == state().memory.begin()) return nullptr;
    auto here_or_before = std::prev(next);
    bool inside = at - here_or_before->first <= here_or_before->second.bytes;
    return inside ? &here_or_before->second : nullptr;
}

cudaError_t allocate(void **out, size_t bytes, kind where, int fill)
{
    *out = nullptr;
    if (bytes == 0) return cudaSuccess;
    void *p = nullptr;
    if (posix_memalign(&p, ALIGNMENT, bytes + CANARY_BYTES) != 0)
        return report(cudaErrorMemoryAllocation);
    memset(p, fill, bytes);
    memset(static_cast<char *>(p) + bytes, CANARY, CANARY_BYTES);
    state().memory[reinterpret_cast<uintptr_t>(p)] = {bytes, where, chosen_device};
    *out = p;
    return cudaSuccess;
}

cudaError_t release(void *p, kind where, const char *call)
{
    if (p == nullptr) return cudaSuccess;
    auto found = state().memory.find(reinterpret_cast<uintptr_t>(p));
    if (found == state().memory.end() || found->second.where != where)
        return complain(cudaErrorInvalidValue, "%s(%p): not such memory", call, p);
    size_t bytes = found->second.bytes;
    const unsigned char *end = static_cast<unsigned char *>(p) + bytes;
    bool kept = true;
    for (int i = 0; i < CANARY_BYTES; i++) kept = kept && end[i] == CANARY;
    state().memory.erase(found);
    free(p);
    if (!kept)
        return complain(cudaErrorIllegalAddress, "%s: written past the end of %zu bytes", call,
                        bytes);
    return cudaSuccess;
}

} // namespace

std::recursive_mutex &driver()
{
    return state().lock;
}

cudaError_t report(cudaError_t code)
{
    if (code != cudaSuccess) state().last = code;
    return code;
}

cudaError_t complain(cudaError_t code, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "cuda shim: %s\n", text);
    state().fault = text;
    return report(code);
}

size_t shared_allowed(const void *kernel)
{
    auto found = state().shared_allowed.find(kernel);
    return found == state().shared_allowed.end() ? (size_t)SHARED_DEFAULT : found->second;
}

bool is_reachable(const void *p)
{
    return find(p) != nullptr;
}

bool is_device(const void *p)
{
    const allocation *a = find(p);
    return a != nullptr && a->where == ON_DEVICE;
}

} // namespace cf_host

using namespace cf_host;

const char *cf_shim_fault(void)
{
    return state().fault.c_str();
}

/* ---- devices ----------------------------------------------------------------------------------
 */

cudaError_t cudaGetDeviceCount(int *count)
{
    guard g;
    *count = n_devices();
    return *count > 0 ? cudaSuccess : report(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device)
{
    guard g;
    if (n_devices() == 0) return report(cudaErrorNoDevice);
    if (device < 0 || device >= n_devices()) return report(cudaErrorInvalidDevice);
    chosen_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = chosen_device;
    return cudaSuccess;
}

cudaError_t cudaSetDeviceFlags(unsigned flags)
{
    (void)flags;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    guard g;
    if (device < 0 || device >= n_devices()) return report(cudaErrorInvalidDevice);
    memset(prop, 0, sizeof *prop);
    snprintf(prop->name, sizeof prop->name, "host shim");
    prop->totalGlobalMem = device_bytes();
    prop->sharedMemPerBlock = SHARED_DEFAULT;
    prop->sharedMemPerBlockOptin = SHARED_MOST;
    prop->sharedMemPerMultiprocessor = SHARED_MOST + 1024;
    prop->regsPerBlock = 65536;
    prop->warpSize = 32;
    prop->maxThreadsPerBlock = 1024;
    prop->maxThreadsPerMultiProcessor = 2048;
    prop->major = 9;
    prop->multiProcessorCount = 4;
    prop->l2CacheSize = 1 << 20;
    prop->memoryBusWidth = 64;
    prop->pciBusID = device + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attr, int device)
{
    struct cudaDeviceProp prop;
    cudaError_t code = cudaGetDeviceProperties(&prop, device);
    if (code != cudaSuccess) return code;
    switch (attr) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = prop.maxThreadsPerBlock;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = prop.multiProcessorCount;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = prop.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = prop.minor;
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = 228 * 1024;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = SHARED_MOST;
        break;
    default:
        return report(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int n, int device)
{
    guard g;
    if (device < 0 || device >= n_devices()) return report(cudaErrorInvalidDevice);
    if (n < 13) return report(cudaErrorInvalidValue);
    snprintf(text, (size_t)n, "0000:%02X:00.0", (unsigned)(device + 1) & 0xFFu);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = n_devices() > 0 ? CUDART_VERSION : 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

/* ---- errors -----------------------------------------------------------------------------------
 */

/* Unlike the device's, an error of a kernel does not stay: the next call works again. */
cudaError_t cudaGetLastError(void)
{
    guard g;
    cudaError_t last = state().last;
    state().last = cudaSuccess;
    return last;
}

cudaError_t cudaPeekAtLastError(void)
{
    guard g;
    return state().last;
}

struct error_text {
    cudaError_t code;
    const char *name, *text;
};
#define ENTRY(name, text)                                                                          \
    {                                                                                              \
        name, #name, text                                                                          \
    }
static const error_text error_texts[] = {
    ENTRY(cudaSuccess, "no error"),
    ENTRY(cudaErrorInvalidValue, "invalid argument"),
    ENTRY(cudaErrorMemoryAllocation, "out of memory"),
    ENTRY(cudaErrorInitializationError, "initialization error"),
    ENTRY(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ENTRY(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    ENTRY(cudaErrorInsufficientDriver, "driver version is insufficient for runtime version"),
    ENTRY(cudaErrorInvalidDeviceFunction, "invalid device function"),
    ENTRY(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ENTRY(cudaErrorInvalidDevice, "invalid device ordinal"),
    ENTRY(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ENTRY(cudaErrorNotReady, "device not ready"),
    ENTRY(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    ENTRY(cudaErrorLaunchFailure, "unspecified launch failure"),
    ENTRY(cudaErrorNotSupported, "operation not supported"),
    ENTRY(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    ENTRY(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error in capture"),
    ENTRY(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream"),
    ENTRY(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    ENTRY(cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a "
                                          "capturing blocking stream"),
    ENTRY(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a "
                                  "capturing stream"),
};

static const error_text *text_of(cudaError_t code)
{
    for (const error_text &t : error_texts)
        if (t.code == code) return &t;
    return nullptr;
}

const char *cudaGetErrorName(cudaError_t error)
{
    const error_text *t = text_of(error);
    return t == nullptr ? "unrecognized error code" : t->name;
}

const char *cudaGetErrorString(cudaError_t error)
{
    const error_text *t = text_of(error);
    return t == nullptr ? "unrecognized error code" : t->text;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    guard g;
    *total_bytes = device_bytes();
    size_t used = bytes_used(chosen_device);
    *free_bytes = used < *total_bytes ? *total_bytes - used : 0;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    guard g;
    *p = nullptr;
    if (n_devices() == 0) return report(cudaErrorNoDevice);
    if (capture_forbids("cudaMalloc")) return report(cudaErrorStreamCaptureUnsupported);
    if (bytes_used(chosen_device) + bytes > device_bytes())
        return report(cudaErrorMemoryAllocation);
    return allocate(p, bytes, ON_DEVICE, 0xFF);
}

cudaError_t cudaFree(void *p)
{
    guard g;
    if (p != nullptr && capture_forbids("cudaFree"))
        return report(cudaErrorStreamCaptureUnsupported);
    return release(p, ON_DEVICE, "cudaFree");
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags)
{
    guard g;
    (void)flags;
    *p = nullptr;
    if (capture_forbids("cudaHostAlloc")) return report(cudaErrorStreamCaptureUnsupported);
    return allocate(p, bytes, PINNED, 0xFF);
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    return cudaHostAlloc(p, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *p)
{
    guard g;
    return release(p, PINNED, "cudaFreeHost");
}

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags)
{
    guard g;
    (void)flags;
    if (p == nullptr || bytes == 0) return report(cudaErrorInvalidValue);
    state().memory[reinterpret_cast<uintptr_t>(p)] = {bytes, REGISTERED, chosen_device};
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *p)
{
    guard g;
    auto found = state().memory.find(reinterpret_cast<uintptr_t>(p));
    if (found == state().memory.end() || found->second.where != REGISTERED)
        return report(cudaErrorInvalidValue);
    state().memory.erase(found);
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p)
{
    guard g;
    const allocation *found = find(p);
    *a = {};
    a->device = found == nullptr ? -2 : found->device;
    if (found == nullptr) return cudaSuccess;
    a->type = found->where == ON_DEVICE ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    a->devicePointer = const_cast<void *>(p);
    if (found->where != ON_DEVICE) a->hostPointer = const_cast<void *>(p);
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attr, int value)
{
    guard g;
    if (kernel == nullptr) return report(cudaErrorInvalidDeviceFunction);
    if (attr != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || value > SHARED_MOST) return report(cudaErrorInvalidValue);
    state().shared_allowed[kernel] = (size_t)value;
    return cudaSuccess;
}
