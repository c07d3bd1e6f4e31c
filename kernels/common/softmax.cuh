// What softmax and its logarithm have in common.
#pragma once
#include "common/reduce.cuh"

// Of a row: the largest number, and the sum of e^(x - the largest).
struct Row {
    float top, sum;
};

// Reads the row twice, the second time from the cache.
__device__ __forceinline__ Row largest_and_sum(const float* x, unsigned width) {
    float top = -INFINITY;
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) top = larger(top, x[i]);
    top = block_max(top);
    float part = 0;
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) part += expf(x[i] - top);
    return {top, block_sum(part)};
}
