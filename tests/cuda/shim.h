/* What the shim's sources share: the process's one pretended driver.
 *
 * CUDA's interface has state of the process (last error, allocations, captures), so the shim has it
 * too. Threads: any, one call at a time (guard). Read first: run_launch. */
#ifndef CF_TESTS_CUDA_SHIM_H
#define CF_TESTS_CUDA_SHIM_H

#include <cf_host.h>

#include <mutex>

namespace cf_host {

/* Held by every function of the interface, also while a kernel runs. */
std::recursive_mutex &driver();
struct guard {
    std::lock_guard<std::recursive_mutex> held{driver()};
};

/* Keeps `code` for cudaGetLastError, unless it is success, and returns it. */
cudaError_t report(cudaError_t code);
/* Prints a line about a wrong call or kernel to stderr, keeps it for cf_shim_fault, returns code.
 */
cudaError_t complain(cudaError_t code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Blocks one after the other, in the order that CF_SHIM_ORDER says. */
cudaError_t run_launch(const launch &l);

enum { SHARED_DEFAULT = 48 * 1024, SHARED_MOST = 227 * 1024 };
/* Dynamic shared memory that cudaFuncSetAttribute allowed a kernel. */
size_t shared_allowed(const void *kernel);
/* Whether a kernel may read p: device or pinned memory. */
bool is_reachable(const void *p);
bool is_device(const void *p);
/* Any stream is being captured in a mode that forbids calls such as cudaMalloc; it is then spoilt,
 * as on the device. */
bool capture_forbids(const char *what);

} // namespace cf_host

#endif
