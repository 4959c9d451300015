#include "launch/workers_list.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static cf_err fail_list(const char *text)
{
    return cf_fail(
        CF_E_USAGE,
        "--workers %s: expected rising whole numbers from 1 to %d with commas between, as "
        "8 or 1,2,4,...,1024, at most %d of them",
        text, CF_WORKERS_MOST, CF_WORKERS_ROWS);
}

static bool add_workers(int value, int *list, int *n)
{
    if (*n == CF_WORKERS_ROWS || value < 1 || value > CF_WORKERS_MOST ||
        (*n > 0 && value <= list[*n - 1]))
        return false;
    list[(*n)++] = value;
    return true;
}

static bool read_count(const char **at, int *value)
{
    char *end = NULL;
    if (**at < '1' || **at > '9') return false;
    long number = strtol(*at, &end, 10);
    *at = end;
    *value = number > CF_WORKERS_MOST ? CF_WORKERS_MOST + 1 : (int)number;
    return *end == '\0' || *end == ',';
}

/* From the last number to `last`, as the two before it go on. */
static bool fill_up(int last, int *list, int *n)
{
    if (*n < 2) return false;
    int a = list[*n - 2], b = list[*n - 1], ratio = b / a, value = b;
    bool product = b % a == 0;
    for (; product && value < last;) value *= ratio;
    product = product && value == last;
    for (value = b; value < last;) {
        value = product ? value * ratio : value + b - a;
        if (!add_workers(value, list, n)) return false;
    }
    return value == last;
}

cf_err cf_workers_parse(const char *text, int list[CF_WORKERS_ROWS], int *n)
{
    const char *at = text;
    bool dots = false;
    *n = 0;
    for (;;) {
        int value = 0;
        if (!dots && *n >= 2 && strncmp(at, "...,", 4) == 0) {
            dots = true;
            at += 4;
        }
        if (!read_count(&at, &value)) return fail_list(text);
        if (dots ? !fill_up(value, list, n) : !add_workers(value, list, n)) return fail_list(text);
        dots = false;
        if (*at == '\0') return CF_OK;
        at++;
    }
}
