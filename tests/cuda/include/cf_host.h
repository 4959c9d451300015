/* Between the shim's headers and its sources: how a kernel becomes fibers. Kernels do not call
 * this.
 *
 * One launch at a time in the process. Read first: cf_host::issue. */
#ifndef CF_TESTS_CUDA_HOST_H
#define CF_TESTS_CUDA_HOST_H

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <type_traits>

struct uint3 {
    unsigned x, y, z;
};

namespace cf_host {

/* What a thread of a block sees of itself. */
struct place {
    uint3 thread, block;
    dim3 block_size, grid_size;
    int lane;
    void *shared;
};
extern place *here; /* of the fiber that runs now */

struct launch {
    const char *kernel; /* as written at the launch */
    const void *address;
    dim3 grid, block;
    size_t shared_bytes;
    std::function<void()> body; /* one thread's work, arguments bound */
};

/* Checks the launch's limits and runs it, or records it where `s` is being captured. Errors are
 * left for cudaGetLastError. */
void issue(const launch &l, cudaStream_t s, std::initializer_list<const void *> pointers);

/* Inside a kernel. */
void barrier();
/* Waits until all lanes of `mask` are here with the same `combine`, which then sees the operands of
 * each lane of the mask and writes results into them. */
typedef void (*combine_fn)(void *const operands[32], uint32_t mask);
void meet(const char *what, uint32_t mask, void *operand, combine_fn combine);
/* Ends the launch with cudaErrorLaunchFailure; does not return. */
[[noreturn]] void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

template <typename T> struct same {
    typedef T type;
};
template <typename T> const void *pointer_of(const T &x)
{
    if constexpr (std::is_pointer_v<T>)
        return reinterpret_cast<const void *>(x);
    else
        return nullptr;
}

template <typename... P>
void start(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
           cudaStream_t s, typename same<P>::type... args)
{
    static_assert((sizeof(P) + ... + 0) <= 4096, "kernel parameters take more than 4 KiB");
    launch l = {name,         reinterpret_cast<const void *>(kernel),
                grid,         block,
                shared_bytes, [=] { kernel(args...); }};
    issue(l, s, {pointer_of(args)..., nullptr});
}

} // namespace cf_host

#endif
