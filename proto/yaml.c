#include "proto/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/text.h"

struct cf_yaml {
    yaml_document_t document;
    bool loaded; /* document needs a delete */
    char *name;  /* owned */
};

static cf_err fail_at(const char *name, yaml_mark_t mark, const char *text)
{
    return cf_fail(CF_E_USAGE, "%s:%zu:%zu: %s", name, mark.line + 1, mark.column + 1, text);
}

/* libyaml gives no line for bytes that are no UTF-8, only their offset. */
static yaml_mark_t mark_of_offset(const char *text, size_t n, size_t offset)
{
    yaml_mark_t mark = {0, 0, 0};
    for (size_t i = 0; i < n && i < offset; i++) {
        bool inside = ((unsigned char)text[i] & 0xc0) == 0x80;
        mark.column += inside ? 0 : 1;
        if (text[i] == '\n') mark.line++, mark.column = 0;
    }
    return mark;
}

static cf_err fail_parser(const char *name, const yaml_parser_t *parser, const char *text, size_t n)
{
    const char *problem = parser->problem ? parser->problem : "not valid YAML";
    if (parser->error == YAML_MEMORY_ERROR)
        return cf_fail(CF_E_UNEXPECTED, "%s: out of memory", name);
    if (parser->error == YAML_READER_ERROR)
        return fail_at(name, mark_of_offset(text, n, parser->problem_offset), problem);
    char message[256];
    if (parser->context && parser->context_mark.line != parser->problem_mark.line)
        snprintf(message, sizeof message, "%s (%s that began in line %zu)", problem,
                 parser->context, parser->context_mark.line + 1);
    else
        snprintf(message, sizeof message, "%s%s%s", problem, parser->context ? " " : "",
                 parser->context ? parser->context : "");
    return fail_at(name, parser->problem_mark, message);
}

static bool open_parser(yaml_parser_t *parser, const char *text, size_t n)
{
    if (!yaml_parser_initialize(parser)) return false;
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING); /* else a BOM would switch to UTF-16 */
    yaml_parser_set_input_string(parser, (const unsigned char *)text, n);
    return true;
}

typedef struct guard {
    const char *name;
    int depth, n_nodes, n_documents;
} guard;

/* What a document tree no longer shows (anchors, tags) or shows too late (depth, size). */
static cf_err check_event(guard *g, const yaml_event_t *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    bool is_node = true;
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor, tag = e->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor, tag = e->data.sequence_start.tag;
        g->depth++;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor, tag = e->data.mapping_start.tag;
        g->depth++;
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        g->depth--;
        is_node = false;
        break;
    case YAML_ALIAS_EVENT:
        return fail_at(g->name, e->start_mark, "aliases are not taken; write the value again");
    case YAML_DOCUMENT_START_EVENT:
        if (e->data.document_start.version_directive ||
            e->data.document_start.tag_directives.start !=
                e->data.document_start.tag_directives.end)
            return fail_at(g->name, e->start_mark, "directives are not taken");
        if (++g->n_documents > 1)
            return fail_at(g->name, e->start_mark, "a second document; expected one");
        is_node = false;
        break;
    default:
        is_node = false;
    }
    if (anchor) return fail_at(g->name, e->start_mark, "anchors are not taken");
    if (tag) return fail_at(g->name, e->start_mark, "tags are not taken");
    if (g->depth > CF_YAML_MAX_DEPTH) return fail_at(g->name, e->start_mark, "nested too deeply");
    if (is_node && ++g->n_nodes > CF_YAML_MAX_NODES)
        return fail_at(g->name, e->start_mark, "too many values");
    return CF_OK;
}

/* Walks the event stream before anything is built from it. */
static cf_err check_stream(const char *name, const char *text, size_t n)
{
    yaml_parser_t parser;
    if (!open_parser(&parser, text, n)) return cf_fail(CF_E_UNEXPECTED, "%s: out of memory", name);
    guard g = {name, 0, 0, 0};
    cf_err err = CF_OK;
    for (bool more = true; more && err == CF_OK;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            err = fail_parser(name, &parser, text, n);
            break;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        err = check_event(&g, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return err;
}

static yaml_node_t *get(cf_yaml_node node)
{
    /* libyaml's getter takes a pointer to a document that it does not change. */
    return node.yaml->document.nodes.start + (node.index - 1);
}

static cf_err check_scalar(cf_yaml_node node)
{
    const yaml_node_t *y = get(node);
    if (strlen((const char *)y->data.scalar.value) != y->data.scalar.length)
        return cf_yaml_fail(node, "a NUL character in a text");
    return CF_OK;
}

static cf_err check_map(cf_yaml_node map)
{
    char quoted[CF_QUOTE_MAX];
    int n = cf_yaml_count(map);
    if (n > CF_YAML_MAX_PAIRS)
        return cf_yaml_fail(map, "a map of %d keys; expected at most %d", n,
                            (int)CF_YAML_MAX_PAIRS);
    for (int i = 0; i < n; i++) {
        cf_yaml_node key = cf_yaml_key(map, i);
        if (cf_yaml_node_kind(key) != CF_YAML_SCALAR)
            return cf_yaml_fail(key, "a key that is a list or a map; expected a word");
        for (int j = 0; j < i; j++) {
            cf_yaml_node other = cf_yaml_key(map, j);
            if (strcmp(cf_yaml_text(key), cf_yaml_text(other)) == 0)
                return cf_yaml_fail(key, "key %s stands twice; it was set in line %zu before",
                                    cf_text_quote(cf_yaml_text(key), quoted),
                                    get(other)->start_mark.line + 1);
        }
    }
    return CF_OK;
}

static cf_err check_nodes(const cf_yaml *yaml)
{
    int n = (int)(yaml->document.nodes.top - yaml->document.nodes.start);
    if (n == 0) return fail_at(yaml->name, (yaml_mark_t){0, 0, 0}, "no content");
    for (int i = 1; i <= n; i++) {
        cf_yaml_node node = {yaml, i};
        cf_yaml_kind kind = cf_yaml_node_kind(node);
        if (kind == CF_YAML_SCALAR) CF_TRY(check_scalar(node));
        if (kind == CF_YAML_MAP) CF_TRY(check_map(node));
    }
    return CF_OK;
}

static cf_err load(cf_yaml *yaml, const char *text, size_t n)
{
    yaml_parser_t parser;
    if (!open_parser(&parser, text, n))
        return cf_fail(CF_E_UNEXPECTED, "%s: out of memory", yaml->name);
    yaml->loaded = yaml_parser_load(&parser, &yaml->document) != 0;
    cf_err err = yaml->loaded ? CF_OK : fail_parser(yaml->name, &parser, text, n);
    yaml_parser_delete(&parser);
    return err;
}

cf_err cf_yaml_parse(const char *name, const char *text, size_t n, cf_yaml **out)
{
    static const char bom[] = "\xef\xbb\xbf";
    cf_yaml *yaml = NULL;
    cf_err err = CF_OK;
    *out = NULL;
    if (n > CF_YAML_MAX_BYTES)
        return cf_fail(CF_E_USAGE, "%s:1:1: %zu bytes; expected at most %d", name, n,
                       (int)CF_YAML_MAX_BYTES);
    if (n == 0) text = ""; /* an empty field of a file is no pointer, which libyaml dies of */
    if (n >= 3 && memcmp(text, bom, 3) == 0) text += 3, n -= 3;
    CF_TRY_GOTO(check_stream(name, text, n), out);
    CF_TRY_GOTO(cf_new(&yaml, 1, sizeof *yaml), out);
    CF_TRY_GOTO(cf_strdup(name, &yaml->name), out);
    CF_TRY_GOTO(load(yaml, text, n), out);
    CF_TRY_GOTO(check_nodes(yaml), out);
    *out = yaml;
    return CF_OK;
out:
    cf_yaml_destroy(yaml);
    return err;
}

cf_err cf_yaml_read(const char *path, cf_yaml **out, char **text)
{
    char *content = NULL;
    size_t n = 0;
    *out = NULL;
    cf_err err = cf_file_read(path, CF_YAML_MAX_BYTES, &content, &n);
    if (err == CF_E_DATA) return CF_E_USAGE; /* a wrong name on the command line, not bad data */
    CF_TRY(err);
    err = cf_yaml_parse(path, content, n, out);
    if (err == CF_OK && text) {
        *text = content;
        return CF_OK;
    }
    free(content);
    return err;
}

void cf_yaml_destroy(cf_yaml *yaml)
{
    if (!yaml) return;
    if (yaml->loaded) yaml_document_delete(&yaml->document);
    free(yaml->name);
    free(yaml);
}

cf_yaml_node cf_yaml_root(const cf_yaml *yaml)
{
    return (cf_yaml_node){yaml, 1};
}

cf_yaml_kind cf_yaml_node_kind(cf_yaml_node node)
{
    yaml_node_type_t type = get(node)->type;
    return type == YAML_MAPPING_NODE    ? CF_YAML_MAP
           : type == YAML_SEQUENCE_NODE ? CF_YAML_LIST
                                        : CF_YAML_SCALAR;
}

int cf_yaml_count(cf_yaml_node node)
{
    const yaml_node_t *y = get(node);
    if (y->type == YAML_SEQUENCE_NODE)
        return (int)(y->data.sequence.items.top - y->data.sequence.items.start);
    if (y->type == YAML_MAPPING_NODE)
        return (int)(y->data.mapping.pairs.top - y->data.mapping.pairs.start);
    return 0;
}

cf_yaml_node cf_yaml_item(cf_yaml_node list, int i)
{
    return (cf_yaml_node){list.yaml, get(list)->data.sequence.items.start[i]};
}

cf_yaml_node cf_yaml_key(cf_yaml_node map, int i)
{
    return (cf_yaml_node){map.yaml, get(map)->data.mapping.pairs.start[i].key};
}

cf_yaml_node cf_yaml_value(cf_yaml_node map, int i)
{
    return (cf_yaml_node){map.yaml, get(map)->data.mapping.pairs.start[i].value};
}

bool cf_yaml_find(cf_yaml_node map, const char *key, cf_yaml_node *value)
{
    if (cf_yaml_node_kind(map) != CF_YAML_MAP) return false;
    for (int i = 0; i < cf_yaml_count(map); i++) {
        if (strcmp(cf_yaml_text(cf_yaml_key(map, i)), key) != 0) continue;
        *value = cf_yaml_value(map, i);
        return true;
    }
    return false;
}

const char *cf_yaml_text(cf_yaml_node node)
{
    const yaml_node_t *y = get(node);
    return y->type == YAML_SCALAR_NODE ? (const char *)y->data.scalar.value : "";
}

bool cf_yaml_is_unquoted(cf_yaml_node node)
{
    const yaml_node_t *y = get(node);
    return y->type == YAML_SCALAR_NODE && y->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

cf_err cf_yaml_fail(cf_yaml_node node, const char *fmt, ...)
{
    char message[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return fail_at(node.yaml->name, get(node)->start_mark, message);
}
