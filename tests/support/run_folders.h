/* Run folders made for tests of reports, and what is asserted of their texts. Included by one test
 * program each. */
#ifndef CF_TESTS_SUPPORT_RUN_FOLDERS_H
#define CF_TESTS_SUPPORT_RUN_FOLDERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "proto/csv.h"

static char folder[] = "/tmp/cytofold-test-report-XXXXXX";

static void parse_scheme(const char *text, cf_scheme *s)
{
    cf_err err = cf_scheme_parse("test", text, strlen(text), s);
    if (err != CF_OK) print_message("%s\n", cf_err_text());
    assert_int_equal(err, CF_OK);
}

static void set_row(cf_predictions *p, int64_t i, int fold, int label, int predicted)
{
    char id[32];
    snprintf(id, sizeof id, "cell-%d-%lld", fold, (long long)i);
    assert_int_equal(cf_strdup(id, &p->ids[i]), CF_OK);
    p->folds[i] = fold;
    p->labels[i] = label;
    p->predicted[i] = predicted;
    for (int k = 0; k < p->n_classes; k++)
        p->p[i * p->n_classes + k] = k == predicted ? 0.75 : 0.25 / (p->n_classes - 1);
}

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) print_message("missing '%s' in:\n%s\n", part, text);
    assert_non_null(strstr(text, part));
}

static void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part) != NULL) print_message("found '%s' in:\n%s\n", part, text);
    assert_null(strstr(text, part));
}

static void in_folder(char path[CF_PATH_MAX], const char *run, const char *name)
{
    int n = snprintf(path, CF_PATH_MAX, "%s/%s%s%s", folder, run, name[0] ? "/" : "", name);
    assert_in_range(n, 1, CF_PATH_MAX - 1);
}

/* A run folder with predictions of `fold`, whose rows say `says`. */
static void make_fold(const cf_scheme *s, const char *run, int fold, int says)
{
    char path[CF_PATH_MAX], name[64];
    cf_predictions p;
    snprintf(name, sizeof name, "fold-%d", fold);
    in_folder(path, run, name);
    assert_int_equal(cf_dir_make(path), CF_OK);
    assert_int_equal(cf_predictions_init(&p, 4, s->n_classes), CF_OK);
    for (int i = 0; i < 4; i++) set_row(&p, i, says, i / 2, i / 2);
    snprintf(name, sizeof name, "fold-%d/predictions.csv", fold);
    in_folder(path, run, name);
    for (int i = 0; i < 4; i++) assert_int_equal(cf_strdup("", &p.sites[i]), CF_OK);
    assert_int_equal(cf_predictions_write(path, s, &p), CF_OK);
    cf_predictions_fini(&p);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

#endif
