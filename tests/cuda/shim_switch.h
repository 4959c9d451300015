/* Changing from one stack to another: assembly on x86-64, ucontext elsewhere; told to
 * AddressSanitizer where that is on. Read first: change. */
#ifndef CF_TESTS_CUDA_SHIM_SWITCH_H
#define CF_TESTS_CUDA_SHIM_SWITCH_H

#include <cstddef>

#ifdef __SANITIZE_ADDRESS__
#define CF_SHIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CF_SHIM_ASAN 1
#endif
#endif

#ifdef CF_SHIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace cf_host {

#ifdef CF_SHIM_ASAN
enum { STACK_BYTES = 256 * 1024 }; /* frames with red zones */
#else
enum { STACK_BYTES = 64 * 1024 };
#endif

/* A place to come back to. */
struct context {
#ifdef __x86_64__
    void *sp;
#else
    ucontext_t machine;
#endif
    /* What AddressSanitizer needs: the stack's lower end and size, its own record. */
    const void *bottom;
    size_t size;
    void *record;
};

#ifdef __x86_64__
extern "C" void cf_shim_switch(void **save, void *load);
asm(R"(
    .text
    .p2align 4
    .type cf_shim_switch, @function
cf_shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size cf_shim_switch, . - cf_shim_switch
)");
#endif

static inline void jump(context &from, context &to)
{
#ifdef __x86_64__
    cf_shim_switch(&from.sp, to.sp);
#else
    swapcontext(&from.machine, &to.machine);
#endif
}

/* `to` continues (or starts) where it stood; returns when something changes back to `from`. */
static inline void change(context &from, context &to)
{
#ifdef CF_SHIM_ASAN
    __sanitizer_start_switch_fiber(&from.record, to.bottom, to.size);
    jump(from, to);
    __sanitizer_finish_switch_fiber(from.record, nullptr, nullptr);
#else
    jump(from, to);
#endif
}

/* The first thing on a new stack. `first`: the process's own context, whose stack is learnt from
 * the first change away from it. */
static inline void arrived_first(context &first)
{
    (void)first;
#ifdef CF_SHIM_ASAN
    bool known = first.bottom != nullptr;
    __sanitizer_finish_switch_fiber(nullptr, known ? nullptr : &first.bottom,
                                    known ? nullptr : &first.size);
#endif
}

/* The last thing on a stack. */
static inline void leave(context &back)
{
    context nowhere;
#ifdef CF_SHIM_ASAN
    __sanitizer_start_switch_fiber(nullptr, back.bottom, back.size);
#endif
    jump(nowhere, back);
}

/* A stack that somebody has used, to its end or not, is used again from its start. */
static inline void forget(char *bottom)
{
    (void)bottom;
#ifdef CF_SHIM_ASAN
    __asan_unpoison_memory_region(bottom, STACK_BYTES);
#endif
}

/* Makes `c` start `entry` on a stack of STACK_BYTES. */
static inline void prepare(context &c, char *bottom, void (*entry)())
{
    forget(bottom);
    c.bottom = bottom;
    c.size = STACK_BYTES;
    c.record = nullptr;
#ifdef __x86_64__
    /* Six saved registers, the address to return to, and one word so that the stack is aligned as
     * after a call. */
    void **top = reinterpret_cast<void **>(bottom + STACK_BYTES) - 8;
    for (int i = 0; i < 8; i++) top[i] = nullptr;
    top[6] = reinterpret_cast<void *>(entry);
    c.sp = top;
#else
    getcontext(&c.machine);
    c.machine.uc_stack.ss_sp = bottom;
    c.machine.uc_stack.ss_size = STACK_BYTES;
    c.machine.uc_link = nullptr;
    makecontext(&c.machine, entry, 0);
#endif
}

} // namespace cf_host

#endif
