#include "worker/replicas.h"

#include <stdlib.h>

#include "kernels/base/mem.h"

cf_err cf_replicas_digest(cf_worker *w, const cf_trainer *t, cf_replicas_when when,
                          cf_digest_pair *mine)
{
    int64_t every = w->config.run_replica_check;
    *mine = (cf_digest_pair){0};
    if (w->group->size == 1 || every == 0) return CF_OK;
    if (when == CF_REPLICAS_ROUTINE && t->step % every != 0) return CF_OK;
    uint64_t digest = 0;
    CF_TRY(cf_trainer_digest(t, &digest));
    mine->h = (int64_t)digest;
    mine->not_h = (int64_t)~digest;
    return CF_OK;
}

/* The value that most ranks have; *n_equal: how many. The first of two that are as many. */
static int64_t most_common(const int64_t *all, int n, int *n_equal)
{
    int64_t best = 0;
    *n_equal = 0;
    for (int i = 0; i < n; i++) {
        int same = 0;
        for (int k = 0; k < n; k++) same += all[k] == all[i];
        if (same <= *n_equal) continue;
        *n_equal = same;
        best = all[i];
    }
    return best;
}

/* The seats of this group's ranks that differ, as many as returned; all of them where no side is
 * the larger. */
static int name_ranks(const cf_worker *w, const int64_t *all, cf_buf *out)
{
    int n = w->group->size, n_equal = 0, member = 0, n_named = 0;
    int64_t common = most_common(all, n, &n_equal);
    int group = w->plan.group_of_worker[w->all->rank];
    for (int i = 0; i < w->all->size; i++) {
        if (w->plan.group_of_worker[i] != group) continue;
        bool named = 2 * n_equal <= n || all[member] != common;
        if (named && out->len < 600)
            cf_buf_printf(out, "%srank %d on %s", out->len > 0 ? ", " : "", w->seats[i].rank,
                          w->seats[i].host);
        n_named += named;
        member++;
    }
    return n_named;
}

static cf_err name_differing(cf_worker *w, const cf_trainer *t, int64_t mine)
{
    int64_t *all = NULL;
    cf_buf ranks = {0};
    CF_TRY(cf_new(&all, (size_t)w->group->size, sizeof *all));
    cf_err err = cf_vote_gather(w->vote, mine, all);
    if (err == CF_OK) {
        int n = name_ranks(w, all, &ranks);
        err = cf_fail(CF_E_NUMERIC,
                      "fold %d, step %lld: weights or moments are not the same bits on all %d "
                      "ranks: %s %s; memory or network are at fault. The last checkpoint is "
                      "from before",
                      t->fold, (long long)t->step, w->group->size, cf_buf_text(&ranks),
                      n == 1                ? "differs from the others"
                      : n == w->group->size ? "differ from each other"
                                            : "differ from the others");
        w->echo = w->group->rank != 0; /* all say the same: one is enough */
    }
    cf_buf_fini(&ranks);
    free(all);
    return err;
}

cf_err cf_replicas_compare(cf_worker *w, const cf_trainer *t, cf_digest_pair mine,
                           cf_digest_pair highest)
{
    bool compared = mine.h != 0 || mine.not_h != 0;
    if (!compared || highest.h == ~highest.not_h) return CF_OK;
    return name_differing(w, t, mine.h);
}

cf_err cf_replicas_check(cf_worker *w, const cf_trainer *t)
{
    cf_digest_pair mine;
    int64_t votes[CF_VOTE_VALUES] = {0};
    CF_TRY(cf_replicas_digest(w, t, CF_REPLICAS_NOW, &mine));
    if (mine.h == 0 && mine.not_h == 0) return CF_OK;
    votes[0] = mine.h;
    votes[1] = mine.not_h;
    CF_TRY(cf_vote_start(w->vote, CF_VOTE_SLOTS - 1, votes));
    CF_TRY(cf_vote_finish(w->vote, CF_VOTE_SLOTS - 1, votes));
    return cf_replicas_compare(w, t, mine, (cf_digest_pair){votes[0], votes[1]});
}
