/* The JSON writer declared in buf.h. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "kernels/base/buf.h"

void cf_json_begin(cf_json *j, cf_buf *out, bool compact)
{
    *j = (cf_json){.out = out, .compact = compact};
}

static void new_line(cf_json *j)
{
    if (j->compact) return;
    cf_buf_add(j->out, "\n", 1);
    for (int i = 0; i < j->depth; i++) cf_buf_add(j->out, "  ", 2);
}

size_t cf_utf8_length(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (n == 4 && (s[0] < 0xf0 || s[0] > 0xf4)) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0; /* also stops at the terminating NUL */
    }
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] > 0x9f;
    bool beyond = s[0] == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : n;
}

static void add_escaped(cf_buf *out, unsigned char c)
{
    switch (c) {
    case '"':
        cf_buf_add(out, "\\\"", 2);
        return;
    case '\\':
        cf_buf_add(out, "\\\\", 2);
        return;
    case '\n':
        cf_buf_add(out, "\\n", 2);
        return;
    case '\r':
        cf_buf_add(out, "\\r", 2);
        return;
    case '\t':
        cf_buf_add(out, "\\t", 2);
        return;
    default:
        cf_buf_printf(out, "\\u%04x", (unsigned)c);
    }
}

/* File names may hold any bytes; what is not UTF-8 becomes U+FFFD so that the output stays JSON. */
static void add_string(cf_buf *out, const char *text)
{
    cf_buf_add(out, "\"", 1);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t n = cf_utf8_length((const char *)s);
        if (n == 0) {
            cf_buf_add(out, "\xef\xbf\xbd", 3);
            n = 1;
        } else if (*s < 0x20 || *s == 0x7f || *s == '"' || *s == '\\') {
            add_escaped(out, *s);
        } else {
            cf_buf_add(out, s, n);
        }
        s += n;
    }
    cf_buf_add(out, "\"", 1);
}

/* Comma, new line and key before a value. */
static void lead(cf_json *j, const char *key)
{
    if (j->need_comma) cf_buf_add(j->out, j->compact ? ", " : ",", j->compact ? 2 : 1);
    if (j->depth > 0) new_line(j);
    if (key) {
        add_string(j->out, key);
        cf_buf_add(j->out, ": ", 2);
    }
    j->need_comma = true;
}

static void open_bracket(cf_json *j, const char *key, char bracket)
{
    lead(j, key);
    cf_buf_add(j->out, &bracket, 1);
    j->depth++;
    j->need_comma = false;
}

static void close_bracket(cf_json *j, char bracket)
{
    j->depth--;
    if (j->need_comma) new_line(j); /* nothing inside: {} and [] */
    cf_buf_add(j->out, &bracket, 1);
    j->need_comma = true;
}

void cf_json_object(cf_json *j, const char *key)
{
    open_bracket(j, key, '{');
}
void cf_json_array(cf_json *j, const char *key)
{
    open_bracket(j, key, '[');
}
void cf_json_end_object(cf_json *j)
{
    close_bracket(j, '}');
}
void cf_json_end_array(cf_json *j)
{
    close_bracket(j, ']');
}

void cf_json_number(cf_json *j, const char *key, double value)
{
    lead(j, key);
    if (isfinite(value)) {
        cf_buf_printf(j->out, "%.17g", value);
    } else {
        cf_buf_add(j->out, "null", 4);
    }
}

void cf_json_integer(cf_json *j, const char *key, int64_t value)
{
    lead(j, key);
    cf_buf_printf(j->out, "%" PRId64, value);
}

void cf_json_boolean(cf_json *j, const char *key, bool value)
{
    lead(j, key);
    cf_buf_printf(j->out, "%s", value ? "true" : "false");
}

void cf_json_string(cf_json *j, const char *key, const char *utf8)
{
    lead(j, key);
    add_string(j->out, utf8);
}
