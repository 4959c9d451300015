/* Faults in the numbers of one rank, for the counted tests (faults.py): linked into a copy of the
 * program with -Wl,--wrap, so that the program itself has no hook. What happens stands in
 *   CYTOFOLD_INJECT="WHAT RANK FOLD STEP PLACE VALUE"
 * RANK as MPI counts, STEP 0-based, once in a process; "injected: ..." on stderr when it is done:
 *   gradient  value PLACE of the first micro-batch's gradient is VALUE (nan, inf, 1e30)
 *   image     value PLACE of the first micro-batch's pixels is VALUE
 *   stuck     the first micro-batch never comes
 *   weights | state | moment1 | moment2 | ema
 *             bit VALUE of element PLACE is flipped after the step's update */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cpu/sums.h"
#include "worker/data/loader.h"
#include "worker/trainer.h"

bool __real_cf_sums_add(void *sums, cf_reduce reduce, int bits, int64_t offset, int64_t n,
                        const float *values);
bool __wrap_cf_sums_add(void *sums, cf_reduce reduce, int bits, int64_t offset, int64_t n,
                        const float *values);
cf_err __real_cf_loader_next(cf_loader *l, cf_prepared *batch, int64_t *wait_ns);
cf_err __wrap_cf_loader_next(cf_loader *l, cf_prepared *batch, int64_t *wait_ns);
cf_err __real_cf_trainer_use_for_training(cf_trainer *t);
cf_err __wrap_cf_trainer_use_for_training(cf_trainer *t);
cf_err __real_cf_trainer_use_for_testing(cf_trainer *t);
cf_err __wrap_cf_trainer_use_for_testing(cf_trainer *t);
cf_err __real_cf_trainer_update(cf_trainer *t, const void *sums);
cf_err __wrap_cf_trainer_update(cf_trainer *t, const void *sums);

typedef struct injection {
    char what[16], value[16];
    int rank, fold;
    int64_t step, place;
    bool armed; /* asked for, of this rank, not done yet */
    bool now;   /* the step that computes is the one */
} injection;

/* A wrapped function has no argument to carry its state in. Main thread only. */
static injection it;

__attribute__((constructor)) static void read_environment(void)
{
    long long step = 0, place = 0;
    const char *text = getenv("CYTOFOLD_INJECT"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (text == NULL || sscanf(text, "%15s %d %d %lld %lld %15s", it.what, &it.rank, &it.fold,
                               &step, &place, it.value) != 6)
        return;
    it.step = step;
    it.place = place;
    it.armed = it.rank == (rank != NULL ? atoi(rank) : 0);
}

static bool asked(const char *what)
{
    return it.armed && it.now && strcmp(it.what, what) == 0;
}

static void done(void)
{
    it.armed = false;
    fprintf(stderr, "injected: %s\n", getenv("CYTOFOLD_INJECT"));
}

/* ---- where the worker is ----------------------------------------------------------------------
 */

cf_err __wrap_cf_trainer_use_for_training(cf_trainer *t)
{
    it.now = t->fold == it.fold && t->step == it.step;
    return __real_cf_trainer_use_for_training(t);
}

cf_err __wrap_cf_trainer_use_for_testing(cf_trainer *t)
{
    it.now = false;
    return __real_cf_trainer_use_for_testing(t);
}

/* ---- values -----------------------------------------------------------------------------------
 */

bool __wrap_cf_sums_add(void *sums, cf_reduce reduce, int bits, int64_t offset, int64_t n,
                        const float *values)
{
    if (!asked("gradient") || it.place < offset || it.place >= offset + n)
        return __real_cf_sums_add(sums, reduce, bits, offset, n, values);
    float *value = (float *)(uintptr_t)&values[it.place - offset], kept = *value;
    *value = strtof(it.value, NULL);
    done();
    bool good = __real_cf_sums_add(sums, reduce, bits, offset, n, values);
    *value = kept;
    return good;
}

cf_err __wrap_cf_loader_next(cf_loader *l, cf_prepared *batch, int64_t *wait_ns)
{
    if (asked("stuck")) {
        done();
        for (;;) pause();
    }
    CF_TRY(__real_cf_loader_next(l, batch, wait_ns));
    if (!asked("image")) return CF_OK;
    ((float *)(uintptr_t)batch->images)[it.place] = strtof(it.value, NULL);
    done();
    return CF_OK;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static float *buffer_named(cf_trainer *t, const char *name)
{
    return strcmp(name, "weights") == 0   ? t->weights
           : strcmp(name, "state") == 0   ? t->state
           : strcmp(name, "moment1") == 0 ? t->moment1
           : strcmp(name, "moment2") == 0 ? t->moment2
           : strcmp(name, "ema") == 0     ? t->ema
                                          : NULL;
}

cf_err __wrap_cf_trainer_update(cf_trainer *t, const void *sums)
{
    bool mine = it.armed && t->fold == it.fold && t->step == it.step;
    CF_TRY(__real_cf_trainer_update(t, sums));
    float *buffer = mine ? buffer_named(t, it.what) : NULL;
    if (buffer == NULL) return CF_OK;
    uint32_t bits = 0;
    memcpy(&bits, &buffer[it.place], sizeof bits);
    bits ^= (uint32_t)1 << atoi(it.value);
    memcpy(&buffer[it.place], &bits, sizeof bits);
    done();
    return CF_OK;
}
