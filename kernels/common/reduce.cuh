// Reductions over a warp and over a block, in an order that depends on the block's size alone.
#pragma once
#include "common/types.cuh"

// NaN where there is one: fmaxf passes it over.
__device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }

// What all threads of a block of BLOCK have, joined two by two, for all of them. They come here together, and may come again at once.
template <class T, class Join> __device__ __forceinline__ T block_joined(T x, Join join) {
    SHARED(parts, T[BLOCK / 32]);
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) x = join(x, __shfl_xor_sync(0xffffffffu, x, bits));
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = parts[0];
#pragma unroll
    for (int warp = 1; warp < BLOCK / 32; warp++) x = join(x, parts[warp]);
    return x;
}

__device__ __forceinline__ float block_sum(float x) {
    return block_joined(x, [](float a, float b) { return a + b; });
}

__device__ __forceinline__ float block_max(float x) {
    return block_joined(x, [](float a, float b) { return larger(a, b); });
}
