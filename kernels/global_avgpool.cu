// Mean over a picture: y[b, c] = mean over pixels of x[b, pixel, c]; dx = dy / pixels at each pixel.
//
// Forward: sums of columns, each picture a part of its own. 4 bytes an element: bound by memory.
#include "common/column_sums.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK) global_avgpool_forward_f32(const float* x, float* y, Columns columns) {
    sum_columns<1>(columns, nullptr, [=](size_t row, unsigned column, float (&sum)[1]) { sum[0] = x[row * columns.width + column]; },
                   [=](size_t part, unsigned column, const float (&sum)[1]) { y[part * columns.width + column] = sum[0] / columns.span; });
}

extern "C" __global__ void __launch_bounds__(BLOCK) global_avgpool_backward_f32(const float* dy, float* dx, size_t n, unsigned pixels, unsigned channels) {
    const size_t i = element();
    if (i < n) dx[i] = dy[i / channels / pixels * channels + i % channels] / pixels;
}
