/* Errors: a code that is also the process's exit code, and one message for each thread.
 *
 * The message is set where the fault is found (what, which object, found against expected); callers
 * add where it happened with cf_where(), never a second text. Threads: the message belongs to the
 * calling thread; cf_err_text() and cf_fail(code, "%s", text) carry it across.
 * Read first: CF_TRY below. */
#ifndef CF_KERNELS_BASE_ERR_H
#define CF_KERNELS_BASE_ERR_H

#define CF_CHECKED            __attribute__((warn_unused_result))
#define CF_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

/* Exit codes of every command; scripts depend on the numbers. */
typedef enum cf_err {
    CF_OK = 0,
    CF_E_UNEXPECTED = 1, /* a fault of ours: assertion, out of memory */
    CF_E_USAGE = 2,      /* command line or configuration */
    CF_E_DATA = 3,       /* images, cells files, CSV files */
    CF_E_CHECKPOINT = 4, /* damaged, foreign or missing checkpoint */
    CF_E_DISK = 5,       /* full, not writable, I/O error */
    CF_E_DEVICE = 6,     /* device, backend or communication */
    CF_E_NUMERIC = 7,    /* NaN, infinity, overflow, divergence */
    CF_E_HANG = 8,       /* a rank stopped answering */
    CF_E_BUSY = 9,       /* run folder in use */
    CF_E_REQUEUE = 85    /* checkpointed, please requeue */
} cf_err;

/* Sets this thread's message and returns `code`. The message has no trailing newline or full stop.
 */
CF_CHECKED CF_PRINTF(2, 3) cf_err cf_fail(cf_err code, const char *fmt, ...);

/* As cf_fail, with ": " and strerror(errno) appended; errno is read on entry. */
CF_CHECKED CF_PRINTF(2, 3) cf_err cf_fail_errno(cf_err code, const char *fmt, ...);

/* Puts "<where>: " before this thread's message and returns `err` unchanged. */
CF_CHECKED CF_PRINTF(2, 3) cf_err cf_where(cf_err err, const char *fmt, ...);

/* This thread's last message; "" when there is none. Borrowed, valid until the next failure here.
 */
const char *cf_err_text(void);

/* One word for a code ("data", "disk"), for JSON and logs. */
const char *cf_err_name(cf_err err);

/* Returns the error of `expr` from the calling function. Only where no resource is held. */
#define CF_TRY(expr)                                                                               \
    do {                                                                                           \
        cf_err cf_try_ = (expr);                                                                   \
        if (cf_try_ != CF_OK) return cf_try_;                                                      \
    } while (0)

/* Stores the error of `expr` in the local `err` and jumps to `label`, where resources are released
 * in reverse order. */
#define CF_TRY_GOTO(expr, label)                                                                   \
    do {                                                                                           \
        err = (expr);                                                                              \
        if (err != CF_OK) goto label;                                                              \
    } while (0)

#endif
