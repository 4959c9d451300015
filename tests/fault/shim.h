/* Makes the n-th file operation of a process fail. Linked into a test before libc, or preloaded
 * into any program with CYTOFOLD_FAULT="n,errno,mode" in its environment ("7,28,always");
 * CYTOFOLD_FAULT_UNDER names a folder to which that is limited, CYTOFOLD_FAULT_TALLY a file of 16
 * bytes that counts the operations of all processes, and the faults met. Threads: the count is of
 * all threads. Read first: cf_fault_arm. */
#ifndef CF_TESTS_FAULT_SHIM_H
#define CF_TESTS_FAULT_SHIM_H

typedef enum cf_fault_mode {
    CF_FAULT_ONCE,     /* the n-th operation alone fails */
    CF_FAULT_ALWAYS,   /* the n-th and all after it fail: a disk that stays full */
    CF_FAULT_SHORT,    /* the n-th operation, if a write, writes half of its bytes and says so */
    CF_FAULT_INTERRUPT /* the n-th operation, if a write or sync, is interrupted once (EINTR) */
} cf_fault_mode;

/* Counts open (of any kind), write, pwrite, fsync, fdatasync, rename, link, mkdir and close
 * from 1;
 * standard streams are left alone. */
void cf_fault_arm(long n, int error, cf_fault_mode mode);
/* Back to normal. Returns whether the fault was met. */
int cf_fault_disarm(void);

#endif
