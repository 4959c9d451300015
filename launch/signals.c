#include "launch/signals.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "kernels/base/log.h"

/* Set by a signal, read between images or steps: the one thing a handler can touch. */
static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

/* A second signal finds the default action again and ends the program at once. */
void cf_signals_catch(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    struct sigaction before;
    for (int i = 0; i < 3; i++) {
        /* one that is ignored stays so: nohup asks for that */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

/* A batch system and a launcher may both pass one wish on: what comes this soon is the same one. */
static const int64_t same_wish_ns = 300 * 1000 * 1000;
static volatile int64_t first_ns;

static int64_t clock_ns(void) /* allowed in a handler */
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void on_wish(int number)
{
    if (caught == 0) {
        first_ns = clock_ns();
        caught = number;
    } else if (clock_ns() - first_ns > same_wish_ns) {
        signal(number, SIG_DFL);
        raise(number); /* comes when this handler returns */
    }
}

void cf_signals_catch_wishes(const cf_save_on *wishes)
{
    struct sigaction action = {.sa_handler = on_wish, .sa_flags = SA_RESTART}, before;
    for (int i = 0; i < wishes->n; i++)
        if (sigaction(wishes->numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(wishes->numbers[i], &action, NULL);
}

int cf_signals_caught(void)
{
    return caught;
}

void cf_signals_die(void)
{
    if (caught == 0) return;
    cf_log_error("%s", cf_err_text());
    signal(caught, SIG_DFL);
    raise(caught);
}
