// Cross-entropy of rows of logits x [R, V], the mean over the rows whose label counts, or their sum over a denominator; s is the label smoothing:
//
//   top  = max x,  log_sum = ln(sum of e^(x - top))                         saved, apart: a loss near 0 is their difference
//   loss = 1/n sum over rows of (1 - s) (top - x_label + log_sum) + s (mean of (top - x) + log_sum)
//   dx_c = (e^(x_c - top - log_sum) - s / V - (1 - s) [c = label]) dloss / n
//
// A row is cut into parts of PART logits, a block each, so that few rows fill a GPU too. It holds its logits in registers, EACH a thread, and so reads them
// once, all of them before it waits for the first. Forward, a second launch joins the parts, a thread a row, and sums the rows of each block; a third of one block
// sums the blocks. Backward, dx may be x: a logit is overwritten by its gradient.
// 4 bytes a logit forward, 8 backward: bound by memory.
#include "common/reduce.cuh"

// Logits of a block, the host's, and of a thread.
#define PART 4096u
#define EACH (PART / BLOCK)
#define LOWEST -3.40282347e38f

namespace of_cross_entropy {
// Of some logits of a row.
struct Part {
    // Finite, so that logits of minus infinity alone are no NaN beside others.
    float top;
    // Of e^(x - top).
    float sum;
    // Sum of top - x: small numbers where the logits are large.
    float below;
};

// Numbers of the parts, of each the rows beside each other.
struct Parts {
    float* numbers;
    unsigned rows, parts;

    __device__ __forceinline__ float& at(unsigned number, unsigned part, unsigned row) const { return numbers[((size_t)number * parts + part) * rows + row]; }
};

__device__ __forceinline__ Part joined(const Parts& parts, unsigned row, unsigned width) {
    Part all = {LOWEST, 0, 0};
    for (unsigned p = 0; p < parts.parts; p++) all.top = larger(all.top, parts.at(0, p, row));
    for (unsigned p = 0; p < parts.parts; p++) {
        const float top = parts.at(0, p, row);
        all.sum += parts.at(1, p, row) * expf(top - all.top);
        all.below += parts.at(2, p, row) + min(PART, width - p * PART) * (all.top - top);
    }
    return all;
}

// A thread's logits of a part, the first of them `first`. What is beyond the row is left alone.
__device__ __forceinline__ void keep(const float* logits, unsigned first, unsigned width, float (&kept)[EACH]) {
#pragma unroll
    for (unsigned k = 0; k < EACH; k++)
        if (first + k * BLOCK < width) kept[k] = logits[first + k * BLOCK];
}

__device__ __forceinline__ bool is_class(int label, unsigned width) { return label >= 0 && (unsigned)label < width; }

// 1 / n, or 0 where n is. All threads of the block come here.
__device__ __forceinline__ float share(const int* labels, const float* denominator, unsigned rows, int ignored) {
    float counted = 0;
    for (unsigned row = threadIdx.x; row < rows; row += BLOCK) counted += labels[row] != ignored;
    counted = block_sum(counted);
    const float n = denominator ? denominator[0] : counted;
    return n == 0 ? 0 : 1 / n;
}
}  // namespace of_cross_entropy
using namespace of_cross_entropy;

// A block a part.
extern "C" __global__ void __launch_bounds__(BLOCK) cross_entropy_parts_f32(const float* x, float* numbers, unsigned rows, unsigned width, unsigned parts) {
    const unsigned row = blockIdx.x / parts, part = blockIdx.x % parts, first = part * PART + threadIdx.x;
    float kept[EACH];
    keep(x + (size_t)row * width, first, width, kept);
    float top = LOWEST;
#pragma unroll
    for (unsigned k = 0; k < EACH; k++)
        if (first + k * BLOCK < width) top = larger(top, kept[k]);
    top = block_max(top);
    float sum = 0, below = 0;
#pragma unroll
    for (unsigned k = 0; k < EACH; k++) {
        if (first + k * BLOCK < width) {
            sum += expf(kept[k] - top);
            below += top - kept[k];
        }
    }
    sum = block_sum(sum);
    below = block_sum(below);
    if (threadIdx.x != 0) return;
    const Parts to = {numbers, rows, parts};
    to.at(0, part, row) = top;
    to.at(1, part, row) = sum;
    to.at(2, part, row) = below;
}

// A thread a row; saved is null where nobody wants it. sums gets one of each block.
extern "C" __global__ void __launch_bounds__(BLOCK)
    cross_entropy_rows_f32(const float* x, float* numbers, const int* labels, float* sums, float* saved, unsigned rows, unsigned width, unsigned parts, int ignored,
                           float smoothing) {
    const unsigned row = (unsigned)element();
    float loss = 0;
    if (row < rows) {
        const Part all = joined({numbers, rows, parts}, row, width);
        const float log_sum = logf(all.sum);
        if (saved) {
            saved[2 * (size_t)row] = all.top;
            saved[2 * (size_t)row + 1] = log_sum;
        }
        const int label = labels[row];
        if (label != ignored) {
            loss = is_class(label, width) ? (1 - smoothing) * (all.top - x[(size_t)row * width + label] + log_sum) : NAN;
            if (smoothing > 0) loss += smoothing * (all.below / width + log_sum);
        }
    }
    loss = block_sum(loss);
    if (threadIdx.x == 0) sums[blockIdx.x] = loss;
}

// One block. denominator is null where the rows that count are counted.
extern "C" __global__ void __launch_bounds__(BLOCK)
    cross_entropy_forward_f32(const float* sums, const int* labels, const float* denominator, float* loss, unsigned rows, int ignored) {
    float part = 0;
    for (unsigned i = threadIdx.x; i < (rows + BLOCK - 1) / BLOCK; i += BLOCK) part += sums[i];
    const float sum = block_sum(part), over_n = share(labels, denominator, rows, ignored);
    if (threadIdx.x == 0) loss[0] = sum * over_n;
}

// One block: dloss / n.
extern "C" __global__ void __launch_bounds__(BLOCK)
    cross_entropy_backward_scale_f32(const float* dloss, float* scale, const int* labels, const float* denominator, unsigned rows, int ignored) {
    const float over_n = share(labels, denominator, rows, ignored);
    if (threadIdx.x == 0) scale[0] = dloss[0] * over_n;
}

// A block a part.
extern "C" __global__ void __launch_bounds__(BLOCK)
    cross_entropy_backward_f32(const float* x, const float* scale, const int* labels, const float* saved, float* dx, unsigned width, unsigned parts, int ignored,
                               float smoothing) {
    const unsigned row = blockIdx.x / parts, first = blockIdx.x % parts * PART + threadIdx.x;
    const size_t start = (size_t)row * width;
    const int label = labels[row];
    const float top = saved[2 * (size_t)row], log_sum = saved[2 * (size_t)row + 1], even = smoothing / width;
    const float factor = is_class(label, width) ? scale[0] : NAN;
    float kept[EACH];
    keep(x + start, first, width, kept);
#pragma unroll
    for (unsigned k = 0; k < EACH; k++) {
        const unsigned i = first + k * BLOCK;
        if (i >= width) break;
        const float target = even + (i == (unsigned)label ? 1 - smoothing : 0);
        dx[start + i] = label == ignored ? 0 : (expf(kept[k] - top - log_sum) - target) * factor;
    }
}
