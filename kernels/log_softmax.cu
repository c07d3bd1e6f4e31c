// Logarithm of the softmax over the last dimension: y_i = x_i - max x - ln(sum of e^(x_j - max x)); dx = dy - e^y sum of dy.
//
// A block a row, as in softmax.cu: 8 bytes an element at best, 12 in the backward pass. Bound by memory. y may be x, and dx dy.
#include "common/overlap.cuh"
#include "common/softmax.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK) log_softmax_forward_f32(const float* x, float* y, unsigned width) {
    launch_wait(), launch_next();
    const size_t start = (size_t)blockIdx.x * width;
    const Row row = largest_and_sum(x + start, width);
    // Taken off one after the other: the difference of a small number and the logarithm keeps its digits.
    const float log_of_sum = logf(row.sum);
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) y[start + i] = (x[start + i] - row.top) - log_of_sum;
}

extern "C" __global__ void __launch_bounds__(BLOCK) log_softmax_backward_f32(const float* dy, const float* y, float* dx, unsigned width) {
    launch_wait(), launch_next();
    const size_t start = (size_t)blockIdx.x * width;
    float part = 0;
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) part += dy[start + i];
    const float whole = block_sum(part);
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) dx[start + i] = dy[start + i] - expf(y[start + i]) * whole;
}
