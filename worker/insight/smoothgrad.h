/* SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825): the mean gradient over noisy copies of an
 * image. Threads: any. Read first: cf_smoothgrad_noise. */
#ifndef CF_WORKER_INSIGHT_SMOOTHGRAD_H
#define CF_WORKER_INSIGHT_SMOOTHGRAD_H

#include <stdint.h>

/* What names the noise of a picture: nothing that depends on how the work is shared out. */
typedef struct cf_smoothgrad_stream {
    uint64_t seed;
    uint64_t image; /* hash of its pixels */
} cf_smoothgrad_stream;

/* The standard deviation of the noise: `noise` times the image's range, its highest value less its
 * lowest over all channels (section 3.2). image: [n], as the network takes it. */
double cf_smoothgrad_sigma(const float *image, int64_t n, double noise);
/* noisy [n] = image [n] + normal noise of sample number `sample`, by Box and Muller's transform. */
void cf_smoothgrad_noise(cf_smoothgrad_stream stream, int sample, double sigma, const float *image,
                         int64_t n, float *noisy);

/* What is shown: absolute mean gradients added over the channels, divided by their 99th percentile
 * (linear between ranks) and cut off at 1, as the method's authors show them; the least is 0.
 * mean: [pixels][3];
 * map: [pixels]; scratch: [pixels]. */
void cf_smoothgrad_map(const float *mean, int64_t pixels, float *map, float *scratch);

#endif
