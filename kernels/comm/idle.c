#include "kernels/comm/idle.h"

#include <sched.h>

#include "kernels/base/log.h"

enum { SPINS = 100, YIELDS = 2000 };

static const int64_t brief_ns = 100 * 1000;
static const int64_t first_ns = 200 * 1000, longest_ns = 10 * 1000 * 1000;

void cf_idle_briefly(cf_idle *idle)
{
    if (idle->n_calls < SPINS + YIELDS) idle->n_calls++;
    if (idle->n_calls <= SPINS) return;
    if (idle->n_calls < SPINS + YIELDS) {
        sched_yield();
    } else {
        cf_sleep_ns(brief_ns);
    }
}

void cf_idle_patiently(cf_idle *idle, int64_t limit_ns)
{
    if (idle->sleep_ns < first_ns) idle->sleep_ns = first_ns;
    cf_sleep_ns(idle->sleep_ns < limit_ns ? idle->sleep_ns : limit_ns);
    idle->sleep_ns += idle->sleep_ns / 2;
    if (idle->sleep_ns > longest_ns) idle->sleep_ns = longest_ns;
}
