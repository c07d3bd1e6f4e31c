// What tensor cores can do at most: y = a b^T, a [M, 64], b [256, 64], added up `rounds` times, in f32 sums.
//
//   exact    a thread an element of y, in order of k
//   mma      a warp 16 x 32 of y: both factors stay in registers, four sums' chains do not wait for each other. 512 FLOPs an instruction and lane.
//   wgmma    a warpgroup 64 x 256 of y, the widest there is: both factors stay in shared memory, laid down once as the tensor memory accelerator would
//
// 2 * 64 * 256 FLOPs a row and round; a row is read and written once, so that with many rounds nothing but the cores is the bound.
#include "common/hopper.cuh"
#include "common/ptx.cuh"
#include "common/types.cuh"

namespace of_peak_product {
constexpr unsigned DEPTH = 64, WIDE = 256;

// Two numbers of a row, one behind the other.
template <class T> __device__ __forceinline__ unsigned two(const T* matrix, unsigned row, unsigned k) {
    return *reinterpret_cast<const unsigned*>(matrix + (size_t)row * DEPTH + k);
}

template <class T> __device__ __forceinline__ void exact(const T* a, const T* b, float* y, size_t n, unsigned rounds) {
    const size_t i = element();
    if (i >= n) return;
    float sum = 0;
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned k = 0; k < DEPTH; k++) sum = fmaf(to_float(a[i / WIDE * DEPTH + k]), to_float(b[i % WIDE * DEPTH + k]), sum);
    y[i] = sum;
}

template <class T> __device__ __forceinline__ void by_mma(const T* a, const T* b, float* y, unsigned rounds) {
    const unsigned lane = threadIdx.x % 32, row = 16 * blockIdx.x + lane / 4, column = threadIdx.x / 32 * 32, k = lane % 4 * 2;
    unsigned left[4][4], right[4][4][2];
    float d[4][4] = {};
#pragma unroll
    for (unsigned deep = 0; deep < 4; deep++) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) left[deep][i] = two(a, row + i % 2 * 8, 16 * deep + k + i / 2 * 8);
#pragma unroll
        for (unsigned j = 0; j < 4; j++)
#pragma unroll
            for (unsigned i = 0; i < 2; i++) right[j][deep][i] = two(b, column + 8 * j + lane / 4, 16 * deep + k + 8 * i);
    }
    for (unsigned round = 0; round < rounds; round++)
#pragma unroll
        for (unsigned deep = 0; deep < 4; deep++)
#pragma unroll
            for (unsigned j = 0; j < 4; j++) mma_m16n8k16<T>(d[j], left[deep], right[j][deep]);
#pragma unroll
    for (unsigned j = 0; j < 4; j++)
#pragma unroll
        for (unsigned i = 0; i < 4; i += 2)
            *reinterpret_cast<float2*>(&y[(size_t)(row + i / 2 * 8) * WIDE + column + 8 * j + k]) = {d[j][i], d[j][i + 1]};
}
}  // namespace of_peak_product
using namespace of_peak_product;

#define KERNELS(suffix, T)                                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(BLOCK) peak_product_forward_##suffix(const T* a, const T* b, float* y, size_t n, unsigned rounds) {             \
        exact(a, b, y, n, rounds);                                                                                                                              \
    }
FOR_EACH_TYPE(KERNELS)

#define MMA_KERNELS(suffix, T)                                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(BLOCK) peak_product_forward_mma_##suffix(const T* a, const T* b, float* y, unsigned rounds) {                  \
        by_mma(a, b, y, rounds);                                                                                                                                \
    }
MMA_KERNELS(bf16, bf16)
MMA_KERNELS(f16, f16)

#ifdef SM_90A
namespace of_peak_product {
// 64 rows for each of two warpgroups, and b.
struct alignas(1024) Place {
    Chunk a[2][64 * DEPTH / 8], b[WIDE * DEPTH / 8];
};

// A row is eight chunks, which the swizzle of 128 bytes mixes by the row's place among eight.
template <class T> __device__ __forceinline__ void lay_down(Chunk* to, const T* from, unsigned rows) {
    for (unsigned i = threadIdx.x; i < rows * DEPTH / 8; i += BLOCK)
        to[i / 8 * 8 + (i % 8 ^ i / 8 % 8)] = reinterpret_cast<const Chunk*>(from)[i];
}

template <class T> __device__ __forceinline__ void by_wgmma(const T* a, const T* b, float* y, unsigned rounds) {
    DYNAMIC_SHARED(place, Place);
    const unsigned group = threadIdx.x / 128;
    lay_down(place.a[0], a + (size_t)blockIdx.x * 128 * DEPTH, 128);
    lay_down(place.b, b, WIDE);
    async_proxy_fence();
    __syncthreads();
    float d[WIDE / 2] = {};
    for (unsigned round = 0; round < rounds; round++) {
        wgmma_fence(d);
#pragma unroll
        for (unsigned deep = 0; deep < DEPTH; deep += 16)
            wgmma<WIDE, T, false, false>(d, matrix<128>(reinterpret_cast<const char*>(place.a[group]) + 2 * deep, 8192, 1024),
                                         matrix<128>(reinterpret_cast<const char*>(place.b) + 2 * deep, 8192, 1024), true);
        wgmma_commit();
        // The round before it is done then.
        wgmma_wait<1>(d);
    }
    wgmma_wait<0>(d);
    const unsigned t = threadIdx.x % 128, row = 128 * blockIdx.x + 64 * group + t / 32 * 16 + t % 32 / 4;
#pragma unroll
    for (unsigned i = 0; i < WIDE / 2; i += 2)
        *reinterpret_cast<float2*>(&y[(size_t)(row + i / 2 % 2 * 8) * WIDE + i / 4 * 8 + t % 4 * 2]) = {d[i], d[i + 1]};
}
}  // namespace of_peak_product
using of_peak_product::by_wgmma;

#define WGMMA_KERNELS(suffix, T)                                                                                                                                \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(BLOCK) peak_product_forward_wgmma_##suffix(const T* a, const T* b, float* y, unsigned rounds) {    \
        by_wgmma(a, b, y, rounds);                                                                                                                              \
    }
WGMMA_KERNELS(bf16, bf16)
WGMMA_KERNELS(f16, f16)
#endif
