// Reductions over a warp and over a block, in an order that depends on the block's size alone.
#pragma once
#include "common/types.cuh"

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) x += __shfl_xor_sync(0xffffffffu, x, bits);
    return x;
}

// NaN where there is one: fmaxf passes it over.
__device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) x = larger(x, __shfl_xor_sync(0xffffffffu, x, bits));
    return x;
}

// For all threads of a block of BLOCK. All of them come here together, and may come again at once.
__device__ __forceinline__ float block_sum(float x) {
    SHARED(parts, float[BLOCK / 32]);
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < BLOCK / 32; warp++) sum += parts[warp];
    return sum;
}

__device__ __forceinline__ float block_max(float x) {
    SHARED(parts, float[BLOCK / 32]);
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    float top = parts[0];
#pragma unroll
    for (int warp = 1; warp < BLOCK / 32; warp++) top = larger(top, parts[warp]);
    return top;
}
