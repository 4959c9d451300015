/* JPEG through libjpeg-turbo. The library fills what is missing with grey and only warns; here such
 * a warning is the end of the image. */
#include <setjmp.h>
#include <stdio.h> /* before jpeglib.h, which uses FILE */
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "worker/data/decoders.h"

/* A progressive file may say "one more scan" thousands of times; cameras and encoders use about
 * ten. A scan takes time for every pixel, so there are fewer of a large image. */
enum { MAX_SCANS = 100, MAX_SCANS_AT_LIMIT = 16, COEFFICIENT_BYTES = 64 * 2 /* of a block */ };

typedef struct jpeg_job {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    const char *name;     /* borrowed */
    const uint8_t *bytes; /* borrowed, [n] */
    size_t n;
    int64_t max_pixels;
    cf_image *image; /* borrowed */
} jpeg_job;

static void on_error(j_common_ptr cinfo)
{
    jpeg_job *job = cinfo->client_data;
    cinfo->err->format_message(cinfo, job->message);
    longjmp(job->jump, 1);
}

static void on_message(j_common_ptr cinfo, int level)
{
    /* -1 is "corrupt data, going on with what there is"; two of these warnings touch no pixel. */
    int code = cinfo->err->msg_code;
    if (level < 0 && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR) on_error(cinfo);
}

static void on_progress(j_common_ptr cinfo)
{
    jpeg_job *job = cinfo->client_data;
    const struct jpeg_decompress_struct *c = (j_decompress_ptr)cinfo;
    int64_t n = c->input_scan_number, pixels = (int64_t)c->image_height * c->image_width;
    if (n <= MAX_SCANS && n * pixels <= MAX_SCANS_AT_LIMIT * job->max_pixels) return;
    snprintf(job->message, sizeof job->message, "%lld scans of %lld pixels are too many",
             (long long)n, (long long)pixels);
    longjmp(job->jump, 1);
}

/* Every block of every component takes at least one bit of Huffman code, so a header that promises
 * more than the file can hold is refused before anything of that size is allocated. Of several
 * scans the library keeps all coefficients. */
static cf_err check_length(jpeg_job *job)
{
    struct jpeg_decompress_struct *c = &job->cinfo;
    uint64_t blocks = 0;
    for (int i = 0; i < c->num_components; i++)
        blocks += (uint64_t)c->comp_info[i].width_in_blocks * c->comp_info[i].height_in_blocks;
    if (jpeg_has_multiple_scans(c))
        CF_TRY(cf_image_check_room(job->name, "scans of JPEG", blocks * COEFFICIENT_BYTES,
                                   job->max_pixels));
    if (c->arith_code || blocks / 8 <= job->n) return CF_OK;
    return cf_fail(CF_E_DATA, "%s: damaged JPEG: %zu bytes cannot hold %u x %u pixels", job->name,
                   job->n, c->image_width, c->image_height);
}

/* cmyk: [width][4], rgb: [width][3]. Programs that write the Adobe marker store inverted inks. */
static void cmyk_row(const uint8_t *cmyk, int width, int inverted, uint8_t *rgb)
{
    for (int x = 0; x < width; x++) {
        int paper[4];
        for (int c = 0; c < 4; c++) paper[c] = inverted ? cmyk[4 * x + c] : 255 - cmyk[4 * x + c];
        for (int c = 0; c < 3; c++) rgb[3 * x + c] = (uint8_t)((paper[c] * paper[3] + 127) / 255);
    }
}

static void read_rows(jpeg_job *job)
{
    j_decompress_ptr c = &job->cinfo;
    size_t row_bytes = (size_t)job->image->width * 3;
    JSAMPARRAY inks = NULL; /* the library's pool owns it */
    if (c->out_color_space == JCS_CMYK)
        inks = c->mem->alloc_sarray((j_common_ptr)c, JPOOL_IMAGE, c->output_width * 4, 1);
    while (c->output_scanline < c->output_height) {
        JSAMPROW row = job->image->pixels + c->output_scanline * row_bytes;
        jpeg_read_scanlines(c, inks ? inks : &row, 1);
        if (inks) cmyk_row(inks[0], job->image->width, c->saw_Adobe_marker, row);
    }
}

static int orientation(const jpeg_job *job)
{
    for (jpeg_saved_marker_ptr m = job->cinfo.marker_list; m; m = m->next) {
        if (m->marker != JPEG_APP0 + 1) continue;
        int o = cf_exif_orientation(m->data, m->data_length);
        if (o != 1) return o;
    }
    return 1;
}

/* Runs under the jump of cf_jpeg_decode: it holds nothing that the job does not know. */
static cf_err decode(jpeg_job *job)
{
    j_decompress_ptr c = &job->cinfo;
    jpeg_create_decompress(c);
    c->progress = &job->progress;
    jpeg_save_markers(c, JPEG_APP0 + 1, 0xFFFF);
    jpeg_mem_src(c, job->bytes, (unsigned long)job->n);
    jpeg_read_header(c, TRUE);
    if ((int64_t)c->image_height > job->max_pixels / (int64_t)c->image_width)
        return cf_image_alloc(job->name, c->image_height, c->image_width, job->max_pixels,
                              job->image);
    CF_TRY(check_length(job));
    int inks = c->jpeg_color_space == JCS_CMYK || c->jpeg_color_space == JCS_YCCK;
    c->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    c->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(c);
    CF_TRY(
        cf_image_alloc(job->name, c->output_height, c->output_width, job->max_pixels, job->image));
    read_rows(job);
    int o = orientation(job);  /* before the next line, which forgets the markers */
    jpeg_finish_decompress(c); /* reads up to the end marker: a cut tail is found here */
    return cf_image_orient(job->image, o);
}

cf_err cf_jpeg_decode(const char *name, const uint8_t *bytes, size_t n, int64_t max_pixels,
                      cf_image *image)
{
    jpeg_job job = {.name = name, .bytes = bytes, .n = n, .max_pixels = max_pixels, .image = image};
    job.cinfo.err = jpeg_std_error(&job.errors);
    job.cinfo.client_data = &job;
    job.errors.error_exit = on_error;
    job.errors.emit_message = on_message;
    job.progress.progress_monitor = on_progress;
    cf_err err;
    if (setjmp(job.jump) == 0)
        err = decode(&job);
    else
        err = cf_fail(CF_E_DATA, "%s: damaged JPEG: %s", name, job.message);
    jpeg_destroy_decompress(&job.cinfo);
    if (err != CF_OK) cf_image_fini(image);
    return err;
}
