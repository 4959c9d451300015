/* Threads of a block as fibers on stacks of their own, in one thread of the process.
 *
 * Warps run one after the other, each until all of its lanes wait at a barrier or have left: a
 * missing barrier then shows as a value that was not written yet. CF_SHIM_ORDER (forward, reverse,
 * shuffle) chooses which lane, warp and block comes first. Read first: run_block. */
#include "shim.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "shim_switch.h"

namespace cf_host {
place *here;

namespace {

enum class state { ready, at_barrier, meeting, left };

struct copy {
    void *to;
    const void *from; /* NULL: zeros */
    bool last;        /* of its group */
};

struct fiber {
    place at;
    state now;
    void *operand; /* of the collective that it waits in */
    int stack;     /* index, -1: none yet */
    context saved;
    std::vector<copy> copies;
};

/* Lanes that wait in one collective; slot: the lowest lane of the mask. */
struct meeting {
    const char *what;
    combine_fn combine;
    uint32_t mask, arrived;
};

struct block_run {
    const launch *l;
    std::vector<fiber> fibers;
    std::vector<meeting> meetings; /* [warps][32] */
    std::vector<int> warps, lanes; /* order */
    context scheduler;
    int current;
    bool faulted;
};

block_run run;
uint64_t shuffle_state;

uint32_t draw(uint32_t below)
{
    shuffle_state = shuffle_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((shuffle_state >> 33) % below);
}

/* ---- stacks -----------------------------------------------------------------------------------
 */

/* A page below each stack is not mapped. */
struct stacks {
    std::vector<char *> base;
    std::vector<int> unused;
};
stacks pool;

int take_stack()
{
    if (pool.unused.empty()) {
        void *p = mmap(nullptr, STACK_BYTES + 4096, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED || mprotect(p, 4096, PROT_NONE) != 0) {
            perror("cuda shim: stack of a fiber");
            abort();
        }
        pool.base.push_back(static_cast<char *>(p) + 4096);
        pool.unused.push_back((int)pool.base.size() - 1);
    }
    int stack = pool.unused.back();
    pool.unused.pop_back();
    return stack;
}

void give_stack(fiber &f)
{
    if (f.stack >= 0) pool.unused.push_back(f.stack);
    f.stack = -1;
}

/* ---- shared memory ----------------------------------------------------------------------------
 */

/* Ends at a page that is not mapped, so that a reader past the end is stopped. */
enum { SHARED_ROOM = 256 * 1024, SHARED_ALIGN = 128 };
char *shared_end;

void *shared_start(size_t bytes)
{
    if (shared_end == nullptr) {
        void *p = mmap(nullptr, SHARED_ROOM + 4096, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect((char *)p + SHARED_ROOM, 4096, PROT_NONE) != 0) {
            perror("cuda shim: shared memory");
            abort();
        }
        shared_end = static_cast<char *>(p) + SHARED_ROOM;
    }
    size_t room = (bytes + SHARED_ALIGN - 1) / SHARED_ALIGN * SHARED_ALIGN;
    memset(shared_end - room, 0xFF, room);
    return shared_end - room;
}

bool shared_kept(const void *start, size_t bytes)
{
    const unsigned char *p = static_cast<const unsigned char *>(start) + bytes;
    const unsigned char *end = reinterpret_cast<unsigned char *>(shared_end);
    return std::all_of(p, end, [](unsigned char x) { return x == 0xFF; });
}

/* ---- running ----------------------------------------------------------------------------------
 */

void fiber_main()
{
    arrived_first(run.scheduler);
    fiber &f = run.fibers[(size_t)run.current];
    run.l->body();
    f.now = state::left;
    leave(run.scheduler);
}

void resume(int i)
{
    fiber &f = run.fibers[(size_t)i];
    if (f.stack < 0) {
        f.stack = take_stack();
        f.copies.clear();
        prepare(f.saved, pool.base[(size_t)f.stack], fiber_main);
    }
    run.current = i;
    here = &f.at;
    change(run.scheduler, f.saved);
    here = nullptr;
    if (f.now == state::left) give_stack(f);
}

void wait_as(state s)
{
    fiber &f = run.fibers[(size_t)run.current];
    f.now = s;
    change(f.saved, run.scheduler);
}

/* Names the lanes of a warp that can never go on. */
void complain_stuck(int warp)
{
    for (int slot = 0; slot < 32; slot++) {
        const meeting &m = run.meetings[(size_t)(warp * 32 + slot)];
        if (m.arrived == 0) continue;
        uint32_t left = 0, barrier_lanes = 0;
        for (int lane = 0; lane < 32; lane++) {
            size_t i = (size_t)(warp * 32 + lane);
            if (i >= run.fibers.size() || run.fibers[i].now == state::left) left |= 1u << lane;
            if (i < run.fibers.size() && run.fibers[i].now == state::at_barrier)
                barrier_lanes |= 1u << lane;
        }
        uint32_t missing = m.mask & ~m.arrived;
        (void)complain(cudaErrorLaunchFailure,
                       "kernel %s, warp %d: lanes %08x wait in %s for lanes %08x, of which %08x "
                       "have left and %08x wait at a barrier",
                       run.l->kernel, warp, m.arrived, m.what, missing, missing & left,
                       missing & barrier_lanes);
        return;
    }
}

/* Runs a warp until no lane can go on; false on a fault. */
bool run_warp(int warp)
{
    size_t n = run.fibers.size();
    bool again = true;
    while (again) {
        again = false;
        for (int lane : run.lanes) {
            size_t i = (size_t)(warp * 32 + lane);
            if (i >= n || run.fibers[i].now != state::ready) continue;
            resume((int)i);
            if (run.faulted) return false;
            again = true;
        }
    }
    for (size_t i = (size_t)warp * 32; i < std::min(n, (size_t)warp * 32 + 32); i++) {
        if (run.fibers[i].now != state::meeting) continue;
        complain_stuck(warp);
        return false;
    }
    return true;
}

/* The barrier opens when all threads are there; true when the block is done. */
bool open_barrier(bool *done)
{
    size_t left = 0;
    for (const fiber &f : run.fibers) left += f.now == state::left;
    *done = left == run.fibers.size();
    if (*done) return true;
    if (left > 0) {
        (void)complain(cudaErrorLaunchFailure,
                       "kernel %s: %zu of %zu threads wait at a barrier, the others have left",
                       run.l->kernel, run.fibers.size() - left, run.fibers.size());
        return false;
    }
    for (fiber &f : run.fibers) f.now = state::ready;
    return true;
}

void order(std::vector<int> &items, int n, char how)
{
    items.resize((size_t)n);
    std::iota(items.begin(), items.end(), 0);
    if (how == 'r') std::reverse(items.begin(), items.end());
    for (int i = n - 1; how == 's' && i > 0; i--)
        std::swap(items[(size_t)i], items[draw((uint32_t)i + 1)]);
}

bool run_block(uint3 index, char how)
{
    const dim3 size = run.l->block;
    int n = (int)(size.x * size.y * size.z), n_warps = (n + 31) / 32;
    void *shared = shared_start(run.l->shared_bytes);
    order(run.warps, n_warps, how);
    order(run.lanes, 32, how);
    run.meetings.assign((size_t)n_warps * 32, meeting());
    run.fibers.resize((size_t)n);
    for (int i = 0; i < n; i++) {
        fiber &f = run.fibers[(size_t)i];
        unsigned t = (unsigned)i;
        f.at = {{t % size.x, t / size.x % size.y, t / size.x / size.y},
                index,
                size,
                run.l->grid,
                i % 32,
                shared};
        f.now = state::ready;
        f.stack = -1;
    }
    run.faulted = false;
    bool good = true, done = false;
    while (good && !done) {
        for (size_t w = 0; good && w < run.warps.size(); w++) good = run_warp(run.warps[w]);
        good = good && open_barrier(&done);
    }
    for (fiber &f : run.fibers) {
        if (f.stack >= 0) forget(pool.base[(size_t)f.stack]);
        give_stack(f);
    }
    if (good && !shared_kept(shared, run.l->shared_bytes)) {
        (void)complain(cudaErrorIllegalAddress,
                       "kernel %s, block %u %u %u: wrote past its %zu bytes of shared memory",
                       run.l->kernel, index.x, index.y, index.z, run.l->shared_bytes);
        good = false;
    }
    return good;
}

} // namespace

cudaError_t run_launch(const launch &l)
{
    const char *text = getenv("CF_SHIM_ORDER");
    char how = text != nullptr && (*text == 'r' || *text == 's') ? *text : 'f';
    run.l = &l;
    uint64_t n = (uint64_t)l.grid.x * l.grid.y * l.grid.z, first = 0, step = 1;
    if (how == 'r') first = n - 1, step = n - 1;
    if (how == 's') {
        first = draw((uint32_t)std::min<uint64_t>(n, UINT32_MAX));
        for (step = 1 + draw(1u << 20); std::gcd(step, n) != 1;) step++;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t b = (first + i % n * (step % n)) % n;
        uint3 index = {(unsigned)(b % l.grid.x), (unsigned)(b / l.grid.x % l.grid.y),
                       (unsigned)(b / l.grid.x / l.grid.y)};
        if (!run_block(index, how)) return cudaErrorLaunchFailure;
    }
    return cudaSuccess;
}

void barrier()
{
    wait_as(state::at_barrier);
}

void meet(const char *what, uint32_t mask, void *operand, combine_fn combine)
{
    fiber &f = run.fibers[(size_t)run.current];
    int lane = f.at.lane, warp = run.current / 32;
    if ((mask >> lane & 1u) == 0) fault("%s with mask %08x, which lacks its caller", what, mask);
    meeting &m = run.meetings[(size_t)(warp * 32 + __builtin_ctz(mask))];
    if (m.arrived == 0) m = {what, combine, mask, 0};
    if (m.combine != combine || m.mask != mask || strcmp(m.what, what) != 0)
        fault("%s with mask %08x, while lanes %08x of its warp wait in %s with mask %08x", what,
              mask, m.arrived, m.what, m.mask);
    f.operand = operand;
    m.arrived |= 1u << lane;
    if (m.arrived != mask) return wait_as(state::meeting);
    void *operands[32] = {};
    for (int i = 0; i < 32; i++) {
        if ((mask >> i & 1u) == 0) continue;
        fiber &other = run.fibers[(size_t)(warp * 32 + i)];
        operands[i] = other.operand;
        other.now = state::ready;
    }
    m.arrived = 0;
    combine(operands, mask);
}

void fault(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const place &p = *here;
    (void)complain(cudaErrorLaunchFailure, "kernel %s, block %u %u %u, thread %u %u %u: %s",
                   run.l->kernel, p.block.x, p.block.y, p.block.z, p.thread.x, p.thread.y,
                   p.thread.z, text);
    run.faulted = true;
    leave(run.scheduler);
    abort(); /* the scheduler never resumes it */
}

/* ---- asynchronous copies ----------------------------------------------------------------------
 */

void copy_later(void *to, const void *from, bool valid)
{
    if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || reinterpret_cast<uintptr_t>(from) % 16 != 0)
        fault("asynchronous copy from %p to %p, not aligned to 16 bytes", from, to);
    memset(to, 0xFF, 16);
    run.fibers[(size_t)run.current].copies.push_back({to, valid ? from : nullptr, false});
}

/* A group may be empty; it counts. */
void copy_commit()
{
    run.fibers[(size_t)run.current].copies.push_back({nullptr, nullptr, true});
}

void copy_wait(int n)
{
    std::vector<copy> &copies = run.fibers[(size_t)run.current].copies;
    long groups = std::count_if(copies.begin(), copies.end(), [](const copy &c) { return c.last; });
    size_t done = 0;
    for (; groups > n; done++) {
        const copy &c = copies[done];
        if (c.last)
            groups--;
        else if (c.from == nullptr)
            memset(c.to, 0, 16);
        else
            memcpy(c.to, c.from, 16);
    }
    copies.erase(copies.begin(), copies.begin() + (long)done);
}

} // namespace cf_host
