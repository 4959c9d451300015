#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/folds.h"
#include "proto/cells.h"
#include "proto/control.h"
#include "tests/support/scratch.h"
#include "worker/data/image.h"
#include "worker/data/pack.h"

enum { SIDE = 12 };

static atomic_int n_decoded;

/* The linker puts this before the decoder: files that are decoded are counted. */
cf_err __real_cf_image_decode_again(const char *name, const uint8_t *bytes, size_t n,
                                    int64_t max_pixels, cf_image *image);
cf_err __wrap_cf_image_decode_again(const char *name, const uint8_t *bytes, size_t n,
                                    int64_t max_pixels, cf_image *image);
cf_err __wrap_cf_image_decode_again(const char *name, const uint8_t *bytes, size_t n,
                                    int64_t max_pixels, cf_image *image)
{
    n_decoded++;
    return __real_cf_image_decode_again(name, bytes, n, max_pixels, image);
}

/* A scratch folder with two manifests and the output beside them. */
typedef struct fixture {
    char dir[CF_PATH_MAX], output[CF_PATH_MAX], folds[CF_PATH_MAX];
    char manifests[2][CF_PATH_MAX];
    cf_source sources[2];
    cf_pack_options options;
    cf_pack_result result;
} fixture;

static const char *in(const char *dir, const char *name)
{
    static char paths[4][CF_PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    assert_int_equal(cf_path_join(path, CF_PATH_MAX, dir, name), CF_OK);
    return path;
}

static void fixture_init(fixture *f)
{
    memset(f, 0, sizeof *f);
    assert_true(scratch_make(f->dir));
    snprintf(f->output, sizeof f->output, "%s", in(f->dir, "x.cells"));
    snprintf(f->folds, sizeof f->folds, "%s", in(f->dir, "x.folds.csv"));
    for (int s = 0; s < 2; s++) {
        snprintf(f->manifests[s], CF_PATH_MAX, "%s", in(f->dir, s ? "two.csv" : "one.csv"));
        f->sources[s] = (cf_source){.path = f->manifests[s], .site = "", .name = ""};
    }
    f->options = (cf_pack_options){.sources = f->sources,
                                   .n_sources = 1,
                                   .scheme = "bm7",
                                   .output = f->output,
                                   .cut = {.patch = 6},
                                   .threads = 3,
                                   .max_pixels = 1 << 20};
}

static void fixture_fini(fixture *f)
{
    cf_pack_result_fini(&f->result);
    scratch_remove(f->dir);
}

static int level(int x, int y, int c)
{
    return (x * 5 + y * 3 + c * 70) % 256;
}

/* A PNG whose every pixel tells where it is. */
static void add_image(const fixture *f, const char *name, int height, int width)
{
    uint8_t *pixels = malloc((size_t)(height * width * 3));
    assert_non_null(pixels);
    for (int i = 0; i < height * width * 3; i++)
        pixels[i] = (uint8_t)level(i / 3 % width, i / 3 / width, i % 3);
    assert_int_equal(cf_image_write_png(in(f->dir, name), pixels, height, width), CF_OK);
    free(pixels);
}

static void set_manifest(const fixture *f, int s, const char *text)
{
    assert_int_equal(cf_file_save(f->manifests[s], text, strlen(text)), CF_OK);
}

static void pack(fixture *f)
{
    cf_pack_result_fini(&f->result);
    if (cf_pack(&f->options, &f->result) != CF_OK) fail_msg("%s", cf_err_text());
}

static void assert_refused(fixture *f, cf_err code, const char *words)
{
    cf_pack_result_fini(&f->result);
    cf_err err = cf_pack(&f->options, &f->result);
    if (err != code || !strstr(cf_err_text(), words))
        fail_msg("code %d, expected %d and \"%s\" in: %s", (int)err, (int)code, words,
                 err == CF_OK ? "success" : cf_err_text());
    assert_false(cf_path_exists(f->output));
    assert_false(cf_path_exists(f->folds));
}

static void open_cells(const fixture *f, cf_cells *cells)
{
    if (cf_cells_open(f->output, cells) != CF_OK) fail_msg("%s", cf_err_text());
}

static void rows_become_images_with_site_and_patient(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    assert_int_equal(cf_dir_make(in(f.dir, "sub")), CF_OK);
    add_image(&f, "sub/b.png", SIDE, SIDE);
    add_image(&f, "a, one.png", SIDE, SIDE);
    add_image(&f, "c.png", SIDE, SIDE);
    char text[3 * CF_PATH_MAX];
    snprintf(text, sizeof text,
             "patient,stain,label,path,site\r\n"
             "P1,MGG,BLA,sub/b.png,Munich\r\n"        /* a code */
             "P2,MGG,Neutrophil,\"a, one.png\",\r\n"  /* an alias; the source's site */
             ",Pappenheim,Eosinophils,%s,Berlin\r\n", /* a name; an absolute path */
             in(f.dir, "c.png"));
    set_manifest(&f, 0, text);
    f.sources[0].site = "Elsewhere";
    pack(&f);
    assert_int_equal(f.result.notes.n, 1);
    assert_non_null(strstr(f.result.notes.items[0], "columns not used: \"stain\""));
    cf_cells cells;
    open_cells(&f, &cells);
    assert_int_equal(cells.n, 3);
    static const struct {
        const char *end, *code, *site, *patient;
    } expected[] = {{"/c.png", "EOS", "Berlin", NULL},
                    {"a, one.png", "NGS", "Elsewhere", "P2"},
                    {"sub/b.png", "BLA", "Munich", "P1"}};
    for (int i = 0; i < 3; i++) {
        assert_non_null(strstr(cells.ids[i], expected[i].end));
        assert_string_equal(cells.scheme.classes[cells.labels[i]].code, expected[i].code);
        assert_string_equal(cells.site_names.items[cells.sites[i]], expected[i].site);
        if (expected[i].patient)
            assert_string_equal(cells.patient_names.items[cells.patients[i]], expected[i].patient);
        else
            assert_int_equal(cells.patients[i], -1);
    }
    cf_cells_close(&cells);
    fixture_fini(&f);
}

static void faults_are_named_by_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"path,site\na.png,M\n", "one.csv:1:1: no column \"label\""},
        {"label\nBLA\n", "one.csv:1:1: no column \"path\""},
        {"path,label\n", "a header and no rows"},
        {"", "one.csv:1:1: no header"},
        {"path,label\na.png,BLA\n,BLA\n", "one.csv:3:1: an empty path"},
        {"path,label\na.png,\n", "one.csv:2:2: an empty label"},
        {"path,label\na.png,BLA,4\n", "one.csv:2:3"},
        {"path,label\n\"a.png,BLA\n", "one.csv:2:1"},
        {"path,label,x\na.png,BLA,1\n", "a column x without y"},
        {"path,label,x,y\na.png,BLA,1,\n", "one.csv:2:4: the centre has only one"},
        {"path,label,y,x\na.png,BLA,1,-3\n", "one.csv:2:4: x \"-3\", expected a number from 0"},
        {"path,label,x,y\na.png,BLA,1,nan\n", "one.csv:2:4: y \"nan\""},
        {"path,label,um_per_px\na.png,BLA,0\n", "one.csv:2:3: um_per_px \"0\", expected a number "
                                                "above 0"},
        {"path,label,split\na.png,BLA,tset\n", "one.csv:2:3: split \"tset\", expected train"},
        {"path,label,split\na.png,BLA,255\n", "one.csv:2:3: split \"255\""},
        {"path,label,split\na.png,BLA,train\nb.png,BLA,2\n",
         "one.csv:3:3: split \"2\" is a number, "
         "but on line 2 stands a word"},
        {"path,site,label\na.png,../x,BLA\n", "one.csv:2:2: the site is not a plain name"},
        {"path,label,patient\na.png,BLA,\"a\nb\"\n", "one.csv:2:3: the patient has control"},
        {"path,label\na.png,BLA\nb.png,EOS\na.png,EOS\n", "one.csv:4:1: a.png is on line 2 too"},
        {"label,path\nBLA,a.png\nBLA,a.png\nBLA,a.png\n", "2 images stand twice, the first: "},
    };
    fixture f;
    fixture_init(&f);
    add_image(&f, "a.png", SIDE, SIDE);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_manifest(&f, 0, cases[i].text);
        assert_refused(&f, CF_E_DATA, cases[i].words);
    }
    fixture_fini(&f);
}

/* Cut short or with a bit flipped, here and there: packed or refused, never worse. */
static void any_damage_to_a_manifest_is_survived(void **state)
{
    (void)state;
    static const char good[] =
        "path,label,split,x,y,um_per_px,site\n"
        "a.png,BLA,train,4,5.5,.1,M\n\"a.png\",EOS,test,6,7,,\"N \"\"O\"\"\"\n";
    fixture f;
    fixture_init(&f);
    add_image(&f, "a.png", SIDE, SIDE);
    f.options.damaged = CF_PACK_SKIP;
    f.options.threads = 1;
    int n_packed = 0, n_refused = 0;
    for (size_t i = 0; i < 9 * (sizeof good - 1); i += 7) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        if (i % 9 == 8)
            text[i / 9] = '\0';
        else
            text[i / 9] = (char)(text[i / 9] ^ 1 << i % 9);
        assert_int_equal(cf_file_save(f.manifests[0], text, i % 9 == 8 ? i / 9 : sizeof good - 1),
                         CF_OK);
        cf_pack_result_fini(&f.result);
        cf_err err = cf_pack(&f.options, &f.result);
        if (err != CF_OK && err != CF_E_DATA) fail_msg("code %d: %s", (int)err, cf_err_text());
        n_packed += err == CF_OK;
        n_refused += err != CF_OK;
    }
    print_message("%d packed, %d refused\n", n_packed, n_refused);
    assert_true(n_packed > 0 && n_refused > 0);
    fixture_fini(&f);
}

static void missing_files_are_all_named(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "a.png", SIDE, SIDE);
    set_manifest(&f, 0, "path,label\nno1.png,BLA\na.png,BLA\nno2.png,EOS\n.,EOS\n");
    assert_refused(&f, CF_E_DATA, "3 of 4 images cannot be read");
    assert_int_equal(f.result.damaged.n, 3);
    f.options.damaged = CF_PACK_SKIP;
    pack(&f);
    assert_int_equal(f.result.n_packed, 1);
    assert_int_equal(f.result.n_damaged, 3);
    fixture_fini(&f);
}

static void unknown_labels_are_refused_with_counts_or_dropped(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "a.png", SIDE, SIDE);
    set_manifest(&f, 0,
                 "path,label\nb.png,XYZ\na.png,BLA\nc.png,Blob\nd.png,XYZ\ne.png,Basophil\n");
    assert_refused(&f, CF_E_DATA, "Blob (1), XYZ (2)");
    assert_non_null(strstr(cf_err_text(), "--drop-unmapped"));
    f.options.unmapped = CF_UNMAPPED_DROP;
    pack(&f);
    assert_int_equal(f.result.n_packed, 1);
    assert_int_equal(f.result.n_unmapped, 3);
    assert_int_equal(f.result.n_dropped, 1); /* bm7 drops basophils on purpose */
    assert_non_null(strstr(f.result.notes.items[0], "Blob (1), XYZ (2)"));
    fixture_fini(&f);
}

static void labels_make_a_scheme_of_their_own(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "a.png", SIDE, SIDE);
    add_image(&f, "b.png", SIDE, SIDE);
    set_manifest(&f, 0, "path,label\nb.png,Zeta\na.png,Alpha\n");
    f.options.scheme = "auto";
    pack(&f);
    assert_int_equal(f.result.scheme.n_classes, 2);
    assert_string_equal(f.result.scheme.classes[0].code, "Alpha");
    fixture_fini(&f);
}

static void named_sources_may_have_the_same_ids_and_patients(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "a.png", SIDE, SIDE);
    set_manifest(&f, 0, "path,label,patient\na.png,BLA,17\n");
    set_manifest(&f, 1, "path,label,patient\na.png,EOS,17\n");
    f.options.n_sources = 2;
    assert_refused(&f, CF_E_DATA, "a.png is in both");
    f.sources[0].name = f.sources[0].site = "Munich";
    f.sources[1].name = f.sources[1].site = "Berlin";
    pack(&f);
    cf_cells cells;
    open_cells(&f, &cells);
    assert_int_equal(cells.n, 2);
    assert_string_equal(cells.ids[0], "Berlin/a.png");
    assert_string_equal(cells.ids[1], "Munich/a.png");
    assert_string_equal(cells.site_names.items[cells.sites[1]], "Munich");
    assert_string_equal(cells.patient_names.items[cells.patients[0]], "Berlin/17");
    assert_int_equal(cells.patient_names.n, 2);
    cf_cells_close(&cells);
    fixture_fini(&f);
}

static void assert_folds(const fixture *f, int n_expected, const uint8_t *expected)
{
    cf_cells cells;
    int n_folds;
    uint8_t folds[8];
    open_cells(f, &cells);
    assert_true(cells.n <= 8);
    assert_string_equal(f->result.folds, f->folds);
    if (cf_folds_read(f->folds, &cells, &n_folds, folds) != CF_OK) fail_msg("%s", cf_err_text());
    assert_int_equal(n_folds, n_expected);
    assert_memory_equal(folds, expected, (size_t)cells.n);
    cf_cells_close(&cells);
}

static void split_column_becomes_a_folds_file(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    for (int i = 0; i < 4; i++) {
        char name[] = {(char)('0' + i), '.', 'p', 'n', 'g', '\0'};
        add_image(&f, name, SIDE, SIDE);
    }
    set_manifest(&f, 0,
                 "path,label,split\n0.png,BLA,train\n1.png,EOS,Test\n2.png,BLA,Val\n"
                 "gone.png,BLA,test\n3.png,EOS,train\n");
    f.options.damaged = CF_PACK_SKIP; /* what is not packed has no fold either */
    pack(&f);
    assert_folds(&f, 1, (const uint8_t[]){CF_FOLD_TRAIN, 0, CF_FOLD_TRAIN, CF_FOLD_TRAIN});
    set_manifest(&f, 0, "split,path,label\n3,0.png,BLA\n1,1.png,EOS\n2,2.png,BLA\n1,3.png,EOS\n");
    pack(&f);
    assert_folds(&f, 3, (const uint8_t[]){2, 0, 1, 0}); /* counted from 1 */
    assert_int_equal(unlink(f.folds), 0);
    set_manifest(&f, 0, "split,path,label\n0,0.png,BLA\n1,1.png,EOS\n,2.png,BLA\n1,3.png,EOS\n");
    pack(&f);
    assert_string_equal(f.result.folds, "");
    assert_false(cf_path_exists(f.folds));
    assert_non_null(strstr(f.result.notes.items[0], "1 of 4 images have no split, as 2.png"));
    set_manifest(&f, 0, "split,path,label\nval,0.png,BLA\ntrain,1.png,EOS\n");
    pack(&f);
    assert_non_null(strstr(f.result.notes.items[0], "no image has the split test"));
    fixture_fini(&f);
}

/* Two scanners, one field of 4 um: 8 px of the first, 16 of the second. */
static void centres_are_cropped_to_one_physical_field(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "a.png", 11, 14);
    add_image(&f, "b.png", 20, 16);
    set_manifest(&f, 0, "path,label,um_per_px\na.png,BLA,\nb.png,BLA,.25\n");
    f.options.cut.crop_um = 4.0;
    assert_refused(&f, CF_E_USAGE, "a.png has none (--um-per-px");
    f.sources[0].um_per_px = 0.5;
    assert_refused(&f, CF_E_DATA, "images differ in size");
    f.options.cut.size = 8;
    pack(&f);
    assert_true(f.result.um_per_px == 0.5);
    cf_cells cells;
    open_cells(&f, &cells);
    assert_true(cells.um_per_px == 0.5);
    assert_int_equal(cells.height, 8);
    const uint8_t *p = cf_cells_image(&cells, 0); /* columns 3..10 and rows 1..8 */
    for (int i = 0; i < 8 * 8 * 3; i++)
        assert_int_equal(p[i], level(3 + i / 3 % 8, 1 + i / 24, i % 3));
    cf_cells_close(&cells);
    assert_int_equal(unlink(f.output), 0);
    f.options.cut.crop_um = 5.6; /* 11.2 px of a.png, which has 11 rows; 22 of b.png */
    assert_refused(&f, CF_E_DATA, "1 of 2 images cannot be read");
    assert_non_null(strstr(f.result.damaged.items[0], "b.png: a field of 5.6 um is 22 px at 0.25 "
                                                      "um/px, more than the image's 16 x 20 px"));
    fixture_fini(&f);
}

/* Index into n pixels mirrored at both ends, the slow way. */
static int mirrored(int k, int n)
{
    while (k < 0 || k >= n) k = k < 0 ? -k : 2 * (n - 1) - k;
    return k;
}

static void cells_are_cut_out_of_fields_decoded_once(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    enum { H = 31, W = 40, N = 200 };
    add_image(&f, "f1.png", H, W);
    add_image(&f, "f2.png", H, W);
    cf_buf text = {0};
    cf_buf_printf(&text, "x,y,path,label\n");
    for (int i = 0; i < N; i++) /* both fields in turn; corners and borders too */
        cf_buf_printf(&text, "%d,%d,f%d.png,BLA\n", i * 7 % W, i * 11 % H, 1 + i % 2);
    set_manifest(&f, 0, cf_buf_text(&text));
    cf_buf_fini(&text);
    for (int threads = 1; threads <= 4; threads++) { /* four slots a thread: far fewer than cells */
        f.options.threads = threads;
        n_decoded = 0;
        pack(&f);
        assert_int_equal(n_decoded, 2);
    }
    cf_cells cells;
    open_cells(&f, &cells);
    assert_int_equal(cells.n, N);
    assert_int_equal(cells.height, 6);
    for (int64_t i = 0; i < cells.n; i++) {
        int x, y, field;
        assert_int_equal(sscanf(cells.ids[i], "f%d.png@%d_%d", &field, &x, &y), 3);
        const uint8_t *p = cf_cells_image(&cells, i);
        for (int k = 0; k < 6 * 6 * 3; k++)
            assert_int_equal(
                p[k], level(mirrored(x - 3 + k / 3 % 6, W), mirrored(y - 3 + k / 18, H), k % 3));
        if (i > 0) assert_true(strcmp(cells.ids[i - 1], cells.ids[i]) < 0);
    }
    cf_cells_close(&cells);
    fixture_fini(&f);
}

static void a_damaged_field_is_named_once_with_its_cells(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    add_image(&f, "a.png", 20, 20);
    assert_int_equal(cf_file_save(in(f.dir, "bad.png"), "no image", 8), CF_OK);
    set_manifest(&f, 0,
                 "path,label,x,y\na.png,BLA,4,5\nbad.png,BLA,1,1\nbad.png,BLA,2,2\n"
                 "bad.png,EOS,3,3\na.png,BLA,20,5\n");
    assert_refused(&f, CF_E_DATA, "4 of 5 images cannot be read");
    assert_int_equal(f.result.damaged.n, 2);
    assert_non_null(
        strstr(f.result.damaged.items[0], "the cell of line 6 has its centre at 20, 5"));
    assert_non_null(strstr(f.result.damaged.items[1], "bad.png: not an image"));
    assert_non_null(strstr(f.result.damaged.items[1], "(3 cells)"));
    f.options.cut.patch = 21;
    assert_refused(&f, CF_E_DATA, "5 of 5 images");
    assert_non_null(
        strstr(f.result.damaged.items[0], "patches of 21 px out of a field of 20 x 20"));
    fixture_fini(&f);
}

/* The camera of the marrow set and the paper's patches: 250 px round a cell of a real picture. */
static void real_pictures_are_fields_too(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f);
    char folder[CF_PATH_MAX], text[2 * CF_PATH_MAX];
    snprintf(folder, sizeof folder, "%s/bm7-original/EOS", CYTOFOLD_DATA);
    if (!*CYTOFOLD_DATA || !cf_path_is_dir(folder)) {
        print_message("skipped: no bm7-original below CYTOFOLD_DATA \"%s\"\n", CYTOFOLD_DATA);
        fixture_fini(&f);
        skip();
    }
    cf_strings names;
    assert_int_equal(cf_dir_list(folder, &names), CF_OK);
    const char *picture = in(folder, names.items[0]);
    snprintf(text, sizeof text, "path,label,x,y\n%s,EOS,125,125\n%s,EOS,0,249\n", picture, picture);
    set_manifest(&f, 0, text);
    f.sources[0].um_per_px = 0.086;
    f.options.cut = (cf_cut){.crop_um = 10.0, .size = 64};
    n_decoded = 0;
    pack(&f);
    assert_int_equal(n_decoded, 1);
    assert_int_equal(f.result.n_packed, 2);
    assert_true(f.result.um_per_px == 10.0 / 64);
    cf_strings_fini(&names);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_images_with_site_and_patient),
        cmocka_unit_test(faults_are_named_by_line_and_column),
        cmocka_unit_test(any_damage_to_a_manifest_is_survived),
        cmocka_unit_test(missing_files_are_all_named),
        cmocka_unit_test(unknown_labels_are_refused_with_counts_or_dropped),
        cmocka_unit_test(labels_make_a_scheme_of_their_own),
        cmocka_unit_test(named_sources_may_have_the_same_ids_and_patients),
        cmocka_unit_test(split_column_becomes_a_folds_file),
        cmocka_unit_test(centres_are_cropped_to_one_physical_field),
        cmocka_unit_test(cells_are_cut_out_of_fields_decoded_once),
        cmocka_unit_test(a_damaged_field_is_named_once_with_its_cells),
        cmocka_unit_test(real_pictures_are_fields_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
