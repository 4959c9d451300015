/* The launcher of each MPI family: found by the library's version, with the words that it knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/launcher.h"

static bool has_option(const cf_launcher_family *f, const char *word)
{
    for (int i = 0; f->options[i] != NULL; i++)
        if (strcmp(f->options[i], word) == 0) return true;
    return false;
}

/* Texts of MPI_Get_library_version of releases that the jobs were run with, and of two descendants
 * of MPICH as their manuals print them. */
static void launcher_family_is_known_by_the_library_version(void **state)
{
    (void)state;
    static const struct {
        const char *version, *name, *program;
    } cases[] = {
        {"Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4", "Open MPI", "mpirun"},
        {"Open MPI v5.0.11, package: Open MPI user@localhost", "Open MPI 5", "mpirun"},
        {"MPICH Version:      4.3.2\nMPICH Release date: ", "MPICH", "mpiexec.hydra"},
        {"Intel(R) MPI Library 2021.16 for Linux* OS\n", "this MPI", "mpiexec"},
        {"", "this MPI", "mpiexec"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const cf_launcher_family *f = cf_launcher_family_of(cases[i].version);
        assert_string_equal(f->name, cases[i].name);
        assert_string_equal(f->program, cases[i].program);
    }
}

/* Open MPI 5 refuses --quiet, MPICH refuses --oversubscribe: nothing would start. */
static void launcher_options_are_those_that_the_family_knows(void **state)
{
    (void)state;
    const cf_launcher_family *four = cf_launcher_family_of("Open MPI v4.1.4"),
                             *five = cf_launcher_family_of("Open MPI v5.0.11"),
                             *mpich = cf_launcher_family_of("MPICH Version: 4.3.2"),
                             *other = cf_launcher_family_of("Some MPI");
    assert_true(has_option(four, "--quiet") && has_option(four, "--oversubscribe"));
    assert_false(has_option(five, "--quiet"));
    assert_true(has_option(five, ":OVERSUBSCRIBE"));
    assert_false(has_option(mpich, "--oversubscribe") || has_option(mpich, ":OVERSUBSCRIBE"));
    assert_null(other->options[0]);
}

static void launcher_of_this_library_can_be_run(void **state)
{
    (void)state;
    cf_launcher launcher;
    assert_int_equal(unsetenv("CYTOFOLD_MPIRUN"), 0);
    assert_int_equal(cf_launcher_find(&launcher), CF_OK);
    assert_string_not_equal(launcher.family->name, "this MPI");
    if (strchr(launcher.program, '/') != NULL)
        assert_int_equal(access(launcher.program, X_OK), 0);
    else
        assert_string_equal(launcher.program, launcher.family->program);
}

static void launcher_of_the_environment_comes_first(void **state)
{
    (void)state;
    cf_launcher launcher;
    assert_int_equal(setenv("CYTOFOLD_MPIRUN", "/bin/sh", 1), 0);
    assert_int_equal(cf_launcher_find(&launcher), CF_OK);
    assert_string_equal(launcher.program, "/bin/sh");
    assert_int_equal(setenv("CYTOFOLD_MPIRUN", "my-launcher", 1), 0);
    assert_int_equal(cf_launcher_find(&launcher), CF_OK);
    assert_string_equal(launcher.program, "my-launcher");
    assert_int_equal(setenv("CYTOFOLD_MPIRUN", "/no/such/mpirun", 1), 0);
    assert_int_equal(cf_launcher_find(&launcher), CF_E_USAGE);
    assert_non_null(strstr(cf_err_text(), "/no/such/mpirun"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(launcher_family_is_known_by_the_library_version),
        cmocka_unit_test(launcher_options_are_those_that_the_family_knows),
        cmocka_unit_test(launcher_of_this_library_can_be_run),
        cmocka_unit_test(launcher_of_the_environment_comes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
