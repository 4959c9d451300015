#include "launch/signals.h"

#include <signal.h>
#include <stddef.h>

#include "kernels/base/err.h"
#include "kernels/base/log.h"

/* Set by a signal, read between images: the one thing a handler can touch. */
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
