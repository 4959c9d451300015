#include "coordinator/report_numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void cf_text_ratio(double value, int decimals, char text[CF_FIGURE_TEXT])
{
    if (isnan(value)) {
        snprintf(text, CF_FIGURE_TEXT, "–");
        return;
    }
    snprintf(text, CF_FIGURE_TEXT, "%.*f", decimals, value);
    char *digits = text + (text[0] == '-');
    if (digits[0] == '0' && digits[1] == '.') memmove(digits, digits + 1, strlen(digits));
}

static void join(double left, const char *between, double right, int decimals,
                 char text[CF_FIGURE_TEXT])
{
    char first[CF_FIGURE_TEXT], second[CF_FIGURE_TEXT];
    cf_text_ratio(left, decimals, first);
    cf_text_ratio(right, decimals, second);
    snprintf(text, CF_FIGURE_TEXT, "%.20s%s%.20s", first, between, second);
}

void cf_text_mean_sd(double mean, double sd, int decimals, int n_folds, char text[CF_FIGURE_TEXT])
{
    if (isnan(mean) || n_folds < 2)
        cf_text_ratio(mean, decimals, text);
    else
        join(mean, "±", sd, decimals, text);
}

void cf_text_interval(double low, double high, int decimals, char text[CF_FIGURE_TEXT])
{
    if (isnan(low) || isnan(high))
        cf_text_ratio((double)NAN, decimals, text);
    else
        join(low, "–", high, decimals, text);
}
