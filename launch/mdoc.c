#include "launch/mdoc.h"

#include <ctype.h>
#include <string.h>

/* A page bears the date of its text, not of the build: the same source makes the same file. */
static const char page_date[] = "November 22, 2026";

/* One character inside a line; before: the one in front of it, 0 at the line's beginning. */
static void put_character(cf_buf *out, char before, char c)
{
    switch (c) {
    case '\\':
        cf_buf_printf(out, "\\e");
        break;
    case '~':
        cf_buf_printf(out, "\\(ti");
        break;
    case '^':
        cf_buf_printf(out, "\\(ha");
        break;
    case '`':
        cf_buf_printf(out, "\\(ga");
        break;
    case '-': /* of an option, to be copied; else a hyphen */
        cf_buf_printf(out, isalnum((unsigned char)before) ? "-" : "\\-");
        break;
    default:
        cf_buf_add(out, &c, 1);
    }
}

/* Where the sentence at the beginning of a line ends: mdoc wants each on a line of its own. */
static size_t sentence_length(const char *line, size_t n)
{
    for (size_t i = 1; i + 1 < n; i++)
        if (strchr(".!?", line[i]) != NULL && line[i + 1] == ' ' &&
            (isalnum((unsigned char)line[i - 1]) || line[i - 1] == ')'))
            return i + 1;
    return n;
}

static void put_line(cf_buf *out, const char *line, size_t n)
{
    while (n > 0 && line[n - 1] == ' ') n--; /* blanks at the end are an error of mdoc */
    while (n > 0) {
        size_t length = sentence_length(line, n);
        if (line[0] == '.' || line[0] == '\'') cf_buf_printf(out, "\\&");
        for (size_t i = 0; i < length; i++) put_character(out, i > 0 ? line[i - 1] : '\0', line[i]);
        cf_buf_printf(out, "\n");
        while (length < n && line[length] == ' ') length++;
        line += length;
        n -= length;
    }
}

static void put_displayed(cf_buf *out, const char *line, size_t n)
{
    cf_buf_printf(out, ".Dl ");
    char before = '\0';
    for (size_t i = 0; i < n; i++) {
        if (line[i] == '"')
            cf_buf_printf(out, "\\(dq");
        else
            put_character(out, before, line[i]);
        before = line[i];
    }
    cf_buf_printf(out, "\n");
}

void cf_mdoc_text(cf_buf *out, const char *text)
{
    bool parted = true; /* a break at the beginning would be an empty paragraph */
    while (*text != '\0') {
        size_t n = strcspn(text, "\n"), blanks = strspn(text, " ");
        if (blanks >= n) {
            if (!parted && text[n] != '\0') cf_buf_printf(out, ".Pp\n");
            parted = true;
        } else {
            if (blanks > 0)
                put_displayed(out, text + blanks, n - blanks);
            else
                put_line(out, text, n);
            parted = false;
        }
        text += text[n] == '\n' ? n + 1 : n;
    }
}

void cf_mdoc_sentence(cf_buf *out, const char *text)
{
    cf_mdoc_text(out, text);
    size_t n = strlen(text);
    if (n == 0 || strchr(".!?:", text[n - 1]) != NULL || out->failed) return;
    out->len--; /* the newline */
    cf_buf_printf(out, ".\n");
}

void cf_mdoc_argument(cf_buf *out, const char *word, size_t n)
{
    /* Macros have two letters; marks alone would be set as punctuation. */
    cf_buf_printf(out, n <= 2 ? " \\&" : " ");
    for (size_t i = 0; i < n; i++) {
        if (word[i] == '"')
            cf_buf_printf(out, "\\(dq");
        else
            put_character(out, i > 0 ? word[i - 1] : '\0', word[i]);
    }
}

void cf_mdoc_head(cf_buf *out, const char *page, int section, const char *summary)
{
    cf_buf_printf(out,
                  ".\\\" Made by cytofold --man from the tables of verbs, options and keys.\n");
    cf_buf_printf(out, ".Dd %s\n.Dt ", page_date);
    for (const char *c = page; *c != '\0'; c++) {
        char upper = (char)toupper((unsigned char)*c);
        cf_buf_add(out, &upper, 1);
    }
    cf_buf_printf(out, " %d\n.Os cytofold %s\n.Sh NAME\n.Nm %s\n.Nd %s\n", section,
                  CYTOFOLD_VERSION, page, summary);
}

/* One word of a usage: brackets around it, then an option or an argument, then dots. */
static void put_usage_word(cf_buf *out, const char *word, size_t n)
{
    bool closes = false, repeats = n > 3 && memcmp(word + n - 3, "...", 3) == 0;
    if (repeats) n -= 3;
    if (word[0] == '[' && memchr(word, '=', n) == NULL) {
        cf_buf_printf(out, ".Oo\n");
        word++;
        n--;
    }
    if (n > 0 && word[n - 1] == ']') {
        closes = true;
        n--;
    }
    if (n > 1 && word[0] == '-') {
        cf_buf_printf(out, ".Fl");
        cf_mdoc_argument(out, word + 1, n - 1);
    } else {
        cf_buf_printf(out, ".Ar");
        cf_mdoc_argument(out, word, n);
    }
    cf_buf_printf(out, closes ? "\n.Oc" : "");
    cf_buf_printf(out, repeats ? " Ns ...\n" : "\n");
}

/* Behind ", " or ", or " and the verb's name: the next form of the command; else `usage` itself. */
static const char *next_form(const char *verb, const char *usage)
{
    const char *name = strncmp(usage, "or ", 3) == 0 ? usage + 3 : usage;
    size_t n = strlen(verb);
    if (strncmp(name, verb, n) != 0 || name[n] != ' ') return usage;
    return name + n + 1;
}

void cf_mdoc_synopsis(cf_buf *out, const char *verb, const char *usage)
{
    static const char blanks[] = " \n";
    cf_buf_printf(out, ".Sh SYNOPSIS\n.Nm cytofold %s\n", verb);
    while (*usage != '\0') {
        size_t n = strcspn(usage, blanks);
        const char *after = usage + n + strspn(usage + n, blanks), *next = after;
        bool last = n > 1 && usage[n - 1] == ',';
        if (last) next = next_form(verb, after);
        put_usage_word(out, usage, last ? n - 1 : n);
        if (next != after) cf_buf_printf(out, ".Nm cytofold %s\n", verb);
        usage = next;
    }
}
