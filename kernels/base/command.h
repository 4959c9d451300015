/* Another program's answer: starts it without a shell, reads what it prints, waits for its end, all
 * with a deadline. No fork of this process's memory (posix_spawn), so that it is safe beside MPI.
 * Threads: any. Read first: cf_command_run. */
#ifndef CF_KERNELS_BASE_COMMAND_H
#define CF_KERNELS_BASE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

typedef enum cf_command_errors {
    CF_COMMAND_ERRORS_SHOWN, /* its stderr is ours */
    CF_COMMAND_ERRORS_READ,  /* among the answer */
    CF_COMMAND_ERRORS_DROPPED
} cf_command_errors;

typedef struct cf_command {
    const char *const *words; /* NULL-terminated; words[0] is looked for on the PATH */
    cf_command_errors errors;
    int64_t patience_ns;            /* it is killed then; 0: waits for ever */
    bool (*give_up)(void *context); /* asked ten times a second; NULL: never */
    void *context;
} cf_command;

/* text [room] receives the answer, cut to fit, with a NUL behind it; *code the exit code, 128 + n
 * for signal n, -1 when it was killed for want of an answer. It has no stdin and no signal blocked.
 * CF_E_UNEXPECTED, with errno's words, where it cannot be started. */
CF_CHECKED cf_err cf_command_run(const cf_command *command, char *text, size_t room, int *code);

#endif
