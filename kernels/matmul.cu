// Batched matrix product: C[i] = A[i] B[i], each factor stored as it is read (n) or transposed (t). See common/gemm.cuh, and for bf16 and f16
// common/gemm_mma.cuh and common/gemm_wgmma.cuh, and for a few rows and a transposed B common/gemm_skinny.cuh.
#include "common/gemm_mma.cuh"
#include "common/gemm_skinny.cuh"
#include "common/gemm_wgmma.cuh"

namespace of_matmul {
template <class T> struct Store {
    T* c;
    unsigned m, n;
    __device__ __forceinline__ Nothing ahead(unsigned, unsigned) const { return {}; }
    __device__ __forceinline__ void operator()(unsigned batch, unsigned row, unsigned column, float sum, Nothing) const {
        c[((size_t)batch * m + row) * n + column] = Element<T>::of(sum);
    }
};

template <bool transpose_a, bool transpose_b, class T> __device__ __forceinline__ void product(float* partials, const T* a, const T* b, T* c, const Gemm& g) {
    gemm<!transpose_a, transpose_b>(
        g, partials,
        [=](unsigned batch, unsigned row, unsigned k) {
            const T* of = a + (size_t)batch * g.m * g.k;
            return to_float(transpose_a ? of[(size_t)k * g.m + row] : of[(size_t)row * g.k + k]);
        },
        [=](unsigned batch, unsigned k, unsigned column) {
            const T* of = b + (size_t)batch * g.n * g.k;
            return to_float(transpose_b ? of[(size_t)column * g.k + k] : of[(size_t)k * g.n + column]);
        },
        Store<T>{c, g.m, g.n});
}
}  // namespace of_matmul
using namespace of_matmul;

#define WAY(name, suffix, T, transpose_a, transpose_b)                                                                                               \
    extern "C" __global__ void __launch_bounds__(BLOCK) matmul_forward_##name##_##suffix(float* partials, const T* a, const T* b, T* c, Gemm g) {      \
        product<transpose_a, transpose_b>(partials, a, b, c, g);                                                                                      \
    }
#define KERNELS(suffix, T)                                                                                                     \
    WAY(nn, suffix, T, false, false)                                                                                           \
    WAY(nt, suffix, T, false, true)                                                                                            \
    WAY(tn, suffix, T, true, false)                                                                                            \
    WAY(tt, suffix, T, true, true)                                                                                             \
    extern "C" __global__ void __launch_bounds__(BLOCK) matmul_forward_sum_##suffix(const float* partials, T* c, Gemm g) {      \
        gemm_sum(g, partials, Store<T>{c, g.m, g.n});                                                                          \
    }
FOR_EACH_TYPE(KERNELS)

#define SKINNY_KERNEL(suffix, T)                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(BLOCK, of_skinny::Split<T>::BLOCKS)                                                                                               \
        matmul_forward_nt_skinny_##suffix(float* partials, const T* a, const T* b, T* c, Gemm g) {                                                    \
        gemm_skinny(g, partials, a, b, Store<T>{c, g.m, g.n});                                                                                        \
    }
FOR_EACH_TYPE(SKINNY_KERNEL)

#define MMA_WAY(name, tile, suffix, T, transpose_a, transpose_b)                                                                                      \
    extern "C" __global__ void __launch_bounds__(2 * tile)                                                                                            \
        matmul_forward_##name##_mma##tile##_##suffix(float* partials, const T* a, const T* b, T* c, Gemm g) {                                         \
        gemm_mma<tile, !transpose_a, transpose_b>(g, partials, a, b, Store<T>{c, g.m, g.n});                                                          \
    }
#define MMA_KERNELS(tile, suffix, T)            \
    MMA_WAY(nn, tile, suffix, T, false, false)  \
    MMA_WAY(nt, tile, suffix, T, false, true)   \
    MMA_WAY(tn, tile, suffix, T, true, false)   \
    MMA_WAY(tt, tile, suffix, T, true, true)
#define MMA_TILES(suffix, T) MMA_KERNELS(64, suffix, T) MMA_KERNELS(128, suffix, T)
FOR_EACH_HALF(MMA_TILES)

#ifdef SM_90A
#define WGMMA_WAY(name, variant, wide, together, suffix, T, transpose_a, transpose_b)                                                                     \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1) matmul_forward_##name##_##variant##_##suffix(                          \
        float* partials, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, T* c, Gemm g) {                                        \
        gemm_wgmma<wide, together, T>(g, partials, Matrices<!transpose_a>{a}, Matrices<transpose_b>{b}, Store<T>{c, g.m, g.n});                           \
    }
#define WGMMA_KERNELS(variant, wide, together, suffix, T)           \
    WGMMA_WAY(nn, variant, wide, together, suffix, T, false, false) \
    WGMMA_WAY(nt, variant, wide, together, suffix, T, false, true)  \
    WGMMA_WAY(tn, variant, wide, together, suffix, T, true, false)  \
    WGMMA_WAY(tt, variant, wide, together, suffix, T, true, true)
#define WGMMA_TILES(suffix, T)                                      \
    WGMMA_KERNELS(wgmma128, 128, 1, suffix, T)                      \
    WGMMA_KERNELS(wgmma256, 256, 1, suffix, T)                      \
    WGMMA_KERNELS(wgmma256x2, 256, 2, suffix, T)
FOR_EACH_HALF(WGMMA_TILES)
#endif
