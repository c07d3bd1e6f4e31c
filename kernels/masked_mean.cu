// Mean over the positions that count: y[b, d] = sum over l of m[b, l] x[b, l, d] / n_b, n_b = sum over l of m[b, l]; dx[b, l, d] = m[b, l] dy[b, d] / n_b.
//
// Forward: sums of columns of each b, which count as they go; what does not count is not read. 4 bytes an element that counts. Backward: a block takes eight
// positions of a b, so that counting the mask and reading dy are paid once for eight rows that are written. Both bound by memory.
#include "common/column_sums.cuh"
#include "common/reduce.cuh"

// Positions of a block: the host's.
#define POSITIONS 8

extern "C" __global__ void __launch_bounds__(BLOCK) masked_mean_forward_f32(const float* x, const int* mask, float* y, Columns columns) {
    sum_columns<2>(
        columns, nullptr,
        [=](size_t row, unsigned column, float (&sum)[2]) {
            const bool counts = mask[row] != 0;
            sum[0] = counts ? x[row * columns.width + column] : 0;
            sum[1] = counts;
        },
        [=](size_t part, unsigned column, const float (&sum)[2]) { y[part * columns.width + column] = sum[1] == 0 ? 0 : sum[0] / sum[1]; });
}

extern "C" __global__ void __launch_bounds__(BLOCK) masked_mean_backward_f32(const float* dy, const int* mask, float* dx, unsigned length, unsigned width) {
    const unsigned strips = (length + POSITIONS - 1) / POSITIONS;
    const size_t b = blockIdx.x / strips;
    const unsigned first = blockIdx.x % strips * POSITIONS;
    float counted = 0;
    for (unsigned l = threadIdx.x; l < length; l += BLOCK) counted += mask[b * length + l] != 0;
    const float n = block_sum(counted), factor = n == 0 ? 0 : 1 / n;
    for (unsigned column = threadIdx.x; column < width; column += BLOCK) {
        const float d = dy[b * width + column] * factor;
        for (unsigned l = first; l < min(first + POSITIONS, length); l++) dx[(b * length + l) * width + column] = mask[b * length + l] != 0 ? d : 0;
    }
}
