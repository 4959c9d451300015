#include "coordinator/markdown.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- text -------------------------------------------------------------------------------------
 */

/* Decodes one character; returns its bytes. What is no UTF-8 is taken byte by byte. */
static size_t decode(const char *text, uint32_t *code)
{
    const unsigned char *b = (const unsigned char *)text;
    size_t n = b[0] >= 0xf0 && b[0] < 0xf8   ? 4
               : b[0] >= 0xe0 && b[0] < 0xf0 ? 3
               : b[0] >= 0xc2 && b[0] < 0xe0 ? 2
                                             : 1;
    *code = n == 1 ? b[0] : b[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80) {
            *code = b[0];
            return 1;
        }
        *code = *code << 6 | (b[i] & 0x3f);
    }
    return n;
}

typedef struct code_range {
    uint32_t first, last;
    int width;
} code_range;

/* The ranges that names of classes can meet: combining marks and joiners take no column; Hangul,
 * CJK, full-width forms and emoji two (Unicode Standard Annex 11, shortened). */
static const code_range WIDTHS[] = {
    {0x0300, 0x036f, 0}, {0x200b, 0x200f, 0}, {0xfe00, 0xfe0f, 0},   {0x1100, 0x115f, 2},
    {0x2e80, 0xa4cf, 2}, {0xac00, 0xd7a3, 2}, {0xf900, 0xfaff, 2},   {0xfe30, 0xfe6f, 2},
    {0xff00, 0xff60, 2}, {0xffe0, 0xffe6, 2}, {0x1f300, 0x1faff, 2}, {0x20000, 0x3fffd, 2},
};

static int code_width(uint32_t code)
{
    for (size_t i = 0; i < sizeof WIDTHS / sizeof WIDTHS[0]; i++)
        if (code >= WIDTHS[i].first && code <= WIDTHS[i].last) return WIDTHS[i].width;
    return 1;
}

int cf_text_width(const char *text)
{
    int width = 0;
    uint32_t code;
    for (; *text; text += decode(text, &code), width += code_width(code)) {}
    return width;
}

/* Letters and digits, and all that is not ASCII. */
static bool in_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* Whether the character at text[i] would be markup. An underscore inside a word is none (CommonMark
 * 0.30, 6.2), and names are full of them. */
static bool is_markup(const char *text, size_t i)
{
    if (text[i] == '_') return i == 0 || !in_word(text[i - 1]) || !in_word(text[i + 1]);
    return strchr("\\`*[]|", text[i]) != NULL;
}

/* Marks that turn the direction of what follows, and so could let a name reorder the line. */
static bool turns_text(uint32_t code)
{
    return (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

void cf_markdown_escape(const char *text, cf_buf *out)
{
    for (size_t i = 0; text[i]; i++) {
        unsigned char c = (unsigned char)text[i];
        uint32_t code;
        size_t n = decode(text + i, &code);
        if (n == 3 && turns_text(code)) {
            cf_buf_printf(out, "\xef\xbf\xbd"); /* U+FFFD, as in report.html */
            i += n - 1;
        } else if (c == '<')
            cf_buf_printf(out, "&lt;");
        else if (c == '>')
            cf_buf_printf(out, "&gt;");
        else if (c == '&')
            cf_buf_printf(out, "&amp;");
        else if (c < 0x20 || c == 0x7f)
            cf_buf_printf(out, " ");
        else
            cf_buf_printf(out, "%s%c", is_markup(text, i) ? "\\" : "", c);
    }
}

/* ---- table ------------------------------------------------------------------------------------
 */

void cf_markdown_begin(cf_markdown *table, const char *columns)
{
    *table = (cf_markdown){.columns = columns};
}

void cf_markdown_put(cf_markdown *table, const char *text)
{
    cf_buf escaped = {0};
    if (table->err != CF_OK) return;
    cf_markdown_escape(text, &escaped);
    table->err = cf_buf_check(&escaped);
    if (table->err == CF_OK) table->err = cf_strings_add(&table->cells, cf_buf_text(&escaped));
    cf_buf_fini(&escaped);
}

void cf_markdown_putf(cf_markdown *table, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    cf_markdown_put(table, text);
}

static int column_width(const cf_markdown *table, size_t n_columns, size_t column)
{
    int widest = 3; /* the shortest rule, "---" or "--:" */
    for (size_t i = column; i < table->cells.n; i += n_columns) {
        int width = cf_text_width(table->cells.items[i]);
        widest = width > widest ? width : widest;
    }
    return widest;
}

static void put_repeated(cf_buf *out, char c, int n)
{
    for (int i = 0; i < n; i++) cf_buf_add(out, &c, 1);
}

static void put_cell(cf_buf *out, const char *text, char align, int width)
{
    int gap = width - cf_text_width(text);
    cf_buf_printf(out, " ");
    put_repeated(out, ' ', align == 'r' ? gap : 0);
    cf_buf_add(out, text, strlen(text));
    put_repeated(out, ' ', align == 'r' ? 0 : gap);
    cf_buf_printf(out, " |");
}

static void put_rule(cf_buf *out, const char *columns, const int *widths)
{
    cf_buf_printf(out, "|");
    for (size_t c = 0; columns[c]; c++) {
        put_repeated(out, ' ', 1);
        put_repeated(out, '-', widths[c] - (columns[c] == 'r'));
        cf_buf_printf(out, columns[c] == 'r' ? ": |" : " |");
    }
    cf_buf_printf(out, "\n");
}

enum { MAX_COLUMNS = 64 };

cf_err cf_markdown_print(cf_markdown *table, cf_buf *out)
{
    int widths[MAX_COLUMNS];
    size_t n = strlen(table->columns);
    cf_err err = table->err;
    if (err != CF_OK) goto out;
    if (n < 1 || n > MAX_COLUMNS || table->cells.n % n != 0) {
        err = cf_fail(CF_E_UNEXPECTED, "table of %zu columns holds %zu cells", n, table->cells.n);
        goto out;
    }
    for (size_t c = 0; c < n; c++) widths[c] = column_width(table, n, c);
    for (size_t i = 0; i < table->cells.n; i++) {
        if (i % n == 0) cf_buf_printf(out, "|");
        put_cell(out, table->cells.items[i], table->columns[i % n], widths[i % n]);
        if (i % n == n - 1) cf_buf_printf(out, "\n");
        if (i == n - 1) put_rule(out, table->columns, widths);
    }
    err = cf_buf_check(out);
out:
    cf_strings_fini(&table->cells);
    *table = (cf_markdown){.columns = table->columns};
    return err;
}
