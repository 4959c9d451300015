/* Encoded pictures to files, and JPEG through libjpeg-turbo; PNG is encoded in image_png.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h> /* before jpeglib.h, which uses FILE */
#include <stdlib.h>
#include <unistd.h>

#include <jpeglib.h>

#include "worker/data/decoders.h"

cf_err cf_image_save(const char *path, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return cf_fail_errno(CF_E_DISK, "%s: cannot create", path);
    const uint8_t *p = bytes;
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) break;
        p += k;
        n -= (size_t)k;
    }
    cf_err err = n > 0 ? cf_fail_errno(CF_E_DISK, "%s: cannot write", path) : CF_OK;
    if (close(fd) != 0 && err == CF_OK) err = cf_fail_errno(CF_E_DISK, "%s: cannot write", path);
    if (err != CF_OK) unlink(path);
    return err;
}

typedef struct jpeg_out {
    struct jpeg_compress_struct cinfo;
    struct jpeg_error_mgr errors;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    unsigned char *bytes; /* owned, the library's malloc */
    unsigned long n;
} jpeg_out;

static void on_error(j_common_ptr cinfo)
{
    jpeg_out *out = cinfo->client_data;
    cinfo->err->format_message(cinfo, out->message);
    longjmp(out->jump, 1);
}

/* Runs under the jump of cf_image_encode_jpeg. */
static void encode(jpeg_out *out, const uint8_t *pixels, int height, int width, int quality)
{
    struct jpeg_compress_struct *c = &out->cinfo;
    jpeg_create_compress(c);
    jpeg_mem_dest(c, &out->bytes, &out->n);
    c->image_width = (JDIMENSION)width;
    c->image_height = (JDIMENSION)height;
    c->input_components = 3;
    c->in_color_space = JCS_RGB;
    jpeg_set_defaults(c);
    jpeg_set_quality(c, quality, TRUE);
    jpeg_start_compress(c, TRUE);
    while (c->next_scanline < c->image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)pixels + (size_t)c->next_scanline * (size_t)width * 3;
        jpeg_write_scanlines(c, &row, 1);
    }
    jpeg_finish_compress(c);
}

cf_err cf_image_encode_jpeg(const uint8_t *pixels, int height, int width, int quality,
                            cf_buf *bytes)
{
    jpeg_out out = {0};
    out.cinfo.err = jpeg_std_error(&out.errors);
    out.cinfo.client_data = &out;
    out.errors.error_exit = on_error;
    cf_err err;
    if (setjmp(out.jump) == 0) {
        encode(&out, pixels, height, width, quality);
        cf_buf_add(bytes, out.bytes, out.n);
        err = cf_buf_check(bytes);
    } else {
        err = cf_fail(CF_E_UNEXPECTED, "libjpeg: %s", out.message);
        out.bytes = NULL; /* the library may have freed what it points to, and grown another */
    }
    jpeg_destroy_compress(&out.cinfo);
    free(out.bytes);
    return err;
}

cf_err cf_image_write_jpeg(const char *path, const uint8_t *pixels, int height, int width,
                           int quality)
{
    cf_buf bytes = {0};
    cf_err err = cf_where(cf_image_encode_jpeg(pixels, height, width, quality, &bytes), "%s", path);
    if (err == CF_OK) err = cf_image_save(path, bytes.data, bytes.len);
    cf_buf_fini(&bytes);
    return err;
}
