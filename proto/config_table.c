#include "proto/config_table.h"

#include <stdlib.h>
#include <string.h>

#include "proto/text.h"

#define ROW(s, k, type, def, min, max, unit, words, help)                                          \
    {                                                                                              \
        #s,                                                                                        \
        #k,                                                                                        \
        #s "." #k,                                                                                 \
        type,                                                                                      \
        offsetof(cf_config, s##_##k),                                                              \
        def,                                                                                       \
        (double)(min),                                                                             \
        (double)(max),                                                                             \
        unit,                                                                                      \
        words,                                                                                     \
        help},
static const cf_key keys[] = {
#define CF_BOOL(s, k, def, help) ROW(s, k, CF_KEY_BOOL, def, 0, 1, "", "", help)
#define CF_INT(s, k, def, min, max, unit, help)                                                    \
    ROW(s, k, CF_KEY_INT, #def, min, max, unit, "", help)
#define CF_NUM(s, k, def, min, max, unit, help) ROW(s, k, CF_KEY_NUM, def, min, max, unit, "", help)
#define CF_WORD(s, k, def, words, help)         ROW(s, k, CF_KEY_WORD, def, 0, 0, "", words, help)
#define CF_TEXT(s, k, def, help)                ROW(s, k, CF_KEY_TEXT, def, 0, 0, "", "", help)
#define CF_INTS(s, k, def, min, max, unit, help)                                                   \
    ROW(s, k, CF_KEY_INTS, def, min, max, unit, "", help)
#define CF_NUMS(s, k, def, min, max, unit, help)                                                   \
    ROW(s, k, CF_KEY_NUMS, def, min, max, unit, "", help)
#include "proto/config_keys.def"
};
#undef ROW

enum { N_KEYS = sizeof keys / sizeof keys[0] };

const cf_key *cf_config_keys(int *n)
{
    *n = N_KEYS;
    return keys;
}

const cf_key *cf_config_key(const char *path)
{
    for (int i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i].path, path) == 0) return &keys[i];
    return NULL;
}

int cf_key_words(const cf_key *key, char storage[256], const char *words[CF_WORDS_MAX])
{
    int n = 0;
    strncpy(storage, key->words, 255);
    storage[255] = '\0';
    char *rest = storage;
    for (char *word = strsep(&rest, "|"); word && n < CF_WORDS_MAX; word = strsep(&rest, "|"))
        words[n++] = word;
    return n;
}

void *cf_key_value(const cf_key *key, cf_config *config)
{
    return (char *)config + key->offset;
}

const void *cf_key_value_const(const cf_key *key, const cf_config *config)
{
    return (const char *)config + key->offset;
}

/* Numbers of "[1, 2]" or "3"; the table's own text, so nothing here is in doubt. */
static int default_numbers(const char *text, double numbers[CF_LIST_MAX])
{
    char copy[256] = "";
    int n = 0;
    strncpy(copy, text, sizeof copy - 1);
    for (char *rest = copy, *item = strsep(&rest, "[], "); item; item = strsep(&rest, "[], "))
        if (n < CF_LIST_MAX && cf_text_number(item, &numbers[n])) n++;
    return n;
}

static void set_default(const cf_key *key, cf_config *config)
{
    void *value = cf_key_value(key, config);
    char storage[256];
    const char *words[CF_WORDS_MAX];
    double numbers[CF_LIST_MAX] = {0};
    int n = default_numbers(key->def, numbers);
    switch (key->type) {
    case CF_KEY_BOOL:
        *(bool *)value = strcmp(key->def, "true") == 0;
        break;
    case CF_KEY_INT:
        *(int64_t *)value = (int64_t)numbers[0];
        break;
    case CF_KEY_NUM:
        *(double *)value = numbers[0];
        break;
    case CF_KEY_WORD:
        for (int i = 0, n_words = cf_key_words(key, storage, words); i < n_words; i++)
            if (strcmp(words[i], key->def) == 0) *(int *)value = i;
        break;
    case CF_KEY_TEXT:
        strncpy(value, key->def, CF_TEXT_MAX - 1);
        break;
    case CF_KEY_INTS:
        ((cf_int_list *)value)->n = n;
        for (int i = 0; i < n; i++) ((cf_int_list *)value)->items[i] = (int64_t)numbers[i];
        break;
    case CF_KEY_NUMS:
        ((cf_num_list *)value)->n = n;
        for (int i = 0; i < n; i++) ((cf_num_list *)value)->items[i] = numbers[i];
        break;
    }
}

void cf_config_defaults(cf_config *config)
{
    memset(config, 0, sizeof *config);
    for (int i = 0; i < N_KEYS; i++) set_default(&keys[i], config);
}
