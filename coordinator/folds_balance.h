/* Stratified splits of whole groups: which part of a split each group goes to, so that every class
 * is spread as evenly as its groups allow. Threads: any. Read first: cf_folds_balance. */
#ifndef CF_COORDINATOR_FOLDS_BALANCE_H
#define CF_COORDINATOR_FOLDS_BALANCE_H

#include "coordinator/folds_groups.h"

/* A share of all images (or of a class's) as an integer: the same sums on every machine. */
#define CF_SHARE_ONE ((int64_t)1 << 25)

/* part_of: [groups->n], receives 0..n_parts-1. shares: [n_parts], what part p is to hold of every
 * class, in sum CF_SHARE_ONE.
 *
 * With s(r, p) the share of row r's images that lie in part p, where the rows are the classes and
 * all images together, the cost is the sum of (s(r, p) - shares[p])^2 over rows and parts.
 * 1. Greedy, after scikit-learn's StratifiedGroupKFold: groups with the most uneven class counts
 *    (largest variance over classes) first, ties in the seeded order of groups->keys, each to the
 *    part where the cost grows least (the first of equals).
 * 2. In seeded order groups are moved where that lowers the cost, and (with at most 2,000 groups)
 *    any two change places where that does, until no move of one group would. Hence the bound: with
 *    s_g(r) the share of group g and d(r, p) = s(r, p) - shares[p], for all g in f and all h,
 *        sum_r s_g(r) (d(r, f) - d(r, h)) <= sum_r s_g(r)^2.
 *    For equal parts it follows that the squared distance between the shares of two parts is at
 *    most the sum of the squared shares of their groups.
 * 3. A class that ended in one part alone, which training without that part would never see, gets
 *    its cheapest group moved out (after random moves, where none helps by itself), and step 2 goes
 *    on without moves that would undo it, which the bound then leaves out.
 * A function of the groups' names, their class counts, shares and seed: not of the order of images.
 * The seed has a say in ties and in step 2, so it may change nothing where groups are few. Memory:
 * about 20 bytes a group and class in it, 12 more an image for the groups themselves.
 * CF_E_DATA naming a class that 1,000 random moves did not bring into two parts, and for more than
 * 2^25 images. */
CF_CHECKED cf_err cf_folds_balance(const cf_groups *groups, const cf_cells *cells, int n_parts,
                                   const int64_t *shares, uint8_t *part_of);

#endif
