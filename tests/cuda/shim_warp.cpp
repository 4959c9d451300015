/* What the lanes of a warp compute together: shuffles, votes, tensor-core products, fragment loads.
 * Layouts: kernels/cuda/warp.cuh. Read first: combine_product. */
#include <cuda_runtime.h>

#include <cf_host_warp.h>

namespace cf_host {

void combine_sync(void *const operands[32], uint32_t mask)
{
    (void)operands;
    (void)mask;
}

/* A source outside of the mask is undefined on the device: here all bits are set. */
void combine_shuffle(void *const operands[32], uint32_t mask)
{
    uint64_t bits[32];
    for (int lane = 0; lane < 32; lane++)
        bits[lane] = mask >> lane & 1u ? static_cast<shuffle *>(operands[lane])->bits : UINT64_MAX;
    for (int lane = 0; lane < 32; lane++) {
        if ((mask >> lane & 1u) == 0) continue;
        shuffle *s = static_cast<shuffle *>(operands[lane]);
        s->bits = bits[s->source];
    }
}

void combine_ballot(void *const operands[32], uint32_t mask)
{
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1u) votes |= *static_cast<unsigned *>(operands[lane]) << lane;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1u) *static_cast<unsigned *>(operands[lane]) = votes;
}

static double widen_bf16(uint32_t bits)
{
    return (double)cf_bf16_to_float((uint16_t)bits);
}

static double widen_f16(uint32_t bits)
{
    return (double)cf_f16_to_float((uint16_t)bits);
}

typedef double row_of_8 __attribute__((vector_size(64)));

/* m16n8k16 of all lanes: A [16][16] (rows by k), B [16][8] (k by columns), C [16][8]. */
struct tiles {
    double a[16][16];
    row_of_8 b[16], c[16];
};

template <double widen(uint32_t)> static void gather(tiles &t, void *const operands[32])
{
    for (int lane = 0; lane < 32; lane++) {
        const product *p = static_cast<product *>(operands[lane]);
        int g = lane / 4, pair = 2 * (lane % 4);
        for (int i = 0; i < 4; i++) {
            double *at = &t.a[g + 8 * (i % 2)][pair + 8 * (i / 2)];
            at[0] = widen(p->a[i] & 0xFFFFu);
            at[1] = widen(p->a[i] >> 16);
            t.c[g + 8 * (i / 2)][pair + i % 2] = (double)p->c[i];
        }
        for (int i = 0; i < 2; i++) {
            t.b[pair + 8 * i][g] = widen(p->b[i] & 0xFFFFu);
            t.b[pair + 8 * i + 1][g] = widen(p->b[i] >> 16);
        }
    }
}

/* Adds A B to C. */
template <double widen(uint32_t)> static void combine_product(void *const operands[32])
{
    tiles t;
    gather<widen>(t, operands);
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < 16; k++) t.c[row] += t.a[row][k] * t.b[k];
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++)
            static_cast<product *>(operands[lane])->c[i] =
                (float)t.c[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
}

void combine_product_bf16(void *const operands[32], uint32_t mask)
{
    (void)mask;
    combine_product<widen_bf16>(operands);
}

void combine_product_f16(void *const operands[32], uint32_t mask)
{
    (void)mask;
    combine_product<widen_f16>(operands);
}

/* Lane l brought row l % 8 of matrix l / 8. */
static void combine_loads(void *const operands[32], bool trans)
{
    uint16_t m[32][8];
    for (int lane = 0; lane < 32; lane++)
        std::memcpy(m[lane], static_cast<matrix_rows *>(operands[lane])->row, sizeof m[lane]);
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, t = 2 * (lane % 4);
        for (int i = 0; i < 4; i++) {
            uint32_t low = trans ? m[8 * i + t][g] : m[8 * i + g][t];
            uint32_t high = trans ? m[8 * i + t + 1][g] : m[8 * i + g][t + 1];
            static_cast<matrix_rows *>(operands[lane])->r[i] = low | high << 16;
        }
    }
}

void combine_rows(void *const operands[32], uint32_t mask)
{
    (void)mask;
    combine_loads(operands, false);
}

void combine_rows_trans(void *const operands[32], uint32_t mask)
{
    (void)mask;
    combine_loads(operands, true);
}

void load_rows(uint32_t r[4], const void *row, bool trans)
{
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
        fault("ldmatrix of a row at %p, not aligned to 16 bytes", row);
    matrix_rows rows = {r, row};
    meet(trans ? "ldmatrix.trans" : "ldmatrix", 0xFFFFFFFFu, &rows,
         trans ? combine_rows_trans : combine_rows);
}

} // namespace cf_host
