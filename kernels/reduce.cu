// Sum or mean over the first or last dimensions of x, seen as [outer, inner]:
//
//   leading   y[i] = s sum over o of x[o, i]      dx[o, i] = s dy[i]
//   trailing  y[o] = s sum over i of x[o, i]      dx[o, i] = s dy[o]
//
// Leading: sums of columns. Trailing: a block a row. Each number is read once: bound by memory.
#include "common/column_sums.cuh"
#include "common/reduce.cuh"

// A part may be a result of its own: y[part, i].
extern "C" __global__ void __launch_bounds__(BLOCK) reduce_leading_f32(float* partials, const float* x, float* y, Columns columns, float factor) {
    sum_columns<1>(columns, partials, [=](size_t row, unsigned column, float (&sum)[1]) { sum[0] = x[row * columns.width + column]; },
                   [=](size_t part, unsigned column, const float (&sum)[1]) { y[part * columns.width + column] = sum[0] * factor; });
}

extern "C" __global__ void __launch_bounds__(BLOCK) reduce_trailing_f32(const float* x, float* y, size_t inner, float factor) {
    const size_t start = blockIdx.x * inner;
    float part = 0;
    for (size_t i = threadIdx.x; i < inner; i += BLOCK) part += x[start + i];
    const float sum = block_sum(part);
    if (threadIdx.x == 0) y[blockIdx.x] = sum * factor;
}

extern "C" __global__ void __launch_bounds__(BLOCK) reduce_backward_f32(const float* dy, float* dx, size_t n, size_t inner, float factor, unsigned trailing) {
    const size_t i = element();
    if (i < n) dx[i] = dy[trailing ? i / inner : i % inner] * factor;
}
