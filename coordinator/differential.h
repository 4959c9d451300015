/* The differential count: of each patient (or site), how many cells of each class there are, with
 * intervals; the scheme's questions (blasts); cells without a confident class, and unlike ones.
 * Threads: any. Read first: cf_differential_count. */
#ifndef CF_COORDINATOR_DIFFERENTIAL_H
#define CF_COORDINATOR_DIFFERENTIAL_H

#include <stdint.h>

#include "kernels/base/buf.h"
#include "proto/csv.h"

/* A share of n cells. */
typedef struct cf_share {
    int64_t count;    /* cells whose predicted class counts */
    double share;     /* count / n */
    double low, high; /* 95 % interval of Wilson, as if cells were drawn independently */
    double by_p;      /* mean of the probabilities that count: what it is without a decision */
} cf_share;

/* The 95 % interval of `count` among n >= 1, by the score test (Wilson 1927). */
void cf_wilson(int64_t count, int64_t n, double *low, double *high);

typedef struct cf_differential_group {
    const char *name;    /* borrowed; "" for cells without one */
    int64_t n;           /* cells, at least 1 */
    cf_share *classes;   /* owned, [n_classes] */
    cf_share *questions; /* owned, [n_questions] */
    cf_share no_confident;
    int64_t n_unlike; /* -1: not known */
    int64_t *first;   /* owned, [n_first] rows to look at first: by falling probability of
                         `question` */
    int n_first;
} cf_differential_group;

typedef struct cf_differential {
    const cf_scheme *scheme;       /* borrowed */
    const cf_predictions *p;       /* borrowed */
    int question;                  /* "blast", else the scheme's first; -1: it has none */
    cf_differential_group *groups; /* owned, [n_groups], as in `names`; cells without one last */
    int64_t n_groups;
} cf_differential;

/* group: [p->n], index in names or -1. unlike: [p->n], NULL: not known. n_first: rows to name a
 * group, at most. Groups without a cell are left out. All is borrowed as long as *out is used.
 * Release with fini in any case. */
CF_CHECKED cf_err cf_differential_count(const cf_scheme *s, const cf_predictions *p,
                                        const int32_t *group, const cf_strings *names,
                                        const uint8_t *unlike, int n_first, cf_differential *out);
void cf_differential_fini(cf_differential *d);
/* The probability that the row's cell is what the question asks for; d->question >= 0. */
double cf_differential_score(const cf_differential *d, int64_t row);

/* A short table a group. what: "patient". */
CF_CHECKED cf_err cf_differential_text(const cf_differential *d, const char *what, cf_buf *out);
/* Rows of all groups: GROUP,cells,kind,name,count,share,low,high,by_p; kind is class, question,
 * no_confident or unlike. */
void cf_differential_csv(const cf_differential *d, const char *what, cf_buf *out);
/* An array under `key`: an object a group. */
void cf_differential_json(const cf_differential *d, const char *key, cf_json *j);

#endif
