/* The colours of each site's images, and how far apart two sites are. Threads: one caller. Read
 * first: cf_sites_compare. */
#ifndef CF_WORKER_DATA_CHECK_SITES_H
#define CF_WORKER_DATA_CHECK_SITES_H

#include <stdint.h>

#include "kernels/base/err.h"
#include "proto/cells.h"
#include "worker/data/check_measure.h"

/* Means over a site's images. Grey levels, 0..255. */
typedef struct cf_site_color {
    int64_t n;          /* images */
    double mean[3];     /* of the images' means of R, G, B */
    double between[3];  /* SD (n - 1) of the images' means; 0 for a lone image */
    double within[3];   /* mean of the images' SDs */
    double lab[3];      /* the mean colour in CIELAB (sRGB, D65) */
    double stain[2][3]; /* mean optical-density vectors of the two stains; 0: not in the file */
    double sharpness;   /* median */
} cf_site_color;

/* Two sites beside each other, a < b. Sites of fewer than two images have no distances: NaN. */
typedef struct cf_site_pair {
    int a, b;
    double delta_e; /* between the mean colours (CIE 1976); about 2.3 is just noticeable */
    double effect;  /* the largest over R, G, B of |difference of means| / pooled SD (Cohen 1988):
                       0.8 is large */
    double frechet; /* Frechet distance of normal distributions with the sites' means and
                       covariances of (mean R, G, B, SD R, G, B) of an image, in grey levels (Dowson
                       and Landau 1982): sqrt(|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))) */
    double stain_angle; /* degrees, the larger of the angles between the mean stain vectors; NaN
                           where the file has none */
} cf_site_pair;

typedef struct cf_sites {
    cf_site_color *colors; /* owned, [n] */
    int n;
    cf_site_pair *pairs; /* owned, [n_pairs], the farthest (delta_e) first */
    int64_t n_pairs;
} cf_sites;

/* The limit keeps the table of pairs readable; further sites are described but not paired. */
enum { CF_SITES_PAIRED = 200 };

/* left_out: [n] images not to count (damaged, one-coloured). */
CF_CHECKED cf_err cf_sites_compare(const cf_cells *cells, const cf_measure *measures,
                                   const uint8_t *left_out, cf_sites *sites);
void cf_sites_fini(cf_sites *sites);

/* Images by site: those of site s are images[begin[s]] to images[begin[s + 1] - 1], in their order
 * in the file. A file may name as many sites as images, so nothing goes over all images once a
 * site. */
typedef struct cf_site_order {
    int32_t *images; /* owned, [n] */
    int64_t *begin;  /* owned, [n_sites + 1] */
} cf_site_order;

/* Sorts them in time n + n_sites. Release with cf_site_order_fini. Errors: CF_E_UNEXPECTED
 * (memory). */
CF_CHECKED cf_err cf_site_order_init(const cf_cells *cells, cf_site_order *order);
void cf_site_order_fini(cf_site_order *order);

#endif
