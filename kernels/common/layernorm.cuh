// The forward pass of layer normalisation: y = (x - mean) rstd w + b, rstd = 1 / sqrt(var + eps).
//
// A block a row. Each thread keeps its elements in registers where the row has no more than KEPT for each: x is then read once. The variance is that of the
// differences from the mean, which does not cancel.
#pragma once
#include "common/reduce.cuh"

#define KEPT 8

// take(i) gives element i of what is normalised, and may be called again; put(i, y) takes it. mean and rstd are null where nobody wants them.
template <class Take, class Put>
__device__ __forceinline__ void normalize(Take take, Put put, const float* w, const float* b, float* mean_out, float* rstd_out, unsigned width, float eps) {
    const size_t start = (size_t)blockIdx.x * width;
    const bool keeps = width <= KEPT * BLOCK;
    float kept[KEPT] = {};
    float part = 0;
    if (keeps) {
#pragma unroll
        for (unsigned k = 0; k < KEPT; k++) {
            const unsigned i = k * BLOCK + threadIdx.x;
            if (i < width) kept[k] = take(start + i);
            part += kept[k];
        }
    } else {
        for (unsigned i = threadIdx.x; i < width; i += BLOCK) part += take(start + i);
    }
    const float mean = block_sum(part) / width;
    part = 0;
    if (keeps) {
#pragma unroll
        for (unsigned k = 0; k < KEPT; k++)
            if (k * BLOCK + threadIdx.x < width) part += (kept[k] - mean) * (kept[k] - mean);
    } else {
        for (unsigned i = threadIdx.x; i < width; i += BLOCK) {
            const float d = take(start + i) - mean;
            part += d * d;
        }
    }
    const float rstd = 1 / sqrtf(block_sum(part) / width + eps);
    if (keeps) {
#pragma unroll
        for (unsigned k = 0; k < KEPT; k++) {
            const unsigned i = k * BLOCK + threadIdx.x;
            if (i < width) put(start + i, (kept[k] - mean) * rstd * w[i] + b[i]);
        }
    } else {
        for (unsigned i = threadIdx.x; i < width; i += BLOCK) put(start + i, (take(start + i) - mean) * rstd * w[i] + b[i]);
    }
    if (threadIdx.x == 0) {
        if (mean_out) mean_out[blockIdx.x] = mean;
        if (rstd_out) rstd_out[blockIdx.x] = rstd;
    }
}
