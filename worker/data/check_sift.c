#include "worker/data/check_sift.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <vl/sift.h>

#include "kernels/base/mem.h"
#include "worker/data/image.h"

enum { MAX_SIDE = 160, LEVELS = 3, MIN_AGREE = 6 };
static const double ratio = 0.8, reach = 4.0;

/* Luma of the picture at its own size or, if it is larger, at MAX_SIDE squared. *luma: owned. */
static cf_err make_luma(const uint8_t *pixels, int height, int width, enum cf_sift_side side,
                        float **luma, int *h, int *w)
{
    /* cf_image_resize only reads its input */
    const cf_image in = {.height = height, .width = width, .pixels = (uint8_t *)(uintptr_t)pixels};
    cf_image small;
    *h = height < MAX_SIDE ? height : MAX_SIDE;
    *w = width < MAX_SIDE ? width : MAX_SIDE;
    CF_TRY(cf_image_resize(&in, *h, *w, &small));
    cf_err err = cf_new(luma, (size_t)*h * (size_t)*w, sizeof **luma);
    for (int y = 0; err == CF_OK && y < *h; y++)
        for (int x = 0; x < *w; x++) {
            const uint8_t *c = small.pixels + 3 * ((size_t)y * (size_t)*w + (size_t)x);
            int to = side == CF_SIFT_MIRRORED ? *w - 1 - x : x;
            (*luma)[y * *w + to] = 0.299f * c[0] + 0.587f * c[1] + 0.114f * c[2];
        }
    cf_image_fini(&small);
    return err;
}

/* Features of the octave that the filter is at. */
static void add_octave(VlSiftFilt *filter, int h, int w, cf_sift *s)
{
    vl_sift_detect(filter);
    const VlSiftKeypoint *keys = vl_sift_get_keypoints(filter);
    int n_keys = vl_sift_get_nkeypoints(filter);
    for (int k = 0; k < n_keys; k++) {
        double angles[4];
        int n = vl_sift_calc_keypoint_orientations(filter, angles, &keys[k]);
        for (int i = 0; i < n && s->n < CF_SIFT_MAX; i++, s->n++) {
            float *p = s->place[s->n];
            p[0] = (keys[k].x - (float)(w - 1) / 2) * CF_ALIGN_SIDE / (float)w;
            p[1] = (keys[k].y - (float)(h - 1) / 2) * CF_ALIGN_SIDE / (float)h;
            p[2] = keys[k].sigma * CF_ALIGN_SIDE / (float)w;
            p[3] = (float)angles[i];
            vl_sift_calc_keypoint_descriptor(filter, s->descriptor[s->n], &keys[k], angles[i]);
        }
    }
}

cf_err cf_sift_fill(const uint8_t *pixels, int height, int width, enum cf_sift_side side,
                    cf_sift *s)
{
    float *luma;
    int h, w;
    s->n = 0;
    if (height < 16 || width < 16) return CF_OK; /* nothing that a feature would fit in */
    CF_TRY(make_luma(pixels, height, width, side, &luma, &h, &w));
    VlSiftFilt *filter = vl_sift_new(w, h, -1, LEVELS, 0);
    cf_err err = filter ? CF_OK : cf_fail(CF_E_UNEXPECTED, "VLFeat: out of memory");
    if (filter) {
        vl_sift_set_peak_thresh(filter, 1); /* of 255: leaves out noise */
        int end = vl_sift_process_first_octave(filter, luma);
        for (; !end; end = vl_sift_process_next_octave(filter)) add_octave(filter, h, w, s);
        vl_sift_delete(filter);
    }
    free(luma);
    return err;
}

static double distance2(const float *restrict a, const float *restrict b)
{
    float lanes[16] = {0}; /* sums that a compiler may keep beside each other */
    double sum = 0;
    for (int k = 0; k < CF_SIFT_DIMS; k += 16)
        for (int l = 0; l < 16; l++) lanes[l] += (a[k + l] - b[k + l]) * (a[k + l] - b[k + l]);
    for (int l = 0; l < 16; l++) sum += (double)lanes[l];
    return sum;
}

/* of[i]: the feature of b that a's feature i matches, or -1. */
static int match(const cf_sift *a, const cf_sift *b, int of[CF_SIFT_MAX])
{
    int n = 0;
    for (int i = 0; i < a->n; i++) {
        double best = 1e9, second = 1e9;
        int at = -1;
        for (int j = 0; j < b->n; j++) {
            double d = distance2(a->descriptor[i], b->descriptor[j]);
            if (d < best) {
                second = best;
                best = d;
                at = j;
            } else if (d < second) {
                second = d;
            }
        }
        of[i] = best < ratio * ratio * second ? at : -1;
        n += of[i] >= 0;
    }
    return n;
}

/* The map that one match proposes by its places, scales and angles. */
static cf_align_map propose(const float *p, const float *q)
{
    double s = (double)q[2] / (double)p[2], angle = (double)q[3] - (double)p[3];
    double c = s * cos(angle), n = s * sin(angle);
    cf_align_map map = {{{c, -n}, {n, c}}, {0, 0}};
    map.t[0] = (double)q[0] - (c * (double)p[0] - n * (double)p[1]);
    map.t[1] = (double)q[1] - (n * (double)p[0] + c * (double)p[1]);
    return map;
}

static bool agrees(const cf_align_map *map, const float *p, const float *q)
{
    double u = map->m[0][0] * (double)p[0] + map->m[0][1] * (double)p[1] + map->t[0];
    double v = map->m[1][0] * (double)p[0] + map->m[1][1] * (double)p[1] + map->t[1];
    return hypot(u - (double)q[0], v - (double)q[1]) < reach;
}

/* Least squares over the matches that agree with *map (Umeyama 1991, in the plane). */
static void fit(const cf_sift *a, const cf_sift *b, const int of[CF_SIFT_MAX], cf_align_map *map)
{
    double n = 0, mp[2] = {0}, mq[2] = {0}, dot = 0, cross = 0, pp = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < a->n; i++) {
            if (of[i] < 0 || !agrees(map, a->place[i], b->place[of[i]])) continue;
            double x = (double)a->place[i][0], y = (double)a->place[i][1];
            double u = (double)b->place[of[i]][0], v = (double)b->place[of[i]][1];
            if (pass == 0) {
                n++;
                mp[0] += x, mp[1] += y, mq[0] += u, mq[1] += v;
                continue;
            }
            x -= mp[0] / n, y -= mp[1] / n, u -= mq[0] / n, v -= mq[1] / n;
            dot += x * u + y * v;
            cross += x * v - y * u;
            pp += x * x + y * y;
        }
    if (pp < 1) return; /* all in one place: the proposal is as good */
    double c = dot / pp, s = cross / pp;
    *map = (cf_align_map){{{c, -s}, {s, c}}, {0, 0}};
    map->t[0] = (mq[0] - (c * mp[0] - s * mp[1])) / n;
    map->t[1] = (mq[1] - (s * mp[0] + c * mp[1])) / n;
}

int cf_sift_match(const cf_sift *a, const cf_sift *b, cf_align_map *map)
{
    int of[CF_SIFT_MAX], best = 0;
    if (match(a, b, of) < MIN_AGREE) return 0;
    for (int i = 0; i < a->n; i++) {
        if (of[i] < 0) continue;
        cf_align_map m = propose(a->place[i], b->place[of[i]]);
        double scale = hypot(m.m[0][0], m.m[1][0]);
        if (scale < 0.5 || scale > 2) continue; /* cells of one field are of one magnification */
        int n = 0;
        for (int k = 0; k < a->n; k++) n += of[k] >= 0 && agrees(&m, a->place[k], b->place[of[k]]);
        if (n <= best) continue;
        best = n;
        *map = m;
    }
    if (best < MIN_AGREE) return 0;
    fit(a, b, of, map);
    return best;
}
