#include "coordinator/html.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

/* The code point of the well-formed character at c. */
static uint32_t decode(const char *c, size_t length)
{
    const unsigned char *b = (const unsigned char *)c;
    if (length == 1) return b[0];
    uint32_t code = b[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) code = code << 6 | (b[i] & 0x3fu);
    return code;
}

/* Noncharacters (The Unicode Standard 15.0, 23.7), which cairo refuses and XML forbids in part, and
 * the controls of direction (Unicode Standard Annex 9, 2). */
static bool is_forbidden(uint32_t code)
{
    if ((code & 0xfffeu) == 0xfffeu || (code >= 0xfdd0 && code <= 0xfdef)) return true;
    return (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

/* The next character as it may stand in a text, and how far to go on. */
static size_t next_clean(const char *c, const char **clean, size_t *n_clean)
{
    size_t length = cf_utf8_length(c);
    *clean = c;
    *n_clean = length;
    if (length == 0 || is_forbidden(decode(c, length))) {
        *clean = "\xef\xbf\xbd";
        *n_clean = 3;
        return length > 0 ? length : 1;
    }
    uint32_t code = decode(c, length);
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
        *clean = " ";
        *n_clean = 1;
    }
    return length;
}

void cf_html_text(cf_buf *out, const char *text)
{
    for (const char *c = text; *c;) {
        const char *clean;
        size_t n, length = next_clean(c, &clean, &n);
        c += length;
        switch (n == 1 ? *clean : 'x') {
        case '&':
            cf_buf_add(out, "&amp;", 5);
            break;
        case '<':
            cf_buf_add(out, "&lt;", 4);
            break;
        case '>':
            cf_buf_add(out, "&gt;", 4);
            break;
        case '"':
            cf_buf_add(out, "&quot;", 6);
            break;
        case '\'':
            cf_buf_add(out, "&#39;", 5);
            break;
        default:
            cf_buf_add(out, clean, n);
        }
    }
}

void cf_html_textf(cf_buf *out, const char *fmt, ...)
{
    char small[256];
    va_list arguments, again;
    va_start(arguments, fmt);
    va_copy(again, arguments);
    int n = vsnprintf(small, sizeof small, fmt, arguments);
    va_end(arguments);
    char *large = NULL;
    if (n >= (int)sizeof small && cf_new(&large, (size_t)n + 1, 1) == CF_OK)
        vsnprintf(large, (size_t)n + 1, fmt, again);
    va_end(again);
    if (n >= (int)sizeof small && large == NULL) out->failed = true;
    cf_html_text(out, large ? large : small);
    free(large);
}

cf_err cf_html_clean(const char *text, char **out)
{
    cf_buf clean = {0};
    *out = NULL;
    for (const char *c = text; *c;) {
        const char *bytes;
        size_t n;
        c += next_clean(c, &bytes, &n);
        cf_buf_add(&clean, bytes, n);
    }
    cf_err err = cf_buf_check(&clean);
    if (err == CF_OK) err = cf_strdup(cf_buf_text(&clean), out);
    cf_buf_fini(&clean);
    return err;
}

void cf_html_json(cf_buf *out, const char *text)
{
    cf_buf_add(out, "\"", 1);
    for (const char *c = text; *c;) {
        const char *clean;
        size_t n;
        c += next_clean(c, &clean, &n);
        uint32_t code = decode(clean, n);
        if (code == '"' || code == '\\' || code == '<' || code == '>' || code == '&' ||
            code == '\'' || code == 0x2028 || code == 0x2029)
            cf_buf_printf(out, "\\u%04x", (unsigned)code);
        else
            cf_buf_add(out, clean, n);
    }
    cf_buf_add(out, "\"", 1);
}

void cf_html_base64(cf_buf *out, const void *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)b[i] << 16 | (left > 1 ? (uint32_t)b[i + 1] << 8 : 0) |
                     (left > 2 ? b[i + 2] : 0);
        char group[4] = {digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63],
                         digits[v & 63]};
        if (left < 3) group[3] = '=';
        if (left < 2) group[2] = '=';
        cf_buf_add(out, group, 4);
    }
}
