// What a kernel of kernels/ finds when g++ compiles it for the CPU: CUDA's words, each as a plain one or as a call into the emulator.
//
// Put before every kernel by -include. Whatever touches another thread is a function of src/, compiled without instrumentation.
#pragma once
#define CUDA_ON_CPU 1
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>
#include <utility>

#ifndef CUDA_ON_CPU_SCAN
// Not inlined into its caller, which reads the host's memory.
#define __global__ __attribute__((noinline))
#define __launch_bounds__(...)
#endif
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __align__(n) alignas(n)

struct uint3 { unsigned x, y, z; };
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace sim {
// Fixed for a thread, so calls may be merged.
[[gnu::const]] uint3 thread_index();
[[gnu::const]] uint3 block_index();
[[gnu::const]] uint3 block_extent();
[[gnu::const]] uint3 grid_extent();
// Memory of the block that `site` named first, the same for all its threads.
void* shared(const void* site, size_t bytes, size_t alignment, const char* name);
// The block's dynamic shared memory.
void* dynamic_shared(size_t bytes);
// Hands `bytes` of each lane of `mask` round: copies those of lane `from` to `out`.
void exchange(unsigned mask, const void* in, void* out, unsigned bytes, int from);
// What every lane of `mask` gave, at its lane's number; the others' entries are left alone.
void gather(unsigned mask, unsigned in, unsigned (&out)[32]);
unsigned lane();
// One access of an atomic operation; returns the old value.
enum class Atomic { Add, Max, Min, Or, Exchange, CompareAndSwap };
unsigned atomic32(unsigned* p, Atomic what, unsigned value, unsigned expected, bool is_signed);
unsigned long long atomic64(unsigned long long* p, Atomic what, unsigned long long value, unsigned long long expected);

template <class T> T shuffle(unsigned mask, T v, int from) {
    T out = v;
    exchange(mask, &v, &out, sizeof(T), from);
    return out;
}

// The registry that the stand-in driver finds kernels in.
struct Parameter { unsigned bytes; bool is_pointer; };
struct Kernel {
    const char *name, *file;
    unsigned bound;  // of threads in a block
    void (*call)(void**);
    const Parameter* parameters;
    unsigned count;
    Kernel* next;
    Kernel(const char*, const char*, unsigned, void (*)(void**), const Parameter*, unsigned);
    static Kernel* head;
};
template <class... A> struct Signature {
    static constexpr Parameter parameters[sizeof...(A) + 1] = {{sizeof(A), std::is_pointer_v<A>}..., {0, false}};
};
template <auto F, class... A, size_t... I> __attribute__((no_sanitize_thread)) void unpack(void (*)(A...), void** p, std::index_sequence<I...>) { F(*static_cast<std::remove_reference_t<A>*>(p[I])...); }
template <auto F, class... A> __attribute__((no_sanitize_thread)) void unpack_all(void (*f)(A...), void** p) { unpack<F>(f, p, std::index_sequence_for<A...>{}); }
template <auto F> __attribute__((no_sanitize_thread)) void call(void** p) { unpack_all<F>(F, p); }
template <class... A> Kernel entry(const char* name, const char* file, unsigned bound, void (*call)(void**), void (*)(A...)) {
    return Kernel(name, file, bound, call, Signature<A...>::parameters, sizeof...(A));
}
}  // namespace sim
#define CUDA_ON_CPU_KERNEL(name, file, bound) static sim::Kernel registered_##name = sim::entry(#name, file, bound, &sim::call<name>, name);

#define threadIdx (sim::thread_index())
#define blockIdx (sim::block_index())
#define blockDim (sim::block_extent())
#define gridDim (sim::grid_extent())

void __syncthreads();
void __syncwarp(unsigned mask = ~0u);
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T> T __shfl_sync(unsigned mask, T v, int from, int width = 32) { return sim::shuffle(mask, v, (int(sim::lane()) & ~(width - 1)) + (from & (width - 1))); }
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
    int from = int(sim::lane()) ^ bits;
    return sim::shuffle(mask, v, from / width == int(sim::lane()) / width ? from : int(sim::lane()));
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
    int lane = sim::lane(), from = lane + int(by);
    return sim::shuffle(mask, v, from / width == lane / width ? from : lane);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
    int lane = sim::lane(), from = lane - int(by);
    return sim::shuffle(mask, v, from >= lane / width * width ? from : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned all[32] = {}, bits = 0;
    sim::gather(mask, predicate != 0, all);
    for (int i = 0; i < 32; i++) bits |= all[i] << i;
    return bits & mask;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

inline int atomicAdd(int* p, int v) { return int(sim::atomic32(reinterpret_cast<unsigned*>(p), sim::Atomic::Add, unsigned(v), 0, true)); }
inline unsigned atomicAdd(unsigned* p, unsigned v) { return sim::atomic32(p, sim::Atomic::Add, v, 0, false); }
inline int atomicMax(int* p, int v) { return int(sim::atomic32(reinterpret_cast<unsigned*>(p), sim::Atomic::Max, unsigned(v), 0, true)); }
inline unsigned atomicMax(unsigned* p, unsigned v) { return sim::atomic32(p, sim::Atomic::Max, v, 0, false); }
inline int atomicMin(int* p, int v) { return int(sim::atomic32(reinterpret_cast<unsigned*>(p), sim::Atomic::Min, unsigned(v), 0, true)); }
inline unsigned atomicMin(unsigned* p, unsigned v) { return sim::atomic32(p, sim::Atomic::Min, v, 0, false); }
inline unsigned atomicOr(unsigned* p, unsigned v) { return sim::atomic32(p, sim::Atomic::Or, v, 0, false); }
inline unsigned atomicExch(unsigned* p, unsigned v) { return sim::atomic32(p, sim::Atomic::Exchange, v, 0, false); }
inline unsigned atomicCAS(unsigned* p, unsigned expected, unsigned v) { return sim::atomic32(p, sim::Atomic::CompareAndSwap, v, expected, false); }
inline unsigned long long atomicMax(unsigned long long* p, unsigned long long v) { return sim::atomic64(p, sim::Atomic::Max, v, 0); }

template <class To, class From> To cuda_on_cpu_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, from);
}
inline unsigned __float_as_uint(float x) { return cuda_on_cpu_bits<unsigned>(x); }
inline int __float_as_int(float x) { return cuda_on_cpu_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return cuda_on_cpu_bits<float>(x); }
inline float __int_as_float(int x) { return cuda_on_cpu_bits<float>(x); }
template <class T> T __ldg(const T* p) { return *p; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline float __expf(float x) { return expf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline size_t min(size_t a, size_t b) { return a < b ? a : b; }
inline size_t max(size_t a, size_t b) { return a > b ? a : b; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

#include "sm_80.h"
