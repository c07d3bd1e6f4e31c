// PTX that CUDA has no word for, a function for each instruction; on the CPU the emulator's. All of it is in PTX 7.0, for sm_80 and up.
#pragma once
#include "common/types.cuh"

// What cp.async copies at once, and what ldmatrix takes as a row.
struct alignas(16) Chunk {
    unsigned short at[8];
};

// cp.async: begins to copy `size` of `bytes` (4, 8 or 16) to shared memory, and fills the rest with zeros. Both ends are aligned to `bytes`. With 16 it goes past
// the L1 cache. Nobody may touch the bytes before this thread has waited, and others only behind a barrier that follows.
template <int bytes> __device__ __forceinline__ void cp_async(void* to, const void* from, unsigned size = bytes) {
    static_assert(bytes == 4 || bytes == 8 || bytes == 16);
#ifdef CUDA_ON_CPU
    sim::copy_async(to, from, bytes, size);
#else
    const unsigned at = (unsigned)__cvta_generic_to_shared(to);
    if constexpr (bytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(size) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(bytes), "r"(size) : "memory");
    }
#endif
}

// Makes a group of what the thread began to copy since its last one; it may be empty.
__device__ __forceinline__ void cp_async_commit() {
#ifdef CUDA_ON_CPU
    sim::commit_copies();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until no more than the `left` latest groups of this thread are under way.
template <int left> __device__ __forceinline__ void cp_async_wait() {
#ifdef CUDA_ON_CPU
    sim::wait_copies(left);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#endif
}

// ldmatrix: `count` (1, 2 or 4) matrices of 8 x 8 numbers of 16 bits from shared memory, by a whole warp. Lane 8 i + r says where row r of matrix i begins, at
// a multiple of 16 bytes. Register i of lane l gets row l / 4 of matrix i, columns l % 4 * 2 and the next; `transposed`, column l / 4, rows l % 4 * 2 and the next.
template <int count, bool transposed> __device__ __forceinline__ void ldmatrix(unsigned (&r)[count], const void* row) {
    static_assert(count == 1 || count == 2 || count == 4);
#ifdef CUDA_ON_CPU
    sim::load_matrices(r, count, transposed, row);
#else
    const unsigned at = (unsigned)__cvta_generic_to_shared(row);
#define LDMATRIX(kind, list, address, ...) asm volatile("ldmatrix.sync.aligned.m8n8." kind ".shared.b16 {" list "}, [" address "];" : __VA_ARGS__ : "r"(at) : "memory")
    if constexpr (count == 1 && !transposed) LDMATRIX("x1", "%0", "%1", "=r"(r[0]));
    if constexpr (count == 1 && transposed) LDMATRIX("x1.trans", "%0", "%1", "=r"(r[0]));
    if constexpr (count == 2 && !transposed) LDMATRIX("x2", "%0, %1", "%2", "=r"(r[0]), "=r"(r[1]));
    if constexpr (count == 2 && transposed) LDMATRIX("x2.trans", "%0, %1", "%2", "=r"(r[0]), "=r"(r[1]));
    if constexpr (count == 4 && !transposed) LDMATRIX("x4", "%0, %1, %2, %3", "%4", "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]));
    if constexpr (count == 4 && transposed) LDMATRIX("x4.trans", "%0, %1, %2, %3", "%4", "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]));
#undef LDMATRIX
#endif
}

// mma.m16n8k16 of T, bf16 or f16: d += a b for a of 16 x 16, b of 16 x 8, by a whole warp. With row = lane / 4 and two = lane % 4 * 2, the lane has
//   a   a(row, two), a(row + 8, two), a(row, two + 8), a(row + 8, two + 8), each with the column behind it in the upper half
//   b   b(two, row), b(two + 8, row), each with the row below it in the upper half
//   d   d(row, two), d(row, two + 1), d(row + 8, two), d(row + 8, two + 1)
template <class T> __device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
#ifdef CUDA_ON_CPU
#define MMA(half, name) sim::multiply(sim::Half::half, d, a, b)
#else
#define MMA(half, name)                                                                                                                            \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." name "." name ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                 \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                                                              \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#endif
template <> __device__ __forceinline__ void mma_m16n8k16<bf16>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { MMA(BF16, "bf16"); }
template <> __device__ __forceinline__ void mma_m16n8k16<f16>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { MMA(F16, "f16"); }
#undef MMA

// cvt.rn.*x2: two numbers as T, bf16 or f16, the first in the lower half.
template <class T> __device__ __forceinline__ unsigned pack(float low, float high);
#ifdef CUDA_ON_CPU
#define PACK(T, name) return Element<T>::of(low).bits | (unsigned)Element<T>::of(high).bits << 16
#else
#define PACK(T, name)                                                            \
    unsigned both;                                                               \
    asm("cvt.rn." name "x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low)); \
    return both
#endif
template <> __device__ __forceinline__ unsigned pack<bf16>(float low, float high) { PACK(bf16, "bf16"); }
template <> __device__ __forceinline__ unsigned pack<f16>(float low, float high) { PACK(f16, "f16"); }
#undef PACK
