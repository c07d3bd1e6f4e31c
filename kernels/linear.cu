// Linear layer with its activation: y = act(x W^T + b + residual), x [M, K], W [N, K], b [N], y and residual [M, N]. Products as in common/gemm.cuh, and for bf16 and
// f16 as in common/gemm_mma.cuh and common/gemm_wgmma.cuh; forward of a few rows as in common/gemm_skinny.cuh. All that follows happens to the sums while they are in
// registers, so that y is written once and never read. y, with the residual, and dx are f32 where they are `wide`; dW and db always are.
//
//   forward           A = x    [M, K], B = W^T [K, N]
//   backward_input    A = dy   [M, N], B = W   [N, K]      dx = dy W, times act'(saved) where that is given, [M, K]
//   backward_weight   A = dy^T [N, M], B = x   [M, K]      dW = dy^T x
//   backward_bias     sums of columns                      db = sum over rows of dy
#include "common/activation.cuh"
#include "common/column_sums.cuh"
#include "common/gemm_mma.cuh"
#include "common/gemm_skinny.cuh"
#include "common/gemm_wgmma.cuh"

namespace of_linear {
enum { NONE, RELU, GELU };

// What follows a product: which activation, and whether the result is f32 where its factors are not.
struct Finish {
    unsigned activation, wide;
};

// A tensor of T, or of f32 where it is `wide`.
template <class T> struct Stored {
    void* numbers;
    unsigned wide;
    __device__ __forceinline__ float at(size_t i) const { return wide ? static_cast<const float*>(numbers)[i] : to_float(static_cast<const T*>(numbers)[i]); }
    __device__ __forceinline__ void put(size_t i, float x) const {
        if (wide) {
            static_cast<float*>(numbers)[i] = x;
        } else {
            static_cast<T*>(numbers)[i] = Element<T>::of(x);
        }
    }
};

// bias and residual are null where there are none, before where nobody wants the pre-activation, which GELU's gradient needs.
template <class T> struct Epilogue {
    const T* bias;
    void* residual;
    T* before;
    void* y;
    Finish f;
    unsigned n;
    __device__ __forceinline__ float ahead(unsigned row, unsigned column) const {
        return (bias ? to_float(bias[column]) : 0) + (residual ? Stored<T>{residual, f.wide}.at((size_t)row * n + column) : 0);
    }
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum, float ahead) const {
        const size_t i = (size_t)row * n + column;
        const float v = sum + ahead;
        if (before) before[i] = Element<T>::of(v);
        Stored<T>{y, f.wide}.put(i, f.activation == GELU ? gelu(v) : f.activation == RELU ? relu(v) : v);
    }
};

// saved is what the derivative of the activation that made x is found by: of GELU what it is given, of ReLU what it gives. Null where none did.
template <class T> struct Gradient {
    const T* saved;
    void* dx;
    Finish f;
    unsigned n;
    __device__ __forceinline__ float ahead(unsigned row, unsigned column) const { return saved ? to_float(saved[(size_t)row * n + column]) : 0; }
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum, float saved) const {
        const float factor = f.activation == GELU ? gelu_derivative(saved) : f.activation == RELU ? (saved > 0 ? 1.0f : 0.0f) : 1.0f;
        Stored<T>{dx, f.wide}.put((size_t)row * n + column, sum * factor);
    }
};

// In f32, as the gradients that it is added to.
struct Store {
    float* dw;
    unsigned n;
    __device__ __forceinline__ Nothing ahead(unsigned, unsigned) const { return {}; }
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum, Nothing) const { dw[(size_t)row * n + column] = sum; }
};
}  // namespace of_linear
using namespace of_linear;

#define FORWARD(T) Epilogue<T>{bias, residual, before, y, f, g.n}
#define GRADIENT(T) Gradient<T>{saved, dx, f, g.n}

#define KERNELS(suffix, T)                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                                                        \
        linear_forward_##suffix(float* partials, const T* x, const T* w, const T* bias, void* residual, T* before, void* y, Gemm g, Finish f) {                \
        gemm<true, true>(                                                                                                                                      \
            g, partials, [=](unsigned, unsigned row, unsigned k) { return to_float(x[(size_t)row * g.k + k]); },                                               \
            [=](unsigned, unsigned k, unsigned column) { return to_float(w[(size_t)column * g.k + k]); }, FORWARD(T));                                         \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                                                        \
        linear_forward_sum_##suffix(const float* partials, const T* bias, void* residual, T* before, void* y, Gemm g, Finish f) {                              \
        gemm_sum(g, partials, FORWARD(T));                                                                                                                     \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                                                        \
        linear_backward_input_##suffix(float* partials, const T* dy, const T* w, const T* saved, void* dx, Gemm g, Finish f) {                                 \
        gemm<true, false>(                                                                                                                                     \
            g, partials, [=](unsigned, unsigned row, unsigned k) { return to_float(dy[(size_t)row * g.k + k]); },                                              \
            [=](unsigned, unsigned k, unsigned column) { return to_float(w[(size_t)k * g.n + column]); }, GRADIENT(T));                                        \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                                                        \
        linear_backward_input_sum_##suffix(const float* partials, const T* saved, void* dx, Gemm g, Finish f) {                                                \
        gemm_sum(g, partials, GRADIENT(T));                                                                                                                    \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK) linear_backward_weight_##suffix(float* partials, const T* dy, const T* x, float* dw, Gemm g) {         \
        gemm<false, false>(                                                                                                                                    \
            g, partials, [=](unsigned, unsigned row, unsigned k) { return to_float(dy[(size_t)k * g.m + row]); },                                              \
            [=](unsigned, unsigned k, unsigned column) { return to_float(x[(size_t)k * g.n + column]); }, Store{dw, g.n});                                     \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK) linear_backward_weight_sum_##suffix(const float* partials, float* dw, Gemm g) {                        \
        gemm_sum(g, partials, Store{dw, g.n});                                                                                                                 \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK) linear_backward_bias_##suffix(float* partials, const T* dy, float* db, Columns columns) {              \
        sum_columns<1>(                                                                                                                                        \
            columns, partials, [=](size_t row, unsigned column, float (&sum)[1]) { sum[0] = to_float(dy[row * columns.width + column]); },                     \
            [=](size_t, unsigned column, const float (&sum)[1]) { db[column] = sum[0]; });                                                                     \
    }
FOR_EACH_TYPE(KERNELS)

#define SKINNY_KERNEL(suffix, T)                                                                                                                               \
    extern "C" __global__ void __launch_bounds__(BLOCK, of_skinny::Split<T>::BLOCKS)                                                                           \
        linear_forward_skinny_##suffix(float* partials, const T* x, const T* w, const T* bias, void* residual, T* before, void* y, Gemm g, Finish f) {         \
        gemm_skinny(g, partials, x, w, FORWARD(T));                                                                                                            \
    }
FOR_EACH_TYPE(SKINNY_KERNEL)

#define MMA_KERNELS(tile, suffix, T)                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(2 * tile)                                                                                                     \
        linear_forward_mma##tile##_##suffix(float* partials, const T* x, const T* w, const T* bias, void* residual, T* before, void* y, Gemm g, Finish f) {    \
        gemm_mma<tile, true, true>(g, partials, x, w, FORWARD(T));                                                                                             \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(2 * tile)                                                                                                     \
        linear_backward_input_mma##tile##_##suffix(float* partials, const T* dy, const T* w, const T* saved, void* dx, Gemm g, Finish f) {                     \
        gemm_mma<tile, true, false>(g, partials, dy, w, GRADIENT(T));                                                                                          \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(2 * tile)                                                                                                     \
        linear_backward_weight_mma##tile##_##suffix(float* partials, const T* dy, const T* x, float* dw, Gemm g) {                                             \
        gemm_mma<tile, false, false>(g, partials, dy, x, Store{dw, g.n});                                                                                      \
    }
#define MMA_TILES(suffix, T) MMA_KERNELS(64, suffix, T) MMA_KERNELS(128, suffix, T)
FOR_EACH_HALF(MMA_TILES)

#ifdef SM_90A
#define WGMMA_KERNELS(name, wide, together, suffix, T)                                                                                                         \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1)                                                                             \
        linear_forward_##name##_##suffix(float* partials, const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, const T* bias,             \
                                         void* residual, T* before, void* y, Gemm g, Finish f) {                                                               \
        gemm_wgmma<wide, together, T>(g, partials, Matrices<true>{x}, Matrices<true>{w}, FORWARD(T));                                                          \
    }                                                                                                                                                          \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1)                                                                             \
        linear_backward_input_##name##_##suffix(float* partials, const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap w,                    \
                                                const T* saved, void* dx, Gemm g, Finish f) {                                                                  \
        gemm_wgmma<wide, together, T>(g, partials, Matrices<true>{dy}, Matrices<false>{w}, GRADIENT(T));                                                       \
    }                                                                                                                                                          \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1)                                                                             \
        linear_backward_weight_##name##_##suffix(float* partials, const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x,                   \
                                                 float* dw, Gemm g) {                                                                                          \
        gemm_wgmma<wide, together, T>(g, partials, Matrices<false>{dy}, Matrices<false>{x}, Store{dw, g.n});                                                   \
    }
#define WGMMA_TILES(suffix, T)                                                                                                                                 \
    WGMMA_KERNELS(wgmma128, 128, 1, suffix, T)                                                                                                                 \
    WGMMA_KERNELS(wgmma256, 256, 1, suffix, T)                                                                                                                 \
    WGMMA_KERNELS(wgmma256x2, 256, 2, suffix, T)
FOR_EACH_HALF(WGMMA_TILES)
#endif
