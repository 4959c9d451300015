/* Integers only: a split must be the same on every machine and under every compiler. Sums stay
 * below 2^63: 1,025 rows of products of numbers up to 3 * 2^25. */
#include "coordinator/folds_balance.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/math/philox.h"

/* Every pass lowers an integer cost, so it ends; this many passes are far more than ever seen. */
enum { MAX_PASSES = 1000 };
/* Groups of which all pairs are looked at: 2 million of them a pass. */
enum { MAX_PAIRED = 2000 };
/* Random moves that are tried before a class is given up. */
enum { MAX_KICKS = 1000 };

/* The group's share of one row's images. */
typedef struct entry {
    int32_t row, share;
} entry;

typedef struct balance {
    const cf_groups *groups; /* borrowed */
    int n_parts, n_rows;     /* rows: the classes, then all images */
    int64_t *first;          /* owned, [n + 1]: where a group's entries begin */
    entry *entries;          /* owned, [first[n]] */
    int64_t *excess;         /* owned, [n_rows][n_parts]: share - wanted, d in the header */
    int32_t *order;          /* owned, [n]: groups in the order of a pass */
    uint8_t *part_of;        /* borrowed, [n] */
} balance;

/* ---- setting up -------------------------------------------------------------------------------
 */

/* At least one: a group without weight would not be seen. */
static int32_t share_of(int64_t images, int64_t of)
{
    int64_t share = images * CF_SHARE_ONE / of;
    return share > 0 ? (int32_t)share : 1;
}

static void fill_entries(balance *b, const int64_t *images)
{
    const cf_groups *g = b->groups;
    int64_t n = 0;
    for (int32_t k = 0; k < g->n; k++) {
        int64_t total = 0;
        b->first[k] = n;
        for (int64_t e = g->first[k]; e < g->first[k + 1]; e++) {
            int32_t c = g->counts[e].class_index;
            total += g->counts[e].images;
            b->entries[n++] = (entry){c, share_of(g->counts[e].images, images[c])};
        }
        b->entries[n++] = (entry){b->n_rows - 1, share_of(total, images[b->n_rows - 1])};
    }
    b->first[g->n] = n;
}

static void balance_fini(balance *b)
{
    free(b->first);
    free(b->entries);
    free(b->excess);
    free(b->order);
}

static cf_err balance_init(balance *b, const cf_cells *cells, const int64_t *shares)
{
    const cf_groups *g = b->groups;
    int64_t *images = NULL; /* of each row */
    size_t n = (size_t)g->n, n_rows = (size_t)b->n_rows, n_parts = (size_t)b->n_parts;
    CF_TRY(cf_new(&b->first, n + 1, sizeof *b->first));
    CF_TRY(cf_new(&b->entries, (size_t)g->first[g->n] + n, sizeof *b->entries));
    CF_TRY(cf_new(&b->excess, n_rows * n_parts, sizeof *b->excess));
    CF_TRY(cf_new(&b->order, n, sizeof *b->order));
    CF_TRY(cf_new(&images, n_rows, sizeof *images));
    cf_cells_count(cells, images);
    images[n_rows - 1] = cells->n;
    fill_entries(b, images);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t p = 0; p < n_parts; p++)
            b->excess[r * n_parts + p] = images[r] > 0 ? -shares[p] : 0;
    free(images);
    return CF_OK;
}

/* ---- orders -----------------------------------------------------------------------------------
 */

typedef struct ranked {
    int64_t uneven; /* n_rows times the sum of squares, less the square of the sum */
    uint64_t key;
    const char *name;
    int32_t group;
} ranked;

/* The seeded order. Equal keys are a matter of chance in 2^64; names tell them apart still. */
static int by_key(const void *a, const void *b)
{
    const ranked *p = a, *q = b;
    if (p->key != q->key) return p->key < q->key ? -1 : 1;
    return strcmp(p->name, q->name);
}

static int by_unevenness(const void *a, const void *b)
{
    const ranked *p = a, *q = b;
    if (p->uneven != q->uneven) return p->uneven > q->uneven ? -1 : 1;
    return by_key(a, b);
}

static int64_t unevenness(const cf_groups *g, int32_t k, int64_t n_classes)
{
    int64_t sum = 0, squares = 0;
    for (int64_t e = g->first[k]; e < g->first[k + 1]; e++) {
        int64_t images = g->counts[e].images;
        sum += images;
        squares += images * images;
    }
    return n_classes * squares - sum * sum;
}

static cf_err sort_groups(balance *b, int (*compare)(const void *, const void *))
{
    const cf_groups *g = b->groups;
    ranked *list = NULL;
    CF_TRY(cf_new(&list, (size_t)g->n, sizeof *list));
    for (int32_t k = 0; k < g->n; k++)
        list[k] = (ranked){unevenness(g, k, b->n_rows - 1), g->keys[k], g->names[k], k};
    qsort(list, (size_t)g->n, sizeof *list, compare);
    for (int32_t k = 0; k < g->n; k++) b->order[k] = list[k].group;
    free(list);
    return CF_OK;
}

/* ---- cost -------------------------------------------------------------------------------------
 */

/* What the cost grows by, when group k comes to part p: sum of s (s + 2 d). */
static int64_t cost_of_adding(const balance *b, int32_t k, int p)
{
    int64_t cost = 0;
    for (int64_t e = b->first[k]; e < b->first[k + 1]; e++) {
        int64_t share = b->entries[e].share;
        cost += share * (share + 2 * b->excess[b->entries[e].row * b->n_parts + p]);
    }
    return cost;
}

/* Half of what the cost grows by when group k goes from part f to part h. */
static int64_t cost_of_moving(const balance *b, int32_t k, int f, int h)
{
    int64_t cost = 0;
    for (int64_t e = b->first[k]; e < b->first[k + 1]; e++) {
        int64_t share = b->entries[e].share;
        const int64_t *excess = b->excess + (int64_t)b->entries[e].row * b->n_parts;
        cost += share * (share + excess[h] - excess[f]);
    }
    return cost;
}

static void put(balance *b, int32_t k, int p, int sign)
{
    for (int64_t e = b->first[k]; e < b->first[k + 1]; e++)
        b->excess[b->entries[e].row * b->n_parts + p] += sign * b->entries[e].share;
    b->part_of[k] = (uint8_t)p;
}

static void move(balance *b, int32_t k, int h)
{
    put(b, k, b->part_of[k], -1);
    put(b, k, h, 1);
}

/* ---- the three steps --------------------------------------------------------------------------
 */

static void deal_greedily(balance *b)
{
    for (int32_t i = 0; i < b->groups->n; i++) {
        int32_t k = b->order[i];
        int best = 0;
        int64_t lowest = cost_of_adding(b, k, 0);
        for (int p = 1; p < b->n_parts; p++) {
            int64_t cost = cost_of_adding(b, k, p);
            if (cost < lowest) {
                lowest = cost;
                best = p;
            }
        }
        put(b, k, best, 1);
    }
}

/* present [n_classes][n_parts]: groups of each class in each part. Counts group k in part p, or
 * (sign -1) no more. */
static void count_presence(const balance *b, int32_t k, int p, int sign, int32_t *present)
{
    const cf_groups *g = b->groups;
    for (int64_t e = g->first[k]; e < g->first[k + 1]; e++)
        present[g->counts[e].class_index * b->n_parts + p] += sign;
}

/* Classes that stand in one part alone; *which is the one behind `skip` others. */
static int count_lone(const balance *b, const int32_t *present, int skip, int *which)
{
    int n_lone = 0;
    for (int c = 0; c < b->n_rows - 1; c++) {
        int n = 0;
        for (int p = 0; p < b->n_parts; p++) n += present[c * b->n_parts + p] > 0;
        if (n != 1) continue;
        if (n_lone++ == skip) *which = c;
    }
    return n_lone;
}

static bool has_class(const cf_groups *g, int32_t k, int c)
{
    for (int64_t e = g->first[k]; e < g->first[k + 1]; e++)
        if (g->counts[e].class_index == c) return true;
    return false;
}

static void count_move(const balance *b, int32_t k, int h, int32_t *present)
{
    count_presence(b, k, b->part_of[k], -1, present);
    count_presence(b, k, h, 1, present);
}

/* Classes in one part alone, were group k in part h. */
static int lone_after(const balance *b, int32_t k, int h, int32_t *present)
{
    int which;
    count_move(b, k, h, present);
    int n_lone = count_lone(b, present, 0, &which);
    count_presence(b, k, h, -1, present);
    count_presence(b, k, b->part_of[k], 1, present);
    return n_lone;
}

/* One pass; false when nothing moved. present: NULL where classes need not be looked after, else no
 * move leaves one in one part alone. */
static bool improve(balance *b, int32_t *present)
{
    bool moved = false;
    for (int32_t i = 0; i < b->groups->n; i++) {
        int32_t k = b->order[i];
        int best = -1;
        int64_t lowest = 0;
        for (int h = 0; h < b->n_parts; h++) {
            int64_t cost = h == b->part_of[k] ? 0 : cost_of_moving(b, k, b->part_of[k], h);
            if (cost >= lowest || (present && lone_after(b, k, h, present) > 0)) continue;
            lowest = cost;
            best = h;
        }
        if (best < 0) continue;
        if (present) count_move(b, k, best, present);
        move(b, k, best);
        moved = true;
    }
    return moved;
}

/* Sum of products of two groups' shares. */
static int64_t overlap(const balance *b, int32_t k, int32_t l)
{
    int64_t sum = 0, d = b->first[k], e = b->first[l];
    while (d < b->first[k + 1] && e < b->first[l + 1]) {
        const entry *p = &b->entries[d], *q = &b->entries[e];
        if (p->row == q->row) sum += (int64_t)p->share * q->share;
        d += p->row <= q->row;
        e += q->row <= p->row;
    }
    return sum;
}

/* One pass over all pairs of groups; false when none changed places. */
static bool improve_pairs(balance *b)
{
    bool moved = false;
    for (int32_t i = 0; i < b->groups->n; i++)
        for (int32_t j = i + 1; j < b->groups->n; j++) {
            int32_t k = b->order[i], l = b->order[j];
            int f = b->part_of[k], h = b->part_of[l];
            if (f == h) continue;
            int64_t apart = cost_of_moving(b, k, f, h) + cost_of_moving(b, l, h, f);
            if (apart >= 2 * overlap(b, k, l)) continue;
            move(b, k, h);
            move(b, l, f);
            moved = true;
        }
    return moved;
}

/* Until neither a move nor, with few enough groups, an exchange lowers the cost. */
static void improve_all(balance *b)
{
    int pass = 0;
    do {
        while (pass++ < MAX_PASSES && improve(b, NULL)) continue;
    } while (b->groups->n <= MAX_PAIRED && pass < MAX_PASSES && improve_pairs(b));
}

/* Moves the cheapest group of class c that leaves fewer classes than n_lone in one part alone.
 * False when there is none. */
static bool free_class(balance *b, int c, int n_lone, int32_t *present)
{
    int32_t best = -1;
    int best_part = 0;
    int64_t lowest = INT64_MAX;
    for (int32_t i = 0; i < b->groups->n; i++) {
        int32_t k = b->order[i];
        if (!has_class(b->groups, k, c)) continue;
        for (int h = 0; h < b->n_parts; h++) {
            int64_t cost = cost_of_moving(b, k, b->part_of[k], h);
            if (cost >= lowest || lone_after(b, k, h, present) >= n_lone) continue;
            lowest = cost;
            best = k;
            best_part = h;
        }
    }
    if (best < 0) return false;
    count_move(b, best, best_part, present);
    move(b, best, best_part);
    return true;
}

/* A random group of class c to a random other part: out of the blind alley that free_class is in.
 */
static void kick_class(balance *b, int c, cf_rng *rng, int32_t *present)
{
    uint32_t n = 0;
    for (int p = 0; p < b->n_parts; p++) n += (uint32_t)present[c * b->n_parts + p];
    uint32_t chosen = cf_rng_below(rng, n);
    for (int32_t i = 0; i < b->groups->n; i++) {
        int32_t k = b->order[i];
        if (!has_class(b->groups, k, c) || chosen-- > 0) continue;
        int h = (int)cf_rng_below(rng, (uint32_t)b->n_parts - 1);
        h += h >= b->part_of[k];
        count_move(b, k, h, present);
        move(b, k, h);
        return;
    }
}

static cf_err free_classes(balance *b, const cf_cells *cells)
{
    int32_t *present = NULL;
    int c = 0;
    CF_TRY(cf_new(&present, (size_t)(b->n_rows - 1) * (size_t)b->n_parts, sizeof *present));
    for (int32_t k = 0; k < b->groups->n; k++) count_presence(b, k, b->part_of[k], 1, present);
    int n_lone = count_lone(b, present, 0, &c);
    bool freed = n_lone > 0;
    cf_rng rng = cf_rng_at(b->groups->keys[b->order[0]], 0, 0, 0, CF_PURPOSE_SPLIT);
    /* Once stuck, every other step is random: the cheapest moves alone can lead round in a ring. */
    for (int kicks = 0; n_lone > 0 && kicks < MAX_KICKS;) {
        bool random = kicks > 0 && cf_rng_below(&rng, 2) == 0;
        if (random || !free_class(b, c, n_lone, present)) {
            kick_class(b, c, &rng, present);
            kicks++;
        }
        n_lone = count_lone(b, present, 0, &c);
        if (n_lone > 1) count_lone(b, present, (int)cf_rng_below(&rng, (uint32_t)n_lone), &c);
    }
    for (int pass = 0; freed && n_lone == 0 && pass < MAX_PASSES; pass++)
        if (!improve(b, present)) break;
    free(present);
    if (n_lone == 0) return CF_OK;
    return cf_fail(
        CF_E_DATA,
        "class %s would be tested in one part only, and training without that part would "
        "never see it: no other way to deal out the %s that have it was found in %d tries",
        cells->scheme.classes[c].code, b->groups->by == CF_GROUP_PATIENT ? "patients" : "sites",
        MAX_KICKS);
}

cf_err cf_folds_balance(const cf_groups *groups, const cf_cells *cells, int n_parts,
                        const int64_t *shares, uint8_t *part_of)
{
    if (cells->n > CF_SHARE_ONE)
        return cf_fail(CF_E_DATA, "%lld images; splits by groups take at most %lld",
                       (long long)cells->n, (long long)CF_SHARE_ONE);
    balance b = {.groups = groups,
                 .n_parts = n_parts,
                 .n_rows = cells->scheme.n_classes + 1,
                 .part_of = part_of};
    cf_err err = CF_OK;
    CF_TRY_GOTO(balance_init(&b, cells, shares), out);
    CF_TRY_GOTO(sort_groups(&b, by_unevenness), out);
    deal_greedily(&b);
    CF_TRY_GOTO(sort_groups(&b, by_key), out);
    improve_all(&b);
    err = free_classes(&b, cells);
out:
    balance_fini(&b);
    return err;
}
