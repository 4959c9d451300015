#include "proto/file_kind.h"

#include <stdbool.h>
#include <string.h>

static bool begins(const uint8_t *bytes, size_t n, const char *magic, size_t n_magic)
{
    return n >= n_magic && memcmp(bytes, magic, n_magic) == 0;
}

#define BEGINS(bytes, n, magic) begins(bytes, n, magic, sizeof(magic) - 1)

/* A ModelProto begins with its field 1, the version of the format as a small number; any other of
 * its fields, whose numbers are 2 to 25, may follow. */
static bool is_onnx(const uint8_t *bytes, size_t n)
{
    return n >= 3 && bytes[0] == 0x08 && bytes[1] >= 3 && bytes[1] < 32 && bytes[2] >= 0x10 &&
           (bytes[2] & 7) <= 2;
}

/* The name of a zip archive's first file; *length 0 where there is none. */
static const char *first_member(const uint8_t *bytes, size_t n, size_t *length)
{
    enum { NAME_LENGTH = 26, NAME = 30 };
    *length = 0;
    if (!BEGINS(bytes, n, "PK\3\4") || n < NAME) return "";
    size_t said = (size_t)bytes[NAME_LENGTH] | (size_t)bytes[NAME_LENGTH + 1] << 8;
    *length = said < n - NAME ? said : n - NAME;
    return (const char *)bytes + NAME;
}

static bool member_ends(const uint8_t *bytes, size_t n, const char *end)
{
    size_t length = 0, m = strlen(end);
    const char *name = first_member(bytes, n, &length);
    return length >= m && memcmp(name + length - m, end, m) == 0;
}

/* torch.save writes NAME/data.pkl first, before 1.6 a pickle whose first object is a long number.
 */
static bool is_pytorch(const uint8_t *bytes, size_t n)
{
    return member_ends(bytes, n, ".pkl") || BEGINS(bytes, n, "\x80\x02\x8a\x0a");
}

static bool is_keras(const uint8_t *bytes, size_t n)
{
    return member_ends(bytes, n, "metadata.json") || member_ends(bytes, n, "config.json");
}

static bool is_hdf5(const uint8_t *bytes, size_t n)
{
    return BEGINS(bytes, n, "\x89HDF\r\n\x1a\n");
}

static bool is_numpy(const uint8_t *bytes, size_t n)
{
    return BEGINS(bytes, n, "\x93NUMPY") || member_ends(bytes, n, ".npy");
}

static bool is_pickle(const uint8_t *bytes, size_t n)
{
    return n >= 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5;
}

static bool is_zip(const uint8_t *bytes, size_t n)
{
    return BEGINS(bytes, n, "PK\3\4");
}

static bool is_checkpoint(const uint8_t *bytes, size_t n)
{
    return BEGINS(bytes, n, "CYTOCKPT");
}

static bool is_cells(const uint8_t *bytes, size_t n)
{
    return BEGINS(bytes, n, "CYTOCELL");
}

#define BY_SAVE_FILE                                                                               \
    "load its weights in the program that made it and save them with "                             \
    "safetensors.torch.save_file (or safetensors.numpy's) under torchvision's names"

const cf_file_kind *cf_file_kind_find(const uint8_t *bytes, size_t n)
{
    /* The first that fits: a PyTorch file is a zip archive or a pickle, too. */
    static const struct {
        bool (*is)(const uint8_t *bytes, size_t n);
        cf_file_kind kind;
    } rows[] = {
        {is_onnx, {"an ONNX file", BY_SAVE_FILE}},
        {is_pytorch,
         {"a PyTorch file",
          "save it with safetensors.torch.save_file(model.state_dict(), \"FILE.safetensors\")"}},
        {is_keras, {"a Keras file", BY_SAVE_FILE}},
        {is_hdf5, {"an HDF5 file, as Keras writes them", BY_SAVE_FILE}},
        {is_numpy, {"a NumPy file", "save its arrays with safetensors.numpy.save_file"}},
        {is_pickle, {"a Python pickle", BY_SAVE_FILE}},
        {is_zip, {"a zip archive", NULL}},
        {is_checkpoint,
         {"a checkpoint of cytofold", "`cytofold export RUN --fold K` writes its run's weights"}},
        {is_cells, {"a cells file of cytofold", NULL}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].is(bytes, n)) return &rows[i].kind;
    return NULL;
}
