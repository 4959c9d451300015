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

struct warp {
    uint32_t ready; /* bit i: lane order.lane[i] can go on */
    int meeting;    /* lanes that wait in collectives */
    struct meeting meetings[32];
};

/* Which lane, warp and block comes first. */
struct turn {
    std::vector<int> lane, warp;
    int place_of[32]; /* of a lane in `lane` */
};

struct block_run {
    const launch *l;
    std::vector<fiber> fibers;
    std::vector<warp> warps;
    turn order;
    context scheduler;
    int current; /* fiber that runs, or ran last */
    size_t left; /* fibers that have left */
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

void fiber_main(); /* below */

/* Makes fiber i the one that runs next; the caller changes to its context. */
fiber &choose(int i)
{
    fiber &f = run.fibers[(size_t)i];
    if (f.stack < 0) {
        f.stack = take_stack();
        f.copies.clear();
        prepare(f.saved, pool.base[(size_t)f.stack], fiber_main);
    }
    run.current = i;
    here = &f.at;
    return f;
}

/* Takes the warp's next lane that can go on; -1: none. */
int next_ready(int w)
{
    warp &of = run.warps[(size_t)w];
    if (of.ready == 0) return -1;
    int place = __builtin_ctz(of.ready);
    of.ready &= of.ready - 1;
    return w * 32 + run.order.lane[(size_t)place];
}

void fiber_main()
{
    arrived_first(run.scheduler);
    run.l->body();
    run.fibers[(size_t)run.current].now = state::left;
    run.left++;
    leave(run.scheduler);
}

/* From the scheduler into a fiber; comes back when no lane of its warp can go on, or one left. */
void resume(int i)
{
    change(run.scheduler, choose(i).saved);
    here = nullptr;
    fiber &last = run.fibers[(size_t)run.current];
    if (last.now == state::left) give_stack(last);
}

/* From a fiber that has to wait into the next one of its warp, or the scheduler. */
void wait_as(state s)
{
    fiber &f = run.fibers[(size_t)run.current];
    f.now = s;
    int next = next_ready(run.current / 32);
    change(f.saved, next < 0 ? run.scheduler : choose(next).saved);
}

/* Names the lanes of a warp that can never go on. */
void complain_stuck(int w)
{
    for (int slot = 0; slot < 32; slot++) {
        const meeting &m = run.warps[(size_t)w].meetings[slot];
        if (m.arrived == 0) continue;
        uint32_t left = 0, barrier_lanes = 0;
        for (int lane = 0; lane < 32; lane++) {
            size_t i = (size_t)(w * 32 + lane);
            if (i >= run.fibers.size() || run.fibers[i].now == state::left) left |= 1u << lane;
            if (i < run.fibers.size() && run.fibers[i].now == state::at_barrier)
                barrier_lanes |= 1u << lane;
        }
        uint32_t missing = m.mask & ~m.arrived;
        (void)complain(cudaErrorLaunchFailure,
                       "kernel %s, warp %d: lanes %08x wait in %s for lanes %08x, of which %08x "
                       "have left and %08x wait at a barrier",
                       run.l->kernel, w, m.arrived, m.what, missing, missing & left,
                       missing & barrier_lanes);
        return;
    }
}

/* Runs a warp until no lane can go on; false on a fault. */
bool run_warp(int w)
{
    for (int i = next_ready(w); i >= 0; i = next_ready(w)) {
        resume(i);
        if (run.faulted) return false;
    }
    if (run.warps[(size_t)w].meeting == 0) return true;
    complain_stuck(w);
    return false;
}

void make_ready()
{
    size_t n = run.fibers.size();
    for (size_t i = 0; i < n; i++) run.fibers[i].now = state::ready;
    for (size_t w = 0; w < run.warps.size(); w++) {
        uint32_t ready = 0;
        for (size_t lane = 0; lane < 32 && w * 32 + lane < n; lane++)
            ready |= 1u << run.order.place_of[lane];
        run.warps[w].ready = ready;
    }
}

/* The barrier opens when all threads are there; *done when the block is. False on a fault. */
bool open_barrier(bool *done)
{
    size_t n = run.fibers.size();
    *done = run.left == n;
    if (*done) return true;
    if (run.left > 0) {
        (void)complain(cudaErrorLaunchFailure,
                       "kernel %s: %zu of %zu threads wait at a barrier, the others have left",
                       run.l->kernel, n - run.left, n);
        return false;
    }
    make_ready();
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

void begin_block(uint3 index, char how, void *shared)
{
    const dim3 size = run.l->block;
    unsigned n = size.x * size.y * size.z, n_warps = (n + 31) / 32;
    order(run.order.warp, (int)n_warps, how);
    order(run.order.lane, 32, how);
    for (int i = 0; i < 32; i++) run.order.place_of[run.order.lane[(size_t)i]] = i;
    run.warps.assign(n_warps, warp());
    run.fibers.resize(n);
    for (unsigned i = 0; i < n; i++) {
        fiber &f = run.fibers[i];
        f.at = {{i % size.x, i / size.x % size.y, i / size.x / size.y},
                index,
                size,
                run.l->grid,
                (int)(i % 32),
                shared};
        f.stack = -1;
    }
    run.left = 0;
    make_ready();
}

bool run_block(uint3 index, char how)
{
    void *shared = shared_start(run.l->shared_bytes);
    begin_block(index, how, shared);
    run.faulted = false;
    bool good = true, done = false;
    while (good && !done) {
        for (size_t w = 0; good && w < run.warps.size(); w++) good = run_warp(run.order.warp[w]);
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
    int lane = f.at.lane, w = run.current / 32;
    if ((mask >> lane & 1u) == 0) fault("%s with mask %08x, which lacks its caller", what, mask);
    warp &of = run.warps[(size_t)w];
    meeting &m = of.meetings[__builtin_ctz(mask)];
    if (m.arrived == 0) m = {what, combine, mask, 0};
    if (m.combine != combine || m.mask != mask || (m.what != what && strcmp(m.what, what) != 0))
        fault("%s with mask %08x, while lanes %08x of its warp wait in %s with mask %08x", what,
              mask, m.arrived, m.what, m.mask);
    f.operand = operand;
    m.arrived |= 1u << lane;
    if (m.arrived != mask) {
        of.meeting++;
        return wait_as(state::meeting);
    }
    void *operands[32] = {};
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
        int i = __builtin_ctz(rest);
        fiber &other = run.fibers[(size_t)(w * 32 + i)];
        operands[i] = other.operand;
        other.now = state::ready;
        if (i != lane) of.ready |= 1u << run.order.place_of[i];
    }
    of.meeting -= __builtin_popcount(mask) - 1;
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
