/* The YAML form of a scheme. Order of reading: classes first, for all else names them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/scheme.h"
#include "proto/text.h"
#include "proto/yaml.h"

enum { MAX_NODES = 4 * CF_MAX_CLASSES, MAX_QUESTIONS = 64 };

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* An optional text of a map. */
static cf_err read_text(cf_yaml_node map, const char *key, char *value, size_t room)
{
    cf_yaml_node node;
    if (!cf_yaml_find(map, key, &node)) return CF_OK;
    return cf_yaml_get_text(node, key, value, room);
}

static cf_err read_code(cf_yaml_node node, const char *what, char code[CF_CODE_MAX])
{
    char quoted[CF_QUOTE_MAX];
    CF_TRY(cf_yaml_get_text(node, what, code, CF_CODE_MAX));
    if (!cf_name_is_safe(code)) /* it becomes the name of a folder and a column */
        return cf_yaml_fail(node, "%s is %s; expected a name that a folder can bear", what,
                            cf_text_quote(code, quoted));
    return CF_OK;
}

/* The class that a node of the document names. */
static cf_err read_class_of(const cf_scheme *s, cf_yaml_node node, const char *what, int *index)
{
    char quoted[CF_QUOTE_MAX];
    CF_TRY(cf_yaml_expect(node, CF_YAML_SCALAR, what));
    for (int i = 0; i < s->n_classes; i++) {
        if (strcmp(s->classes[i].code, cf_yaml_text(node)) != 0) continue;
        *index = i;
        return CF_OK;
    }
    return cf_yaml_fail(node, "%s names %s, which is the code of no class", what,
                        cf_text_quote(cf_yaml_text(node), quoted));
}

/* ---- classes ---- */

static cf_err read_color(cf_yaml_node map, char color[16])
{
    cf_yaml_node node;
    if (!cf_yaml_find(map, "color", &node)) return CF_OK;
    char quoted[CF_QUOTE_MAX];
    CF_TRY(cf_yaml_expect(node, CF_YAML_SCALAR, "color"));
    const char *text = cf_yaml_text(node);
    if (strlen(text) != 7 || text[0] != '#' || strspn(text + 1, "0123456789abcdefABCDEF") != 6)
        return cf_yaml_fail(node, "color is %s; expected \"#rrggbb\" in quotes",
                            cf_text_quote(text, quoted));
    strcpy(color, text);
    return CF_OK;
}

/* "key: [mean, sd]", both shares of one. */
static cf_err read_share(cf_yaml_node map, const char *key, cf_published *p)
{
    cf_yaml_node node;
    if (!cf_yaml_find(map, key, &node)) return CF_OK;
    CF_TRY(cf_yaml_expect(node, CF_YAML_LIST, key));
    if (cf_yaml_count(node) != 2)
        return cf_yaml_fail(node, "%s has %d numbers; expected 2, mean and SD", key,
                            cf_yaml_count(node));
    CF_TRY(cf_yaml_get_number(cf_yaml_item(node, 0), key, 0, 1, &p->mean));
    CF_TRY(cf_yaml_get_number(cf_yaml_item(node, 1), key, 0, 1, &p->sd));
    p->known = true;
    return CF_OK;
}

static cf_err read_published(cf_yaml_node map, cf_class *c)
{
    static const char *const keys[] = {"images", "precision_tolerant", "recall_tolerant",
                                       "precision_strict", "recall_strict"};
    cf_yaml_node node;
    CF_TRY(cf_yaml_only_keys(map, "published", keys, COUNT(keys)));
    if (cf_yaml_find(map, "images", &node))
        CF_TRY(cf_yaml_get_integer(node, "images", 0, INT64_C(1000000000000), &c->published_count));
    CF_TRY(read_share(map, keys[1], &c->precision_tolerant));
    CF_TRY(read_share(map, keys[2], &c->recall_tolerant));
    CF_TRY(read_share(map, keys[3], &c->precision_strict));
    return read_share(map, keys[4], &c->recall_strict);
}

static cf_err read_class(cf_yaml_node map, cf_class *c)
{
    static const char *const keys[] = {"code", "name", "lineage", "color", "published"};
    cf_yaml_node node;
    CF_TRY(cf_yaml_only_keys(map, "a class", keys, COUNT(keys)));
    if (!cf_yaml_find(map, "code", &node)) return cf_yaml_fail(map, "a class without a code");
    CF_TRY(read_code(node, "code", c->code));
    strcpy(c->name, c->code);
    CF_TRY(read_text(map, "name", c->name, sizeof c->name));
    CF_TRY(read_text(map, "lineage", c->lineage, sizeof c->lineage));
    CF_TRY(read_color(map, c->color));
    if (cf_yaml_find(map, "published", &node)) CF_TRY(read_published(node, c));
    return CF_OK;
}

static cf_err read_classes(cf_yaml_node root, cf_scheme *s)
{
    char quoted[CF_QUOTE_MAX];
    cf_yaml_node list;
    if (!cf_yaml_find(root, "classes", &list))
        return cf_yaml_fail(root, "a scheme without classes");
    CF_TRY(cf_yaml_expect(list, CF_YAML_LIST, "classes"));
    int n = cf_yaml_count(list);
    if (n < 1 || n > CF_MAX_CLASSES)
        return cf_yaml_fail(list, "%d classes; expected 1 to %d", n, (int)CF_MAX_CLASSES);
    CF_TRY(cf_new(&s->classes, (size_t)n, sizeof *s->classes));
    for (int i = 0; i < n; i++) {
        cf_class *c = &s->classes[i];
        CF_TRY(read_class(cf_yaml_item(list, i), c));
        if (cf_scheme_find(s, c->code) >= 0 || cf_scheme_find(s, c->name) >= 0)
            return cf_yaml_fail(cf_yaml_item(list, i), "class %s bears the code or name of another",
                                cf_text_quote(c->code, quoted));
        s->n_classes = i + 1;
    }
    return CF_OK;
}

/* ---- output nodes ---- */

static bool node_exists(const cf_scheme *s, const char *name)
{
    for (int o = 0; o < s->n_nodes; o++)
        if (strcmp(s->node_names[o], name) == 0) return true;
    return false;
}

static cf_err add_node(cf_scheme *s, int class_index, const char *name, cf_yaml_node where)
{
    char quoted[CF_QUOTE_MAX];
    if (s->n_nodes == MAX_NODES)
        return cf_yaml_fail(where, "too many output nodes; expected at most %d", (int)MAX_NODES);
    if (node_exists(s, name))
        return cf_yaml_fail(where, "output node %s stands twice", cf_text_quote(name, quoted));
    strcpy(s->node_names[s->n_nodes], name);
    s->class_of[s->n_nodes++] = class_index;
    return CF_OK;
}

static cf_err add_merged(cf_scheme *s, int class_index, cf_yaml_node list)
{
    char name[CF_CODE_MAX], quoted[CF_QUOTE_MAX];
    CF_TRY(cf_yaml_expect(list, CF_YAML_LIST, "merged_nodes"));
    if (cf_yaml_count(list) < 2)
        return cf_yaml_fail(list, "class %s is merged from fewer than two nodes",
                            s->classes[class_index].code);
    for (int i = 0; i < cf_yaml_count(list); i++) {
        cf_yaml_node item = cf_yaml_item(list, i);
        CF_TRY(read_code(item, "an output node", name));
        int bearer = cf_scheme_find(s, name);
        if (bearer >= 0 && bearer != class_index)
            return cf_yaml_fail(item, "output node %s bears the code or name of another class",
                                cf_text_quote(name, quoted));
        CF_TRY(add_node(s, class_index, name, item));
    }
    return CF_OK;
}

/* Nodes stand in the order of the classes; a class that is not merged has one, of its own code. */
static cf_err read_nodes(cf_yaml_node root, cf_scheme *s)
{
    cf_yaml_node merged, list;
    bool any = cf_yaml_find(root, "merged_nodes", &merged);
    int room = any ? MAX_NODES : s->n_classes, index = 0;
    CF_TRY(cf_new(&s->node_names, (size_t)room, sizeof *s->node_names));
    CF_TRY(cf_new(&s->class_of, (size_t)room, sizeof *s->class_of));
    if (any) CF_TRY(cf_yaml_expect(merged, CF_YAML_MAP, "merged_nodes"));
    for (int i = 0; any && i < cf_yaml_count(merged); i++)
        CF_TRY(read_class_of(s, cf_yaml_key(merged, i), "merged_nodes", &index));
    for (int c = 0; c < s->n_classes; c++) {
        if (any && cf_yaml_find(merged, s->classes[c].code, &list))
            CF_TRY(add_merged(s, c, list));
        else
            CF_TRY(add_node(s, c, s->classes[c].code, root));
    }
    return CF_OK;
}

/* ---- tolerance pairs, questions, labels of others ---- */

static cf_err read_pair(cf_yaml_node pair, cf_scheme *s)
{
    int a = 0, b = 0;
    CF_TRY(cf_yaml_expect(pair, CF_YAML_LIST, "a tolerance pair"));
    if (cf_yaml_count(pair) != 2)
        return cf_yaml_fail(pair, "a tolerance pair of %d classes; expected 2",
                            cf_yaml_count(pair));
    CF_TRY(read_class_of(s, cf_yaml_item(pair, 0), "a tolerance pair", &a));
    CF_TRY(read_class_of(s, cf_yaml_item(pair, 1), "a tolerance pair", &b));
    if (a == b) return cf_yaml_fail(pair, "a tolerance pair of %s with itself", s->classes[a].code);
    if (s->tolerant[a * s->n_classes + b])
        return cf_yaml_fail(pair, "tolerance pair %s, %s stands twice", s->classes[a].code,
                            s->classes[b].code);
    s->tolerant[a * s->n_classes + b] = s->tolerant[b * s->n_classes + a] = 1;
    return CF_OK;
}

static cf_err read_tolerance(cf_yaml_node root, cf_scheme *s)
{
    cf_yaml_node list;
    CF_TRY(cf_new(&s->tolerant, (size_t)s->n_classes * (size_t)s->n_classes, 1));
    if (!cf_yaml_find(root, "tolerance", &list)) return CF_OK;
    CF_TRY(cf_yaml_expect(list, CF_YAML_LIST, "tolerance"));
    for (int i = 0; i < cf_yaml_count(list); i++) CF_TRY(read_pair(cf_yaml_item(list, i), s));
    return CF_OK;
}

static cf_err read_question(cf_yaml_node name, cf_yaml_node list, cf_scheme *s, cf_question *q)
{
    int n = 0, index = 0;
    CF_TRY(cf_yaml_get_text(name, "a question's name", q->name, sizeof q->name));
    CF_TRY(cf_yaml_expect(list, CF_YAML_LIST, q->name));
    for (; n < cf_yaml_count(list); n++) {
        CF_TRY(read_class_of(s, cf_yaml_item(list, n), q->name, &index));
        if (q->positive[index])
            return cf_yaml_fail(cf_yaml_item(list, n), "%s stands twice in question %s",
                                s->classes[index].code, q->name);
        q->positive[index] = true;
    }
    if (n == 0 || n == s->n_classes)
        return cf_yaml_fail(list, "question %s is of %d of %d classes; expected some, but not all",
                            q->name, n, s->n_classes);
    return CF_OK;
}

static cf_err read_questions(cf_yaml_node root, cf_scheme *s)
{
    cf_yaml_node map;
    if (!cf_yaml_find(root, "questions", &map)) return CF_OK;
    CF_TRY(cf_yaml_expect(map, CF_YAML_MAP, "questions"));
    int n = cf_yaml_count(map);
    if (n > MAX_QUESTIONS)
        return cf_yaml_fail(map, "%d questions; expected at most %d", n, (int)MAX_QUESTIONS);
    CF_TRY(cf_new(&s->questions, (size_t)n, sizeof *s->questions));
    for (; s->n_questions < n; s->n_questions++)
        CF_TRY(read_question(cf_yaml_key(map, s->n_questions), cf_yaml_value(map, s->n_questions),
                             s, &s->questions[s->n_questions]));
    return CF_OK;
}

/* Classes that a network falls back on where it knows no better. */
static cf_err read_no_confident(cf_yaml_node root, cf_scheme *s)
{
    cf_yaml_node list;
    int index = 0;
    CF_TRY(cf_new(&s->no_confident, (size_t)s->n_classes, 1));
    if (!cf_yaml_find(root, "no_confident", &list)) return CF_OK;
    CF_TRY(cf_yaml_expect(list, CF_YAML_LIST, "no_confident"));
    for (int i = 0; i < cf_yaml_count(list); i++) {
        CF_TRY(read_class_of(s, cf_yaml_item(list, i), "no_confident", &index));
        if (s->no_confident[index])
            return cf_yaml_fail(cf_yaml_item(list, i), "%s stands twice in no_confident",
                                s->classes[index].code);
        s->no_confident[index] = 1;
        s->n_no_confident++;
    }
    if (s->n_no_confident == s->n_classes)
        return cf_yaml_fail(list, "no_confident names all classes; expected some of them");
    return CF_OK;
}

/* `to`: a class index, or -1 for a label that is left out on purpose. */
static cf_err add_alias(cf_scheme *s, cf_yaml_node from, int to)
{
    char quoted[CF_QUOTE_MAX];
    cf_alias *alias = &s->aliases[s->n_aliases];
    CF_TRY(cf_yaml_get_text(from, "a label", alias->from, sizeof alias->from));
    if (cf_scheme_find(s, alias->from) != -2)
        return cf_yaml_fail(from, "label %s has a meaning already",
                            cf_text_quote(alias->from, quoted));
    alias->to = to;
    s->n_aliases++;
    return CF_OK;
}

static cf_err read_aliases(cf_yaml_node root, cf_scheme *s)
{
    cf_yaml_node map = root, list = root;
    bool mapped = cf_yaml_find(root, "aliases", &map);
    bool dropped = cf_yaml_find(root, "dropped", &list);
    if (mapped) CF_TRY(cf_yaml_expect(map, CF_YAML_MAP, "aliases"));
    if (dropped) CF_TRY(cf_yaml_expect(list, CF_YAML_LIST, "dropped"));
    int n_mapped = mapped ? cf_yaml_count(map) : 0, n_dropped = dropped ? cf_yaml_count(list) : 0;
    if (n_mapped + n_dropped > CF_YAML_MAX_PAIRS) /* duplicates are found by comparing all */
        return cf_yaml_fail(list, "%d labels; expected at most %d", n_mapped + n_dropped,
                            (int)CF_YAML_MAX_PAIRS);
    CF_TRY(cf_new(&s->aliases, (size_t)(n_mapped + n_dropped), sizeof *s->aliases));
    for (int i = 0; i < n_mapped; i++) {
        int to = 0;
        CF_TRY(read_class_of(s, cf_yaml_value(map, i), "aliases", &to));
        CF_TRY(add_alias(s, cf_yaml_key(map, i), to));
    }
    for (int i = 0; i < n_dropped; i++) CF_TRY(add_alias(s, cf_yaml_item(list, i), -1));
    return CF_OK;
}

static cf_err read_scheme(cf_yaml_node root, cf_scheme *s)
{
    static const char *const keys[] = {
        "name",      "title",   "citation",     "published_source", "classes",     "tolerance",
        "questions", "aliases", "merged_nodes", "dropped",          "no_confident"};
    CF_TRY(cf_yaml_only_keys(root, "the scheme", keys, COUNT(keys)));
    cf_yaml_node name;
    if (!cf_yaml_find(root, "name", &name)) return cf_yaml_fail(root, "a scheme without a name");
    CF_TRY(read_code(name, "name", s->name));
    CF_TRY(read_text(root, "title", s->title, sizeof s->title));
    CF_TRY(read_text(root, "citation", s->citation, sizeof s->citation));
    CF_TRY(read_text(root, "published_source", s->published_source, sizeof s->published_source));
    CF_TRY(read_classes(root, s));
    CF_TRY(read_nodes(root, s));
    CF_TRY(read_tolerance(root, s));
    CF_TRY(read_questions(root, s));
    CF_TRY(read_no_confident(root, s));
    return read_aliases(root, s);
}

cf_err cf_scheme_parse(const char *name, const char *text, size_t n, cf_scheme *scheme)
{
    cf_yaml *yaml = NULL;
    cf_err err = CF_OK;
    memset(scheme, 0, sizeof *scheme);
    CF_TRY_GOTO(cf_yaml_parse(name, text, n, &yaml), out);
    CF_TRY_GOTO(read_scheme(cf_yaml_root(yaml), scheme), out);
    CF_TRY_GOTO(cf_new(&scheme->text, n + 1, 1), out);
    memcpy(scheme->text, text, n);
out:
    if (err != CF_OK) cf_scheme_fini(scheme);
    cf_yaml_destroy(yaml);
    return err;
}
