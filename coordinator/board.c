#include "coordinator/board.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/log.h"

#define TERMINAL_NS (200LL * 1000000)
#define LOG_NS      (30LL * 1000000000)
enum { BAR_CELLS = 24 };

void cf_board_init(cf_board *b, bool terminal, int n_folds, const int32_t *group_of_fold)
{
    memset(b, 0, sizeof *b);
    b->terminal = terminal;
    b->n_folds = n_folds;
    for (int f = 0; f < n_folds; f++) b->active[f] = group_of_fold[f] >= 0;
    b->start_ns = b->shown_ns = cf_clock_ns();
}

double cf_board_rate(const cf_board *b)
{
    double seconds = (double)(cf_clock_ns() - b->start_ns) * 1e-9;
    return seconds > 0 ? (double)b->images / seconds : 0;
}

/* Steps done and in all over the folds that have reported; folds still unheard of count as new. */
static void count_steps(const cf_board *b, int64_t *done, int64_t *total)
{
    int64_t largest = 0;
    *done = *total = 0;
    for (int f = 0; f < b->n_folds; f++)
        if (b->active[f] && b->last[f].total_steps > largest) largest = b->last[f].total_steps;
    for (int f = 0; f < b->n_folds; f++) {
        if (!b->active[f]) continue;
        *done += b->last[f].step;
        *total += b->counted[f] ? b->last[f].total_steps : largest;
    }
}

static void print_time_left(const cf_board *b, int64_t done, int64_t total, char *text, size_t n)
{
    double seconds = (double)(cf_clock_ns() - b->start_ns) * 1e-9;
    int64_t here = done - b->first_step;
    if (here <= 0 || total <= done) {
        snprintf(text, n, "--:--");
        return;
    }
    int64_t left = (int64_t)(seconds * (double)(total - done) / (double)here);
    snprintf(text, n, "%lld:%02lld:%02lld", (long long)(left / 3600), (long long)(left / 60 % 60),
             (long long)(left % 60));
}

static void add_folds(const cf_board *b, char *text, size_t n)
{
    static const char *const phase[] = {"start", "train", "test", "train", "done", "saved"};
    size_t used = 0;
    text[0] = '\0';
    for (int f = 0; f < b->n_folds && used < n; f++) {
        const cf_msg_progress *p = &b->last[f];
        if (!b->counted[f]) continue;
        int wrote = p->phase == CF_PHASE_TRAIN || p->phase == CF_PHASE_EPOCH
                        ? snprintf(text + used, n - used, " | %d: %lld/%lld %.3f", f,
                                   (long long)p->epoch, (long long)p->epochs, p->loss)
                        : snprintf(text + used, n - used, " | %d: %s", f, phase[p->phase]);
        if (wrote < 0) return;
        used += (size_t)wrote;
    }
}

static void show(cf_board *b)
{
    int64_t done = 0, total = 0;
    char left[32], folds[1024], bar[BAR_CELLS + 1];
    count_steps(b, &done, &total);
    print_time_left(b, done, total, left, sizeof left);
    add_folds(b, folds, sizeof folds);
    double share = total > 0 ? (double)done / (double)total : 0;
    if (!b->terminal) {
        cf_log_info("%3.0f %% | %.0f images/s | %s left | fold: epoch loss%s", 100 * share,
                    cf_board_rate(b), left, folds);
        return;
    }
    int full = (int)(share * BAR_CELLS);
    for (int i = 0; i < BAR_CELLS; i++) bar[i] = i < full ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    fprintf(stderr, "\r\033[K[%s] %3.0f %% %.0f images/s, %s left%s", bar, 100 * share,
            cf_board_rate(b), left, folds);
    fflush(stderr);
}

void cf_board_update(cf_board *b, const cf_msg_progress *p)
{
    if (p->fold < 0 || p->fold >= b->n_folds) return;
    if (!b->counted[p->fold]) b->first_step += p->phase == CF_PHASE_TRAIN ? p->step : 0;
    b->counted[p->fold] = true;
    b->last[p->fold] = *p;
    b->images += p->images;
    b->wait_seconds += p->wait_seconds;
    b->step_seconds += p->step_seconds;
    if (p->resident_bytes > b->resident_bytes) b->resident_bytes = p->resident_bytes;
    int64_t now = cf_clock_ns();
    if (now - b->shown_ns < (b->terminal ? TERMINAL_NS : LOG_NS)) return;
    b->shown_ns = now;
    show(b);
}

void cf_board_end(cf_board *b)
{
    if (b->terminal) fprintf(stderr, "\r\033[K");
}
