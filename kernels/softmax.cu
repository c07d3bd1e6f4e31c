// Softmax over the last dimension: y_i = e^(x_i - max x) / sum of e^(x_j - max x); dx = y (dy - sum of dy y).
//
// A block a row; its threads take the row's elements in turn, so that a warp reads whole cache lines. Forward goes over x three times, twice of them
// through the cache, and writes y: 8 bytes an element at best, 12 in the backward pass. Bound by memory. y may be x, and dx dy.
#include "common/overlap.cuh"
#include "common/softmax.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK) softmax_forward_f32(const float* x, float* y, unsigned width) {
    launch_wait(), launch_next();
    const size_t start = (size_t)blockIdx.x * width;
    const Row row = largest_and_sum(x + start, width);
    const float scale = 1 / row.sum;
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) y[start + i] = expf(x[start + i] - row.top) * scale;
}

extern "C" __global__ void __launch_bounds__(BLOCK) softmax_backward_f32(const float* dy, const float* y, float* dx, unsigned width) {
    launch_wait(), launch_next();
    const size_t start = (size_t)blockIdx.x * width;
    float part = 0;
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) part += dy[start + i] * y[start + i];
    const float whole = block_sum(part);
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) dx[start + i] = y[start + i] * (dy[start + i] - whole);
}
