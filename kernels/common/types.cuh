// Element types, and what every kernel starts from. Numbers are stored as T and computed in float.
#pragma once

struct bf16 {
    unsigned short bits;
};
struct f16 {
    unsigned short bits;
};

#ifdef CUDA_ON_CPU
inline float to_float(f16 x) { return float(__builtin_bit_cast(_Float16, x.bits)); }
inline f16 to_f16(float x) { return {__builtin_bit_cast(unsigned short, _Float16(x))}; }
inline bf16 to_bf16(float x) {
    const unsigned bits = __float_as_uint(x);
    // To the nearest, ties to even; NaN stays one.
    return {(unsigned short)(x == x ? (bits + 0x7fffu + (bits >> 16 & 1)) >> 16 : bits >> 16 | 0x40)};
}
#else
#define INFINITY __int_as_float(0x7f800000)
__device__ __forceinline__ float to_float(f16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
__device__ __forceinline__ f16 to_f16(float x) {
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
__device__ __forceinline__ bf16 to_bf16(float x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
#endif

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

template <class T> struct Element;
template <> struct Element<float> {
    static __device__ __forceinline__ float of(float x) { return x; }
};
template <> struct Element<bf16> {
    static __device__ __forceinline__ bf16 of(float x) { return to_bf16(x); }
};
template <> struct Element<f16> {
    static __device__ __forceinline__ f16 of(float x) { return to_f16(x); }
};

// Expands `each(suffix, type)` for every type that numbers are stored as.
#define FOR_EACH_TYPE(each) each(f32, float) each(bf16, bf16) each(f16, f16)

// The same for those that tensor cores multiply.
#define FOR_EACH_HALF(each) each(bf16, bf16) each(f16, f16)

// The same for elements that are only moved.
#define FOR_EACH_WORD(each) each(u32, unsigned) each(u16, unsigned short)

// Threads of a block, where a kernel does not say otherwise: the host's BLOCK.
#define BLOCK 256

// Shared memory of the block, of this type: SHARED(parts, float[8]). DYNAMIC_SHARED is what the launch asks for, which may be more than 48 KiB; there is one of it.
template <class T> using Shared = T;
#ifdef CUDA_ON_CPU
#define SHARED(name, ...) \
    Shared<__VA_ARGS__>& name = *static_cast<Shared<__VA_ARGS__>*>(sim::shared([] { static char site; return &site; }(), sizeof(Shared<__VA_ARGS__>), alignof(Shared<__VA_ARGS__>), #name))
#define DYNAMIC_SHARED(name, ...) Shared<__VA_ARGS__>& name = *static_cast<Shared<__VA_ARGS__>*>(sim::dynamic_shared(sizeof(Shared<__VA_ARGS__>)))
#else
#define SHARED(name, ...) __shared__ Shared<__VA_ARGS__> name
#define DYNAMIC_SHARED(name, ...)                                     \
    extern __shared__ __align__(1024) unsigned char dynamic_shared[]; \
    Shared<__VA_ARGS__>& name = *reinterpret_cast<Shared<__VA_ARGS__>*>(dynamic_shared)
#endif

// The element of this thread, of a grid with a thread for each.
__device__ __forceinline__ size_t element() { return (size_t)blockIdx.x * blockDim.x + threadIdx.x; }
