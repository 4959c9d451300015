/* Answers questions from standard input, a line each, for metrics_sklearn.py: what the library says
 * of them that no command prints by itself.
 *
 *   mcnemar A B            -> p
 *   student T DF           -> p
 *   folds RATIO D1 D2 ...  -> t p low high
 *   roc|pr S1 Y1 S2 Y2 ... -> x y threshold, for each point */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/curves.h"
#include "coordinator/significance.h"

enum { MOST = 4096 };

static int numbers_of(char *text, double *numbers)
{
    int n = 0;
    for (char *end; n < MOST; text = end) {
        numbers[n] = strtod(text, &end);
        if (end == text) return n;
        n++;
    }
    return n;
}

static void print_curve(cf_curve_kind kind, const double *numbers, int n)
{
    double scores[MOST / 2];
    bool positive[MOST / 2];
    cf_curve c;
    for (int i = 0; i < n / 2; i++) {
        scores[i] = numbers[2 * i];
        positive[i] = numbers[2 * i + 1] != 0;
    }
    if (cf_curve_make(kind, scores, positive, n / 2, &c) != CF_OK) return;
    for (int64_t i = 0; i < c.n; i++)
        printf("%.17g %.17g %.17g ", c.points[i].x, c.points[i].y, c.points[i].threshold);
    cf_curve_fini(&c);
}

static void answer(const char *what, const double *x, int n)
{
    if (strcmp(what, "mcnemar") == 0) {
        printf("%.17g", cf_mcnemar_test((int64_t)x[0], (int64_t)x[1]).p);
    } else if (strcmp(what, "student") == 0) {
        printf("%.17g", cf_student_p(x[0], x[1]));
    } else if (strcmp(what, "folds") == 0) {
        cf_fold_test t = cf_fold_test_corrected(x + 1, n - 1, x[0]);
        printf("%.17g %.17g %.17g %.17g", t.t, t.p, t.low, t.high);
    } else {
        print_curve(strcmp(what, "roc") == 0 ? CF_CURVE_ROC : CF_CURVE_PRECISION_RECALL, x, n);
    }
    printf("\n");
}

int main(void)
{
    static char line[1 << 18];
    static double numbers[MOST];
    while (fgets(line, sizeof line, stdin)) {
        char *space = strchr(line, ' ');
        if (!space) return 2;
        *space = '\0';
        answer(line, numbers, numbers_of(space + 1, numbers));
    }
    return 0;
}
