// Conversion between what numbers are stored as, rounding to the nearest: from integers to f32, and between f32 and 16 bits.
//
// 6 to 8 bytes an element: bound by memory.
#include "common/map.cuh"

namespace of_cast {
template <class From, class To> __device__ __forceinline__ void convert(const From* x, To* y, size_t n) {
    map(x, y, n, [](float v, size_t) { return v; });
}
}  // namespace of_cast
using namespace of_cast;

#define KERNELS(suffix, T)                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(BLOCK) cast_forward_f32_to_##suffix(const float* x, T* y, size_t n) { convert(x, y, n); }        \
    extern "C" __global__ void __launch_bounds__(BLOCK) cast_forward_##suffix##_to_f32(const T* x, float* y, size_t n) { convert(x, y, n); }
KERNELS(bf16, bf16)
KERNELS(f16, f16)

extern "C" __global__ void __launch_bounds__(BLOCK) cast_forward_i32_to_f32(const int* x, float* y, size_t n) {
    for (size_t i = 4 * element(); i < min(n, 4 * element() + 4); i++) y[i] = (float)x[i];
}

extern "C" __global__ void __launch_bounds__(BLOCK) cast_forward_f32_to_f32(const float* x, float* y, size_t n) { convert(x, y, n); }
