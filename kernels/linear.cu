// Linear layer with its activation: y = act(x W^T + b), x [M, K], W [N, K], b [N], y [M, N]. Products as in common/gemm.cuh, and for bf16 and f16 as in
// common/gemm_mma.cuh and common/gemm_wgmma.cuh; forward of a few rows as in common/gemm_skinny.cuh. Bias and activation happen to the sums while they are in
// registers, so that y is written once and never read.
//
//   forward           A = x    [M, K], B = W^T [K, N]
//   backward_input    A = dy   [M, N], B = W   [N, K]      dx = dy W
//   backward_weight   A = dy^T [N, M], B = x   [M, K]      dW = dy^T x
//   backward_bias     sums of columns                      db = sum over rows of dy
#include "common/activation.cuh"
#include "common/column_sums.cuh"
#include "common/gemm_mma.cuh"
#include "common/gemm_skinny.cuh"
#include "common/gemm_wgmma.cuh"

namespace of_linear {
enum { NONE, RELU, GELU };

// bias is null where there is none, before where nobody wants x W^T + b, which GELU's gradient needs.
template <class T> struct Epilogue {
    const T* bias;
    T *before, *y;
    unsigned activation, n;
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum) const {
        const size_t i = (size_t)row * n + column;
        const float v = bias ? sum + to_float(bias[column]) : sum;
        if (before) before[i] = Element<T>::of(v);
        y[i] = Element<T>::of(activation == GELU ? gelu(v) : activation == RELU ? relu(v) : v);
    }
};

template <class T> struct Store {
    T* c;
    unsigned n;
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum) const { c[(size_t)row * n + column] = Element<T>::of(sum); }
};
}  // namespace of_linear
using namespace of_linear;

#define KERNELS(suffix, T)                                                                                                                            \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                                               \
        linear_forward_##suffix(float* partials, const T* x, const T* w, const T* bias, T* before, T* y, Gemm g, unsigned activation) {               \
        gemm<true, true>(                                                                                                                             \
            g, partials, [=](unsigned, unsigned row, unsigned k) { return to_float(x[(size_t)row * g.k + k]); },                                      \
            [=](unsigned, unsigned k, unsigned column) { return to_float(w[(size_t)column * g.k + k]); }, Epilogue<T>{bias, before, y, activation, g.n}); \
    }                                                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                                               \
        linear_forward_sum_##suffix(const float* partials, const T* bias, T* before, T* y, Gemm g, unsigned activation) {                             \
        gemm_sum(g, partials, Epilogue<T>{bias, before, y, activation, g.n});                                                                         \
    }                                                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK) linear_backward_input_##suffix(float* partials, const T* dy, const T* w, T* dx, Gemm g) {      \
        gemm<true, false>(                                                                                                                            \
            g, partials, [=](unsigned, unsigned row, unsigned k) { return to_float(dy[(size_t)row * g.k + k]); },                                     \
            [=](unsigned, unsigned k, unsigned column) { return to_float(w[(size_t)k * g.n + column]); }, Store<T>{dx, g.n});                         \
    }                                                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK) linear_backward_weight_##suffix(float* partials, const T* dy, const T* x, T* dw, Gemm g) {     \
        gemm<false, false>(                                                                                                                           \
            g, partials, [=](unsigned, unsigned row, unsigned k) { return to_float(dy[(size_t)k * g.m + row]); },                                     \
            [=](unsigned, unsigned k, unsigned column) { return to_float(x[(size_t)k * g.n + column]); }, Store<T>{dw, g.n});                         \
    }                                                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK) linear_backward_sum_##suffix(const float* partials, T* c, Gemm g) {                            \
        gemm_sum(g, partials, Store<T>{c, g.n});                                                                                                      \
    }                                                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK) linear_backward_bias_##suffix(float* partials, const T* dy, T* db, Columns columns) {          \
        sum_columns<1>(                                                                                                                               \
            columns, partials, [=](size_t row, unsigned column, float (&sum)[1]) { sum[0] = to_float(dy[row * columns.width + column]); },            \
            [=](size_t, unsigned column, const float (&sum)[1]) { db[column] = Element<T>::of(sum[0]); });                                            \
    }
FOR_EACH_TYPE(KERNELS)

#define SKINNY_KERNEL(suffix, T)                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(BLOCK, of_skinny::Split<T>::BLOCKS)                                                                                               \
        linear_forward_skinny_##suffix(float* partials, const T* x, const T* w, const T* bias, T* before, T* y, Gemm g, unsigned activation) {        \
        gemm_skinny(g, partials, x, w, Epilogue<T>{bias, before, y, activation, g.n});                                                                \
    }
FOR_EACH_TYPE(SKINNY_KERNEL)

#define MMA_KERNELS(tile, suffix, T)                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(2 * tile)                                                                                            \
        linear_forward_mma##tile##_##suffix(float* partials, const T* x, const T* w, const T* bias, T* before, T* y, Gemm g, unsigned activation) {   \
        gemm_mma<tile, true, true>(g, partials, x, w, Epilogue<T>{bias, before, y, activation, g.n});                                                 \
    }                                                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(2 * tile)                                                                                            \
        linear_backward_input_mma##tile##_##suffix(float* partials, const T* dy, const T* w, T* dx, Gemm g) {                                         \
        gemm_mma<tile, true, false>(g, partials, dy, w, Store<T>{dx, g.n});                                                                           \
    }                                                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(2 * tile)                                                                                            \
        linear_backward_weight_mma##tile##_##suffix(float* partials, const T* dy, const T* x, T* dw, Gemm g) {                                        \
        gemm_mma<tile, false, false>(g, partials, dy, x, Store<T>{dw, g.n});                                                                          \
    }
#define MMA_TILES(suffix, T) MMA_KERNELS(64, suffix, T) MMA_KERNELS(128, suffix, T)
FOR_EACH_HALF(MMA_TILES)

#ifdef SM_90A
#define WGMMA_KERNELS(name, wide, together, suffix, T)                                                                                                    \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1)                                                                        \
        linear_forward_##name##_##suffix(float* partials, const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,                       \
                                              const T* bias, T* before, T* y, Gemm g, unsigned activation) {                                              \
        gemm_wgmma<wide, together, T>(g, partials, Matrices<true>{x}, Matrices<true>{w}, Epilogue<T>{bias, before, y, activation, g.n});                  \
    }                                                                                                                                                     \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1)                                                                        \
        linear_backward_input_##name##_##suffix(float* partials, const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap w, T* dx, Gemm g) { \
        gemm_wgmma<wide, together, T>(g, partials, Matrices<true>{dy}, Matrices<false>{w}, Store<T>{dx, g.n});                                            \
    }                                                                                                                                                     \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1)                                                                        \
        linear_backward_weight_##name##_##suffix(float* partials, const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x, T* dw, Gemm g) { \
        gemm_wgmma<wide, together, T>(g, partials, Matrices<false>{dy}, Matrices<false>{x}, Store<T>{dw, g.n});                                           \
    }
#define WGMMA_TILES(suffix, T)                     \
    WGMMA_KERNELS(wgmma128, 128, 1, suffix, T)     \
    WGMMA_KERNELS(wgmma256, 256, 1, suffix, T)     \
    WGMMA_KERNELS(wgmma256x2, 256, 2, suffix, T)
FOR_EACH_HALF(WGMMA_TILES)
#endif
