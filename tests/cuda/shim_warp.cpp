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

static void unpack(float out[2], uint32_t pair, float (*widen)(uint16_t))
{
    out[0] = widen((uint16_t)(pair & 0xFFFFu));
    out[1] = widen((uint16_t)(pair >> 16));
}

/* m16n8k16: gathers A [16][16] (rows by k) and B [8][16] (columns by k), adds A B to C. */
static void combine_product(void *const operands[32], float (*widen)(uint16_t))
{
    float a[16][16], b[8][16];
    for (int lane = 0; lane < 32; lane++) {
        const product *p = static_cast<product *>(operands[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++)
            unpack(&a[g + 8 * (i % 2)][2 * t + 8 * (i / 2)], p->a[i], widen);
        for (int i = 0; i < 2; i++) unpack(&b[g][2 * t + 8 * i], p->b[i], widen);
    }
    for (int lane = 0; lane < 32; lane++) {
        const product *p = static_cast<product *>(operands[lane]);
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
            double sum = (double)p->c[i];
            for (int k = 0; k < 16; k++) sum += (double)a[row][k] * (double)b[column][k];
            p->c[i] = (float)sum;
        }
    }
}

void combine_product_bf16(void *const operands[32], uint32_t mask)
{
    (void)mask;
    combine_product(operands, cf_bf16_to_float);
}

void combine_product_f16(void *const operands[32], uint32_t mask)
{
    (void)mask;
    combine_product(operands, cf_f16_to_float);
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
