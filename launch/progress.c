#include "launch/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "kernels/base/log.h"

static const int64_t second = 1000000000;

void cf_progress_begin(cf_progress *p, const char *verb)
{
    *p = (cf_progress){
        .verb = verb, .start_ns = cf_clock_ns(), .terminal = isatty(STDERR_FILENO) == 1};
    p->shown_ns = p->start_ns;
}

void cf_progress_update(cf_progress *p, int64_t done, int64_t total)
{
    int64_t now = cf_clock_ns();
    if (now - p->shown_ns < (p->terminal ? second / 10 : 30 * second)) return;
    p->shown_ns = now;
    double rate = (double)done / ((double)(now - p->start_ns) / 1e9);
    double left = (double)(total - done) / rate;
    if (!p->terminal) {
        cf_log_info("%s %lld of %lld, %.0f/s, %.0f s left", p->verb, (long long)done,
                    (long long)total, rate, left);
        return;
    }
    enum { BAR = 30 };
    char bar[BAR + 1];
    for (int i = 0; i < BAR; i++) bar[i] = (int64_t)i * total < done * BAR ? '#' : '.';
    bar[BAR] = '\0';
    fprintf(stderr, "\r%s [%s] %lld/%lld  %.0f/s  %.0f s left \033[K", p->verb, bar,
            (long long)done, (long long)total, rate, left);
    p->drawn = true;
}

double cf_progress_end(cf_progress *p)
{
    if (p->drawn) fputs("\r\033[K", stderr);
    p->drawn = false;
    return (double)(cf_clock_ns() - p->start_ns) / 1e9;
}
