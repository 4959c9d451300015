#include "proto/stop_rules.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/text.h"

/* Signals that ask; the others tell of a fault or cannot be caught. */
static const struct {
    const char *name;
    int number;
} signals[] = {
    {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"TERM", SIGTERM}, {"INT", SIGINT},
    {"HUP", SIGHUP},   {"QUIT", SIGQUIT}, {"XCPU", SIGXCPU}, {"CONT", SIGCONT},
};
enum { N_SIGNALS = sizeof signals / sizeof signals[0] };
_Static_assert((int)N_SIGNALS <= (int)CF_SAVE_ON_MAX, "a list may name every signal once");

static cf_err add_word(const char *word, size_t n, cf_save_on *out)
{
    char quoted[CF_QUOTE_MAX], copy[CF_QUOTE_MAX];
    const char *bare = n > 3 && strncmp(word, "SIG", 3) == 0 ? word + 3 : word;
    size_t length = n - (size_t)(bare - word);
    for (int i = 0; i < N_SIGNALS; i++) {
        if (strlen(signals[i].name) != length || memcmp(signals[i].name, bare, length) != 0)
            continue;
        for (int k = 0; k < out->n; k++)
            if (out->numbers[k] == signals[i].number)
                return cf_fail(CF_E_USAGE, "%s is named twice", signals[i].name);
        out->numbers[out->n++] = signals[i].number;
        return CF_OK;
    }
    snprintf(copy, sizeof copy, "%.*s", (int)(n < sizeof copy ? n : sizeof copy - 1), word);
    return cf_fail(CF_E_USAGE, "%s; expected names of USR1 USR2 TERM INT HUP QUIT XCPU CONT",
                   cf_text_quote(copy, quoted));
}

cf_err cf_save_on_parse(const char *text, cf_save_on *out)
{
    memset(out, 0, sizeof *out);
    while (*text != '\0') {
        size_t n = strcspn(text, " ,\t");
        if (n > 0) CF_TRY(add_word(text, n, out));
        text += n + (text[n] != '\0');
    }
    return CF_OK;
}

void cf_save_on_add(cf_save_on *s, int number)
{
    for (int i = 0; i < s->n; i++)
        if (s->numbers[i] == number) return;
    if (s->n < CF_SAVE_ON_MAX) s->numbers[s->n++] = number;
}

const char *cf_signal_name(int number, char storage[32])
{
    for (int i = 0; i < N_SIGNALS; i++)
        if (signals[i].number == number) return signals[i].name;
    snprintf(storage, 32, "number %d", number);
    return storage;
}

/* One number of a time: digits, at most six. */
static bool take_number(const char **at, int64_t *value)
{
    const char *p = *at;
    *value = 0;
    while (*p >= '0' && *p <= '9' && p - *at < 6) *value = 10 * *value + (*p++ - '0');
    bool some = p > *at && !(*p >= '0' && *p <= '9');
    *at = p;
    return some;
}

cf_err cf_time_limit_parse(const char *text, int64_t *seconds)
{
    char quoted[CF_QUOTE_MAX];
    int64_t days = 0, part[3] = {0};
    int n = 0;
    const char *at = text;
    *seconds = 0;
    if (*text == '\0') return CF_OK;
    bool good = take_number(&at, &part[n++]), dashed = good && *at == '-';
    if (dashed) {
        at++;
        days = part[0];
        good = take_number(&at, &part[0]);
    }
    while (good && *at == ':' && n < 3) {
        at++;
        good = take_number(&at, &part[n++]) && part[n - 1] < 60;
    }
    if (!good || *at != '\0')
        return cf_fail(CF_E_USAGE, "%s; expected minutes, H:MM, H:MM:SS or D-HH:MM:SS",
                       cf_text_quote(text, quoted));
    bool minutes = n == 1 && !dashed;
    int64_t hours = minutes ? 0 : part[0];
    *seconds = days * 86400 + hours * 3600 + (minutes ? part[0] : part[1]) * 60 + part[2];
    return CF_OK;
}
