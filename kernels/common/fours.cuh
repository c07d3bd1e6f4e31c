// Four elements that lie together in one access: what a thread takes where all elements are treated alike, so that enough is under way to keep memory busy.
#pragma once
#include "common/types.cuh"

// Tensors begin at multiples of 256 bytes, so that each four of them lie at a multiple of their size.
__device__ __forceinline__ void load_four(const float* x, float (&four)[4]) {
    const float4 words = *reinterpret_cast<const float4*>(x);
    four[0] = words.x, four[1] = words.y, four[2] = words.z, four[3] = words.w;
}
template <class Half> __device__ __forceinline__ void load_four(const Half* x, float (&four)[4]) {
    const uint2 words = *reinterpret_cast<const uint2*>(x);
    four[0] = to_float(Half{(unsigned short)words.x}), four[1] = to_float(Half{(unsigned short)(words.x >> 16)});
    four[2] = to_float(Half{(unsigned short)words.y}), four[3] = to_float(Half{(unsigned short)(words.y >> 16)});
}

__device__ __forceinline__ void store_four(float* y, const float (&four)[4]) {
    *reinterpret_cast<float4*>(y) = make_float4(four[0], four[1], four[2], four[3]);
}
template <class Half> __device__ __forceinline__ void store_four(Half* y, const float (&four)[4]) {
    const auto pair = [](float low, float high) { return (unsigned)Element<Half>::of(low).bits | (unsigned)Element<Half>::of(high).bits << 16; };
    *reinterpret_cast<uint2*>(y) = make_uint2(pair(four[0], four[1]), pair(four[2], four[3]));
}
