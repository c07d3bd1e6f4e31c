// Product of two tensors element by element, and of each row with one number.
//
//   mul        y = a b                     da = dy b,  db = dy a: the same kernel, with rows of one element
//   mul_rows   y[i, d] = x[i, d] g[i]      dx[i, d] = dy[i, d] g[i]: the same kernel;  dg[i] = sum over d of dy[i, d] x[i, d]
//
// Reads two elements and writes one, 1 FLOP: bound by memory. y may be either factor, of rows the first.
#include "common/map.cuh"
#include "common/reduce.cuh"

#define KERNELS(suffix, T)                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(BLOCK) mul_forward_##suffix(const T* a, const T* b, T* y, size_t n, unsigned width) {            \
        map(a, y, n, [=](float v, size_t i) { return v * to_float(b[i / width]); });                                                             \
    }                                                                                                                                            \
    extern "C" __global__ void __launch_bounds__(BLOCK) mul_rows_backward_scale_##suffix(const T* dy, const T* x, T* dg, unsigned width) {        \
        const size_t start = (size_t)blockIdx.x * width;                                                                                         \
        float part = 0;                                                                                                                          \
        for (unsigned i = threadIdx.x; i < width; i += BLOCK) part += to_float(dy[start + i]) * to_float(x[start + i]);                          \
        const float sum = block_sum(part);                                                                                                       \
        if (threadIdx.x == 0) dg[blockIdx.x] = Element<T>::of(sum);                                                                              \
    }
FOR_EACH_TYPE(KERNELS)
