// The order of numbers for what looks for the largest: the larger first, among equals the one of the lower index.
//
// Numbers are compared as integers in the same order, by which 0 is -0 and NaN is as small as minus infinity.
#pragma once
#include "common/types.cuh"

#define RANK_OF_ZERO 0x7fffffffu
#define LAST (RANK_OF_ZERO + 0x7f800000u)

// The larger a number, the lower its rank.
__device__ __forceinline__ unsigned rank_of(float x) {
    const unsigned word = __float_as_uint(x), size = word & 0x7fffffffu;
    if (size > 0x7f800000u) return LAST;
    return word >> 31 ? RANK_OF_ZERO + size : RANK_OF_ZERO - size;
}

// A number of a row: its rank above its index. The least comes first.
typedef unsigned long long Entry;
#define NONE (~0ull)

__device__ __forceinline__ Entry entry_of(float x, unsigned index) { return (Entry)rank_of(x) << 32 | index; }

// The least of a block of BLOCK, for all of its threads. All of them come here together, and may come again at once.
__device__ __forceinline__ Entry block_least(Entry e) {
    SHARED(parts, Entry[BLOCK / 32]);
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        const Entry other = __shfl_xor_sync(0xffffffffu, e, bits);
        e = other < e ? other : e;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = e;
    __syncthreads();
    Entry least = parts[0];
#pragma unroll
    for (int warp = 1; warp < BLOCK / 32; warp++) least = parts[warp] < least ? parts[warp] : least;
    return least;
}
