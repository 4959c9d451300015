/* The strict reader: what it takes, and that what it refuses is named by line and column. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/buf.h"
#include "proto/config.h"
#include "proto/text.h"
#include "proto/yaml.h"

typedef struct hostile {
    const char *what; /* printed when the case fails */
    const char *text;
    int line, column;     /* where the message must point */
    const char *mentions; /* part of the message */
} hostile;

static const hostile cases[] = {
    /* numbers that lax readers take */
    {"letters behind a number", "train:\n  epochs: 90abc\n", 2, 11, "90abc"},
    {"nan", "train:\n  learning_rate: nan\n", 2, 18, "nan"},
    {".nan", "train:\n  learning_rate: .nan\n", 2, 18, ".nan"},
    {"inf", "train:\n  learning_rate: inf\n", 2, 18, "inf"},
    {"-.inf", "train:\n  learning_rate: -.inf\n", 2, 18, "-.inf"},
    {"overflow", "train:\n  learning_rate: 1e400\n", 2, 18, "1e400"},
    {"underflow", "train:\n  learning_rate: 1e-400\n", 2, 18, "1e-400"},
    {"negative count", "train:\n  batch: -1\n", 2, 10, "-1"},
    {"zero count", "train:\n  batch: 0\n", 2, 10, "from 1"},
    {"decimal comma", "train:\n  learning_rate: 1,5\n", 2, 18, "1,5"},
    {"hexadecimal", "train:\n  epochs: 0x10\n", 2, 11, "0x10"},
    {"hexadecimal float", "train:\n  learning_rate: 0x1p-3\n", 2, 18, "0x1p-3"},
    {"octal", "train:\n  epochs: 010\n", 2, 11, "010"},
    {"underscores", "train:\n  epochs: 1_000\n", 2, 11, "1_000"},
    {"plus sign", "train:\n  epochs: +5\n", 2, 11, "+5"},
    {"fraction for a count", "train:\n  epochs: 1.5\n", 2, 11, "1.5"},
    {"exponent for a count", "train:\n  epochs: 1e3\n", 2, 11, "1e3"},
    {"over 64 bits", "train:\n  seed: 99999999999999999999\n", 2, 9, "99999999999999999999"},
    {"over the range", "data:\n  seed: 4294967296\n", 2, 9, "4294967295"},
    {"sexagesimal", "train:\n  epochs: 1:30\n", 2, 11, "1:30"},
    {"quoted number", "train:\n  epochs: \"5\"\n", 2, 11, "quoted"},
    {"two numbers", "train:\n  epochs: 5 6\n", 2, 11, "5 6"},
    {"no value", "train:\n  epochs:\n  batch: 32\n", 2, 10, "no value"},
    {"null", "train:\n  epochs: null\n", 2, 11, "null"},
    /* other values */
    {"yes for true", "train:\n  nesterov: yes\n", 2, 13, "true or false"},
    {"True for true", "train:\n  nesterov: True\n", 2, 13, "true or false"},
    {"unknown word", "train:\n  optimizer: adamax\n", 2, 14, "sgd|adam|adamw"},
    {"capital word", "train:\n  optimizer: Adam\n", 2, 14, "\"Adam\""},
    {"list for a number", "train:\n  epochs: [5]\n", 2, 11, "a list"},
    {"map for a number", "train:\n  epochs: {a: 1}\n", 2, 11, "a map"},
    {"number for a list", "model:\n  depths: 3\n", 2, 11, "a list"},
    {"bad item of a list", "model:\n  depths: [3, 4, x, 3]\n", 2, 18, "\"x\""},
    {"item out of range", "model:\n  depths: [3, 0]\n", 2, 15, "\"0\""},
    {"list in a list", "model:\n  depths: [3, [4]]\n", 2, 15, "a list"},
    {"list of 17", "model:\n  depths: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]\n", 2, 11, "17"},
    {"null for a text", "data:\n  cells: ~\n", 2, 10, "\"\""},
    {"escape character in a text", "data:\n  cells: \"a\\x1b[2J\"\n", 2, 10, "control"},
    {"NUL in a text", "data:\n  cells: \"a\\0b\"\n", 2, 10, "NUL"},
    /* keys */
    {"unknown section", "trian:\n  epochs: 5\n", 1, 1, "did you mean \"train\""},
    {"unknown key", "train:\n  epoch: 5\n", 2, 3, "did you mean \"epochs\""},
    {"key of another section", "train:\n  shift: 0.1\n", 2, 3, "shift"},
    {"capital key", "train:\n  Epochs: 5\n", 2, 3, "Epochs"},
    {"key twice", "train:\n  epochs: 5\n  batch: 32\n  epochs: 6\n", 4, 3, "line 2"},
    {"section twice", "train:\n  epochs: 5\ntrain:\n  batch: 32\n", 3, 1, "twice"},
    {"key twice in flow", "train: {epochs: 5, epochs: 6}\n", 1, 20, "twice"},
    {"list as key", "train:\n  ? [a, b]\n  : 5\n", 2, 5, "expected a word"},
    {"map as key", "? {a: 1}\n: 5\n", 1, 3, "expected a word"},
    {"section without keys", "train:\n", 1, 7, "empty"},
    {"number as section", "train: 5\n", 1, 8, "a single value"},
    {"list at the top", "- train\n", 1, 1, "a list"},
    {"value at the top", "train\n", 1, 1, "a single value"},
    /* parts of YAML that surprise */
    {"anchor", "train:\n  epochs: &n 5\n", 2, 11, "anchor"},
    {"alias", "train:\n  epochs: &n 5\n  batch: *n\n", 2, 11, "anchor"},
    {"alias of nothing", "train:\n  epochs: *n\n", 2, 11, "aliases"},
    {"alias bomb", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", 1, 4, "anchor"},
    {"merge key", "train:\n  <<: {epochs: 5}\n", 2, 3, "<<"},
    {"merge of an alias", "train:\n  <<: *defaults\n", 2, 7, "aliases"},
    {"anchor on a map", "train: &t\n  epochs: 5\n", 1, 8, "anchor"},
    {"tag", "train:\n  epochs: !!int \"5\"\n", 2, 11, "tag"},
    {"own tag", "train: !include other.yaml\n", 1, 8, "tag"},
    {"tag of Python", "train: !!python/object/apply:os.system ['ls']\n", 1, 8, "tag"},
    {"version directive", "%YAML 1.1\n---\ntrain:\n  epochs: 5\n", 1, 1, "directive"},
    {"tag directive", "%TAG ! tag:x,2000:\n---\ntrain: {epochs: 5}\n", 1, 1, "directive"},
    {"two documents", "train:\n  epochs: 5\n---\ntrain:\n  epochs: 6\n", 3, 1, "second document"},
    {"nothing", "", 1, 1, "no content"},
    {"comments only", "# nothing\n\n", 1, 1, "no content"},
    {"blanks only", "   \n  \n", 1, 1, "no content"},
    /* not YAML */
    {"tab as indentation", "train:\n\tepochs: 5\n", 2, 1, "cannot start any token"},
    {"bracket left open", "model:\n  depths: [3, 4\ntrain:\n  epochs: 5\n", 3, 6,
     "began in line 2"},
    {"quote left open", "data:\n  cells: \"abc\n", 3, 1, "began in line 2"},
    {"colon in a value", "data:\n  cells: a: b\n", 2, 11, "not allowed"},
    {"indentation that jumps", "train:\n  epochs: 5\n batch: 32\n", 3, 2, "began in line 1"},
    {"bytes that are no UTF-8", "data:\n  cells: \xff\xfe\n", 2, 10, "UTF-8"},
    {"cut UTF-8 (its next byte is named)", "data:\n  cells: \"\xc3\"\n", 2, 12, "UTF-8"},
    {"column behind UTF-8", "data: {cells: \"\xc3\xa4\xc3\xb6\", folds: x}\n", 1, 28, "\"x\""},
    {"raw escape character", "data:\n  cells: a\x1b[2J\n", 2, 11, "control"},
    {"column behind a BOM", "\xef\xbb\xbftrain: {epochs: x}\n", 1, 17, "\"x\""},
    {"line ends of Windows", "train:\r\n  epochs: x\r\n", 2, 11, "\"x\""},
};

/* The message starts with name:line:column and mentions what it should; exit code 2. */
static bool is_refusal(const char *what, cf_err err, int line, int column, const char *mentions)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "bad.yaml:%d:%d: ", line, column);
    bool right = err == CF_E_USAGE && strncmp(cf_err_text(), prefix, strlen(prefix)) == 0 &&
                 strstr(cf_err_text() + strlen(prefix), mentions);
    if (!right)
        print_error("%s: got code %d, \"%s\"; expected code %d, \"%s...%s...\"\n", what, err,
                    cf_err_text(), CF_E_USAGE, prefix, mentions);
    return right;
}

static void configuration_refuses_hostile_yaml(void **state)
{
    (void)state;
    static cf_config config, before;
    cf_config_defaults(&before);
    config = before;
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const hostile *h = &cases[i];
        cf_err err = cf_config_parse("bad.yaml", h->text, strlen(h->text), &config);
        if (!is_refusal(h->what, err, h->line, h->column, h->mentions)) wrong++;
        assert_memory_equal(&config, &before, sizeof config);
    }
    assert_int_equal(wrong, 0);
    print_message("%zu hostile texts refused\n", sizeof cases / sizeof cases[0]);
}

static void add_many(cf_buf *text, const char *piece, int n)
{
    for (int i = 0; i < n; i++) cf_buf_add(text, piece, strlen(piece));
}

static void expect_text_refused(const char *what, cf_buf *text, int line, int column,
                                const char *mentions)
{
    cf_yaml *yaml = NULL;
    assert_int_equal(cf_buf_check(text), CF_OK);
    cf_err err = cf_yaml_parse("bad.yaml", cf_buf_text(text), text->len, &yaml);
    assert_true(is_refusal(what, err, line, column, mentions));
    assert_null(yaml);
    cf_buf_fini(text);
}

static void yaml_refuses_depth_and_size(void **state)
{
    (void)state;
    cf_buf text = {0};
    add_many(&text, "[", 500000);
    expect_text_refused("500,000 brackets", &text, 1, 17, "deep");
    add_many(&text, "{a: ", 200000);
    expect_text_refused("200,000 braces", &text, 1, 65, "deep");
    add_many(&text, "- ", 200000);
    expect_text_refused("200,000 dashes", &text, 1, 33, "deep");
    add_many(&text, "? ", 200000);
    expect_text_refused("200,000 question marks", &text, 1, 33, "deep");
    add_many(&text, "x", CF_YAML_MAX_BYTES + 1);
    expect_text_refused("over 1 MiB", &text, 1, 1, "1048577 bytes");
    cf_buf_printf(&text, "[\n");
    add_many(&text, "x,\n", CF_YAML_MAX_NODES);
    cf_buf_printf(&text, "]\n");
    expect_text_refused("too many nodes", &text, CF_YAML_MAX_NODES + 1, 1, "too many values");
    for (int i = 0; i <= CF_YAML_MAX_PAIRS; i++) cf_buf_printf(&text, "k%d: 1\n", i);
    expect_text_refused("too many keys", &text, 1, 1, "4097 keys");
}

static void yaml_takes_nesting_up_to_the_limit(void **state)
{
    (void)state;
    cf_buf text = {0};
    cf_yaml *yaml = NULL;
    add_many(&text, "[", CF_YAML_MAX_DEPTH);
    add_many(&text, "]", CF_YAML_MAX_DEPTH);
    assert_int_equal(cf_yaml_parse("deep.yaml", cf_buf_text(&text), text.len, &yaml), CF_OK);
    cf_yaml_node node = cf_yaml_root(yaml);
    for (int depth = 1; depth < CF_YAML_MAX_DEPTH; depth++) {
        assert_int_equal(cf_yaml_count(node), 1);
        node = cf_yaml_item(node, 0);
    }
    assert_int_equal(cf_yaml_node_kind(node), CF_YAML_LIST);
    assert_int_equal(cf_yaml_count(node), 0);
    cf_yaml_destroy(yaml);
    cf_buf_fini(&text);
}

static void yaml_keeps_order_and_text(void **state)
{
    (void)state;
    static const char text[] = "b: \"1\"\na: [x, 'y z', \"\"]\nc: >-\n  two\n  lines\n";
    cf_yaml *yaml = NULL;
    cf_yaml_node node;
    assert_int_equal(cf_yaml_parse("good.yaml", text, strlen(text), &yaml), CF_OK);
    cf_yaml_node root = cf_yaml_root(yaml);
    assert_int_equal(cf_yaml_count(root), 3);
    assert_string_equal(cf_yaml_text(cf_yaml_key(root, 0)), "b");
    assert_false(cf_yaml_is_unquoted(cf_yaml_value(root, 0)));
    assert_true(cf_yaml_find(root, "a", &node));
    assert_string_equal(cf_yaml_text(cf_yaml_item(node, 1)), "y z");
    assert_string_equal(cf_yaml_text(cf_yaml_item(node, 2)), "");
    assert_true(cf_yaml_find(root, "c", &node));
    assert_string_equal(cf_yaml_text(node), "two lines");
    assert_false(cf_yaml_find(root, "d", &node));
    cf_yaml_destroy(yaml);
}

static void missing_file_is_a_usage_error(void **state)
{
    (void)state;
    cf_yaml *yaml = NULL;
    assert_int_equal(cf_yaml_read("/nonexistent/x.yaml", &yaml, NULL), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "/nonexistent/x.yaml"));
}

/* As the empty scheme of a cells file is: a length of 0 and no bytes at all. */
static void nothing_is_refused_as_no_content(void **state)
{
    (void)state;
    cf_yaml *yaml = NULL;
    assert_int_equal(cf_yaml_parse("x.yaml", NULL, 0, &yaml), CF_E_USAGE);
    assert_null(yaml);
    assert_non_null(strstr(cf_err_text(), "x.yaml:1:1: no content"));
}

static void numbers_are_whole_texts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0",    "-0",   "1",      "-1.5",   ".25",
        "1e-3", "1E+3", "0.1e10", "5e-324", "1.7976931348623157e308"};
    static const char *const bad[] = {"",      " 1",     "1 ",   "1.",    "-",   "+1",
                                      "1e",    "1e+",    "e5",   "0x1",   "NaN", "inf",
                                      "1e309", "1e-330", "00.5", "1.5.2", "--1", "1f"};
    double value = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (!cf_text_number(good[i], &value)) fail_msg("%s was refused", good[i]);
        if (value != strtod(good[i], NULL)) fail_msg("%s was read as %g", good[i], value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (cf_text_number(bad[i], &value)) fail_msg("\"%s\" was read as %g", bad[i], value);
}

static void integers_are_whole_texts(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   "-", "-0", "01", "1.0", "1e3", "9223372036854775808",
                                      " 1", "1L"};
    int64_t value = 0;
    assert_true(cf_text_integer("9223372036854775807", &value));
    assert_true(value == INT64_MAX);
    assert_true(cf_text_integer("-9223372036854775808", &value));
    assert_true(value == INT64_MIN);
    assert_true(cf_text_integer("0", &value));
    assert_true(value == 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (cf_text_integer(bad[i], &value)) fail_msg("\"%s\" was read as a number", bad[i]);
}

static void quoted_text_fits_and_is_harmless(void **state)
{
    (void)state;
    char buf[CF_QUOTE_MAX], text[200] = "";
    assert_string_equal(cf_text_quote("a\nb\x1b", buf), "\"a?b?\"");
    for (size_t n = 40; n < 140; n++) { /* two-byte characters, cut at every place */
        memset(text, 'x', n % 2);
        for (size_t i = n % 2; i + 1 < n; i += 2) memcpy(text + i, "\xc3\xa4", 3);
        const char *quoted = cf_text_quote(text, buf);
        assert_true(strlen(quoted) < CF_QUOTE_MAX);
        const char *dots = strstr(quoted, "...\"");
        if (dots) assert_int_equal((dots - quoted - 1 - (int)(n % 2)) % 2, 0);
    }
}

static void nearest_word_is_named_within_two_errors(void **state)
{
    (void)state;
    static const char *const words[] = {"epochs", "batch", "ema"};
    assert_string_equal(cf_text_nearest("epoch", words, 3), "epochs");
    assert_string_equal(cf_text_nearest("bacth", words, 3), "batch");
    assert_null(cf_text_nearest("temperature", words, 3));
    assert_null(cf_text_nearest("a word much longer than any key could ever be", words, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_refuses_hostile_yaml),
        cmocka_unit_test(yaml_refuses_depth_and_size),
        cmocka_unit_test(yaml_takes_nesting_up_to_the_limit),
        cmocka_unit_test(yaml_keeps_order_and_text),
        cmocka_unit_test(missing_file_is_a_usage_error),
        cmocka_unit_test(nothing_is_refused_as_no_content),
        cmocka_unit_test(numbers_are_whole_texts),
        cmocka_unit_test(integers_are_whole_texts),
        cmocka_unit_test(quoted_text_fits_and_is_harmless),
        cmocka_unit_test(nearest_word_is_named_within_two_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
