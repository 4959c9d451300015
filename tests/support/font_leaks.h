/* fontconfig, which cairo's text goes through, keeps what it found until the process ends and loses
 * sight of some of it; LeakSanitizer is told so. To be included by tests that draw text. */
#ifndef CF_TESTS_SUPPORT_FONT_LEAKS_H
#define CF_TESTS_SUPPORT_FONT_LEAKS_H

/* Called by LeakSanitizer, if there is one. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfontconfig\n";
}

#endif
