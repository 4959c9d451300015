/* Warp-wide instructions: tensor-core products, fragment loads, asynchronous copies.
 *
 * Fragment layouts are those of the PTX ISA for mma.m16n8k16: with g = lane / 4, t = lane % 4,
 * A (16x16, rows by k): a[0] = (g, 2t..2t+1), a[1] = (g+8, 2t..), a[2] = (g, 2t+8..), a[3] = (g+8,
 * 2t+8..); B (16x8, k by columns): b[0] = (k 2t..2t+1, column g), b[1] = (k 2t+8.., column g);
 * C (16x8): c[0..1] = (g, 2t..2t+1), c[2..3] = (g+8, 2t..2t+1). Two elements a register, the lower
 * index in the lower half. All 32 lanes must call together. Source: PTX ISA, warp-level matrix
 * instructions. */
#ifndef CF_KERNELS_CUDA_WARP_CUH
#define CF_KERNELS_CUDA_WARP_CUH

#include "kernels/cuda/device.cuh"

#ifdef CF_HOST
#include <cf_host_warp.h> /* the same functions for fibers: tests/cuda/include */
#else

/* c += a b; T is cf_bf16 or cf_f16, products and sums in fp32. */
template <typename T>
__device__ static inline void cf_mma(float c[4], const uint32_t a[4], const uint32_t b[2]);

template <>
__device__ inline void cf_mma<cf_bf16>(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ inline void cf_mma<cf_f16>(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four 8x8 matrices of 16-bit elements: lane l gives the address of row l % 8 of matrix l / 8
 * (16-byte aligned, shared memory); r[i] is matrix i's elements (row lane / 4, columns 2 (lane % 4)
 * and the next). */
__device__ static inline void cf_ldmatrix_x4(uint32_t r[4], const void *row)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at));
}

/* The same with each matrix transposed: r[i] is (row 2 (lane % 4) and the next, column lane / 4).
 */
__device__ static inline void cf_ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at));
}

/* 16 bytes from global to shared memory behind the thread's back; zeros where !valid (`from` must
 * still be a readable address or NULL). */
__device__ static inline void cf_copy_async_16(void *to, const void *from, bool valid)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(at), "l"(from), "r"(bytes)
                 : "memory");
}
/* Closes a group of copies; waits until at most N groups of this thread are under way. */
__device__ static inline void cf_copy_commit()
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}
template <int N> __device__ static inline void cf_copy_wait()
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

#endif

/* Sums over the 32 lanes; every lane gets the result. The order of additions is fixed. */
template <typename T> __device__ static inline T cf_warp_sum(T x)
{
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
    return x;
}

#endif
