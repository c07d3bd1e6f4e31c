// A sum in which one tensor is repeated: y = x + r, where r's extents are the last extents of x. y may be x. The gradient of r is a sum of columns.
//
// Reads and writes an element; r stays in the cache: bound by memory.
#include "common/column_sums.cuh"
#include "common/map.cuh"

#define KERNELS(suffix, T)                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK) broadcast_add_forward_##suffix(const T* x, const T* r, T* y, size_t n, unsigned inner) {     \
        map(x, y, n, [=](float v, size_t i) { return v + to_float(r[i % inner]); });                                                                \
    }                                                                                                                                               \
    extern "C" __global__ void __launch_bounds__(BLOCK) broadcast_add_backward_##suffix(float* partials, const T* dy, T* dr, Columns columns) {      \
        sum_columns<1>(columns, partials, [=](size_t row, unsigned column, float (&sum)[1]) { sum[0] = to_float(dy[row * columns.width + column]); }, \
                       [=](size_t, unsigned column, const float (&sum)[1]) { dr[column] = Element<T>::of(sum[0]); });                               \
    }
FOR_EACH_TYPE(KERNELS)
