/* Numbers as papers print them. Threads: any. Read first: cf_text_ratio. */
#ifndef CF_COORDINATOR_REPORT_NUMBERS_H
#define CF_COORDINATOR_REPORT_NUMBERS_H

enum { CF_FIGURE_TEXT = 48 };

/* ".91", "1.00"; a dash where the value is not defined (NaN). */
void cf_text_ratio(double value, int decimals, char text[CF_FIGURE_TEXT]);
/* ".91±.02"; without the SD where one fold alone gives none. */
void cf_text_mean_sd(double mean, double sd, int decimals, int n_folds, char text[CF_FIGURE_TEXT]);
/* ".88–.93"; a dash where an end is not defined. */
void cf_text_interval(double low, double high, int decimals, char text[CF_FIGURE_TEXT]);

#endif
