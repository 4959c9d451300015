#include "proto/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *p)
{
    while (is_digit(*p)) p++;
    return p;
}

bool cf_text_integer(const char *text, int64_t *value)
{
    const char *digits = text + (*text == '-');
    const char *end = skip_digits(digits);
    bool leading_zero = digits[0] == '0' && end - digits > 1;
    if (end == digits || *end != '\0' || leading_zero || strcmp(text, "-0") == 0) return false;
    errno = 0;
    long long parsed = strtoll(text, NULL, 10);
    if (errno != 0) return false;
    *value = parsed;
    return true;
}

/* The end of a number's mantissa, or NULL; *zero tells whether all of its digits are zeros. */
static const char *scan_mantissa(const char *p, bool *zero)
{
    const char *start = p, *whole = skip_digits(p), *end = whole;
    if (start[0] == '0' && whole - start > 1) return NULL;
    if (*end == '.') {
        end = skip_digits(whole + 1);
        if (end == whole + 1) return NULL;
    }
    if (end == start) return NULL;
    *zero = true;
    for (p = start; p < end; p++)
        if (*p > '0') *zero = false;
    return end;
}

bool cf_text_number(const char *text, double *value)
{
    bool zero = false;
    const char *p = scan_mantissa(text + (*text == '-'), &zero);
    if (!p) return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-') p++;
        const char *end = skip_digits(p);
        if (end == p) return false;
        p = end;
    }
    if (*p != '\0') return false;
    double parsed = strtod(text, NULL);
    if (!isfinite(parsed) || (parsed == 0.0 && !zero)) return false;
    *value = parsed;
    return true;
}

static bool is_control(char c)
{
    unsigned char u = (unsigned char)c;
    return u < 0x20 || u == 0x7f;
}

const char *cf_text_quote(const char *text, char buf[CF_QUOTE_MAX])
{
    size_t room = CF_QUOTE_MAX - sizeof "\"...\"", n = strnlen(text, room + 1);
    bool cut = n > room;
    if (cut) {
        n = room;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--; /* not inside a UTF-8 character */
    }
    char *p = buf;
    *p++ = '"';
    for (size_t i = 0; i < n; i++) *p++ = is_control(text[i]) ? '?' : text[i];
    strcpy(p, cut ? "...\"" : "\"");
    return buf;
}

bool cf_text_is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if (is_control(*text)) return false;
    return true;
}

enum { NEAREST_MAX = 32 };

/* Insertions, deletions and replacements that lead from a to b (Levenshtein). */
static int distance(const char *a, const char *b)
{
    int row[NEAREST_MAX + 1];
    int n_b = (int)strlen(b);
    for (int j = 0; j <= n_b; j++) row[j] = j;
    for (int i = 1; a[i - 1] != '\0'; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n_b; j++) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int moved = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replaced < moved ? replaced : moved;
        }
    }
    return row[n_b];
}

const char *cf_text_nearest(const char *word, const char *const *candidates, int n)
{
    if (strnlen(word, NEAREST_MAX + 1) > NEAREST_MAX) return NULL;
    const char *nearest = NULL;
    int least = 3;
    for (int i = 0; i < n; i++) {
        if (strnlen(candidates[i], NEAREST_MAX + 1) > NEAREST_MAX) continue;
        int d = distance(word, candidates[i]);
        if (d < least) least = d, nearest = candidates[i];
    }
    return nearest;
}
