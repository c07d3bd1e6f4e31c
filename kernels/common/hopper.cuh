// What sm_90a alone has, a function for each instruction: barriers that count bytes, copies of tiles by the tensor memory accelerator, products of a warpgroup,
// clusters. On the CPU the emulator's, which knows the same rules.
//
// SM_90A is defined where these are there; a kernel that uses them stands between #ifdef SM_90A and #endif, and says SM_90A_ONLY behind `void`.
#pragma once
#include "common/types.cuh"

#ifdef CUDA_ON_CPU
#define SM_90A 1
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SM_90A 1
#define SM_90A_ONLY
#endif

#ifdef SM_90A
#ifdef CUDA_ON_CPU
#define PTX(emulated, ...) emulated
__device__ __forceinline__ unsigned shared_address(const void* p) { return sim::shared_address(p); }
#else
#define PTX(emulated, ...) asm volatile(__VA_ARGS__)
__device__ __forceinline__ unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }
#endif

// --- Barriers in shared memory
// A phase is complete when so many threads have arrived and as many bytes have come as they said to expect; then the next one begins. Phases have the
// parities 0, 1, 0, ...
struct alignas(8) Mbarrier {
    unsigned long long word;
};

// By one thread, before any other uses it: then mbarrier_init_fence() by that thread, and a barrier of the block, or of the cluster.
__device__ __forceinline__ void mbarrier_init(Mbarrier& b, unsigned arrivals) {
    PTX(sim::mbarrier_init(&b.word, arrivals), "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&b)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void mbarrier_init_fence() { PTX(sim::mbarrier_init_fence(), "fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void mbarrier_invalidate(Mbarrier& b) {
    PTX(sim::mbarrier_invalidate(&b.word), "mbarrier.inval.shared::cta.b64 [%0];" ::"r"(shared_address(&b)) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive(Mbarrier& b) {
    PTX(sim::mbarrier_arrive(&b.word, sim::OWN), "mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&b)) : "memory");
}
// At the barrier of the same place in another block of the cluster.
__device__ __forceinline__ void mbarrier_arrive_at(Mbarrier& b, unsigned block) {
    PTX(sim::mbarrier_arrive(&b.word, block),
        "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\nmbarrier.arrive.release.cluster.shared::cluster.b64 _, [there];\n}" ::"r"(shared_address(&b)),
        "r"(block)
        : "memory");
}
// Arrives, and says that so many bytes are to come in this phase.
__device__ __forceinline__ void mbarrier_expect(Mbarrier& b, unsigned bytes) {
    PTX(sim::mbarrier_expect(&b.word, bytes), "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&b)), "r"(bytes) : "memory");
}
#define WAIT(sem) "{\n.reg .pred done;\nAGAIN:\nmbarrier.try_wait.parity" sem ".shared::cta.b64 done, [%0], %1;\n@!done bra AGAIN;\n}"
// Until the phase of this parity is complete: the one that goes on, or the one before it. What those did that arrived is then done, and what was copied is there.
__device__ __forceinline__ void mbarrier_wait(Mbarrier& b, unsigned parity) {
    PTX(sim::mbarrier_wait(&b.word, parity), WAIT("") ::"r"(shared_address(&b)), "r"(parity) : "memory");
}
// The same where threads of other blocks arrived.
__device__ __forceinline__ void mbarrier_wait_cluster(Mbarrier& b, unsigned parity) {
    PTX(sim::mbarrier_wait(&b.word, parity), WAIT(".acquire.cluster") ::"r"(shared_address(&b)), "r"(parity) : "memory");
}

// What threads wrote to shared memory before is visible to copies and products behind it; others want a barrier after it besides.
__device__ __forceinline__ void async_proxy_fence() { PTX(sim::async_proxy_fence(), "fence.proxy.async.shared::cta;" ::: "memory"); }

// --- Copies of tiles
// How a tensor lies in memory and which tile of it is copied: a CUtensorMap, which the host encodes. A parameter of the kernel: const __grid_constant__ TensorMap.
struct alignas(64) TensorMap {
    unsigned long long words[16];
};

#ifdef CUDA_ON_CPU
#define TMA_LOAD(rank, list, ...) const int at[] = {__VA_ARGS__}; sim::tma_load(to, &map, &b.word, rank, at, nullptr, 0)
#define TMA_STORE(rank, list, ...) const int at[] = {__VA_ARGS__}; sim::tma_store(&map, from, rank, at)
#else
#define TMA_LOAD(rank, list, ...)                                                                                                                       \
    const int at[] = {__VA_ARGS__};                                                                                                                     \
    asm volatile("cp.async.bulk.tensor." #rank "d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {" list "}], [%2];" ::"r"(shared_address(to)), \
                 "l"(&map), "r"(shared_address(&b)), COORDINATES_##rank                                                                                \
                 : "memory")
#define TMA_STORE(rank, list, ...)                                                                                                             \
    const int at[] = {__VA_ARGS__};                                                                                                            \
    asm volatile("cp.async.bulk.tensor." #rank "d.global.shared::cta.bulk_group [%0, {" list "}], [%1];" ::"l"(&map), "r"(shared_address(from)), \
                 COORDINATES_##rank                                                                                                            \
                 : "memory")
#define COORDINATES_2 "r"(at[0]), "r"(at[1])
#define COORDINATES_3 COORDINATES_2, "r"(at[2])
#define COORDINATES_4 COORDINATES_3, "r"(at[3])
#define COORDINATES_5 COORDINATES_4, "r"(at[4])
#endif
// By one thread: begins to copy the tile that begins at these coordinates, the contiguous dimension first; zeros for what is outside of the tensor. Its bytes
// count at the barrier. `to` is aligned to 128 bytes, with a swizzle to eight times its width: the 16 bytes at an address lie where the address's bits from 4 on
// are changed by those from 7 on.
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, Mbarrier& b, int x, int y) { TMA_LOAD(2, "%3, %4", x, y); }
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, Mbarrier& b, int x, int y, int z) { TMA_LOAD(3, "%3, %4, %5", x, y, z); }
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, Mbarrier& b, int x, int y, int z, int u) { TMA_LOAD(4, "%3, %4, %5, %6", x, y, z, u); }
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, Mbarrier& b, int x, int y, int z, int u, int v) {
    TMA_LOAD(5, "%3, %4, %5, %6, %7", x, y, z, u, v);
}
// The same of pictures [n, h, w, c] by an im2col map: some channels from c on of each of some pixels, those that a filter's tap, so far across and down from its
// corner, lies over while the corner goes through the map's bounding box: from (w, h), which is in it, along w by the map's steps, then from the box's first w of
// the next line on, and from the box's first line of picture n + 1. Pixels outside of the picture are zeros, and so are those of pictures behind the last.
__device__ __forceinline__ void tma_load_im2col(void* to, const TensorMap& map, Mbarrier& b, int c, int w, int h, int n, unsigned short across, unsigned short down) {
#ifdef CUDA_ON_CPU
    const int at[] = {c, w, h, n};
    const unsigned offsets[] = {across, down};
    sim::tma_load(to, &map, &b.word, 4, at, offsets, 0);
#else
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(
                     shared_address(to)),
                 "l"(&map), "r"(shared_address(&b)), "r"(c), "r"(w), "r"(h), "r"(n), "h"(across), "h"(down)
                 : "memory");
#endif
}
// To the same place in each block of the cluster whose bit is set; each one's barrier of the same place counts the bytes.
__device__ __forceinline__ void tma_load_to(void* to, const TensorMap& map, Mbarrier& b, unsigned short blocks, int x, int y, int z) {
#ifdef CUDA_ON_CPU
    const int at[] = {x, y, z};
    sim::tma_load(to, &map, &b.word, 3, at, nullptr, blocks);
#else
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(
                     shared_address(to)),
                 "l"(&map), "r"(shared_address(&b)), "h"(blocks), "r"(x), "r"(y), "r"(z)
                 : "memory");
#endif
}
// By one thread: begins to copy a tile out; nothing is written outside of the tensor. What threads wrote to it wants async_proxy_fence() before.
__device__ __forceinline__ void tma_store(const TensorMap& map, const void* from, int x, int y) { TMA_STORE(2, "%2, %3", x, y); }
__device__ __forceinline__ void tma_store(const TensorMap& map, const void* from, int x, int y, int z) { TMA_STORE(3, "%2, %3, %4", x, y, z); }
// Makes a group of the stores since the last one.
__device__ __forceinline__ void tma_commit() { PTX(sim::tma_commit(), "cp.async.bulk.commit_group;" ::: "memory"); }
// Until no more than the `left` latest groups still read shared memory; until no more than these are under way at all.
template <int left> __device__ __forceinline__ void tma_wait_read() { PTX(sim::tma_wait(left, true), "cp.async.bulk.wait_group.read %0;" ::"n"(left) : "memory"); }
template <int left> __device__ __forceinline__ void tma_wait() { PTX(sim::tma_wait(left, false), "cp.async.bulk.wait_group %0;" ::"n"(left) : "memory"); }

// --- Products of a warpgroup
// Where a matrix of 16-bit numbers lies in shared memory. Its start is in the first 128 bytes of the pattern of the swizzle, whose width is 0, 32, 64 or 128 bytes
// and which repeats by eight times as many: both strides are multiples of that, so that the base offset is 0.
//   contiguous along K   `stride` from eight rows to the next eight; `leading`, without a swizzle, from eight k to the next
//   across it            `stride` from eight k to the next; `leading` from the swizzle's width of rows to the next; without a swizzle the two change places
template <unsigned swizzle> __device__ __forceinline__ unsigned long long matrix(const void* start, unsigned leading, unsigned stride) {
    const unsigned long long mode = swizzle == 128 ? 1 : swizzle == 64 ? 2 : swizzle == 32 ? 3 : 0;
    return (unsigned long long)((shared_address(start) & 0x3ffff) >> 4) | (unsigned long long)(leading >> 4) << 16 | (unsigned long long)(stride >> 4) << 32 | mode << 62;
}

template <class T> constexpr bool is_bf16 = false;
template <> constexpr bool is_bf16<bf16> = true;

#ifndef CUDA_ON_CPU
#define TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9"
#define LIST_64 TEN() ", " TEN(1) ", " TEN(2) ", %30, %31"
#define LIST_128 TEN() ", " TEN(1) ", " TEN(2) ", " TEN(3) ", " TEN(4) ", " TEN(5) ", %60, %61, %62, %63"
#define LIST_256 \
    TEN() ", " TEN(1) ", " TEN(2) ", " TEN(3) ", " TEN(4) ", " TEN(5) ", " TEN(6) ", " TEN(7) ", " TEN(8) ", " TEN(9) ", " TEN(10) ", " TEN(11) ", %120, %121, %122, %123, %124, %125, %126, %127"
#define SUMS_8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define SUMS_64(i) SUMS_8(i), SUMS_8(i + 8), SUMS_8(i + 16), SUMS_8(i + 24)
#define SUMS_128(i) SUMS_64(i), SUMS_64(i + 32)
#define SUMS_256(i) SUMS_128(i), SUMS_128(i + 64)
// `first` is the number of the operand behind the sums.
#define WGMMA_TEXT(n, type, a, b, switch, ways) \
    "{\n.reg .pred adds;\nsetp.ne.b32 adds, " switch ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" LIST_##n "}, " a ", " b ", adds, 1, 1, " ways ";\n}"
#define WGMMA_SHARED(n, type, a_at, b_at, adds_at, ways) \
    asm volatile(WGMMA_TEXT(n, type, a_at, b_at, adds_at, ways) : SUMS_##n(0) : "l"(a), "l"(b), "r"((int)adds), "n"((int)a_across), "n"((int)b_across))
#define WGMMA_REGISTERS(n, type, a_at, b_at, adds_at, way) \
    asm volatile(WGMMA_TEXT(n, type, a_at, b_at, adds_at, way) : SUMS_##n(0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adds), "n"((int)b_across))
#endif

// By all threads of a warpgroup, with the same operands: begins d = a b, or d += a b where `adds`, for a of 64 x 16, b of 16 x n, n 64, 128 or 256. Thread t of
// the warpgroup has in d[i] row t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, column i / 4 * 8 + t % 4 * 2 + i % 2. An `across` factor is not contiguous along K.
// wgmma_fence() stands before the first, and wherever registers were used since; d is nobody's until wgmma_wait().
template <unsigned n, class T, bool a_across, bool b_across>
__device__ __forceinline__ void wgmma(float (&d)[n / 2], unsigned long long a, unsigned long long b, bool adds) {
    static_assert(n == 64 || n == 128 || n == 256);
#ifdef CUDA_ON_CPU
    sim::wgmma(d, {n, is_bf16<T>, a_across, b_across, adds, a, b, nullptr});
#else
    if constexpr (n == 64 && is_bf16<T>) WGMMA_SHARED(64, "bf16", "%32", "%33", "%34", "%35, %36");
    if constexpr (n == 64 && !is_bf16<T>) WGMMA_SHARED(64, "f16", "%32", "%33", "%34", "%35, %36");
    if constexpr (n == 128 && is_bf16<T>) WGMMA_SHARED(128, "bf16", "%64", "%65", "%66", "%67, %68");
    if constexpr (n == 128 && !is_bf16<T>) WGMMA_SHARED(128, "f16", "%64", "%65", "%66", "%67, %68");
    if constexpr (n == 256 && is_bf16<T>) WGMMA_SHARED(256, "bf16", "%128", "%129", "%130", "%131, %132");
    if constexpr (n == 256 && !is_bf16<T>) WGMMA_SHARED(256, "f16", "%128", "%129", "%130", "%131, %132");
#endif
}
// The same with a from registers: row t / 32 * 16 + t % 32 / 4, columns t % 4 * 2 and the next in the upper half; eight rows below; eight columns on; both.
template <unsigned n, class T, bool b_across>
__device__ __forceinline__ void wgmma(float (&d)[n / 2], const unsigned (&a)[4], unsigned long long b, bool adds) {
    static_assert(n == 64 || n == 128 || n == 256);
#ifdef CUDA_ON_CPU
    sim::wgmma(d, {n, is_bf16<T>, false, b_across, adds, 0, b, a});
#else
    if constexpr (n == 64 && is_bf16<T>) WGMMA_REGISTERS(64, "bf16", "{%32, %33, %34, %35}", "%36", "%37", "%38");
    if constexpr (n == 64 && !is_bf16<T>) WGMMA_REGISTERS(64, "f16", "{%32, %33, %34, %35}", "%36", "%37", "%38");
    if constexpr (n == 128 && is_bf16<T>) WGMMA_REGISTERS(128, "bf16", "{%64, %65, %66, %67}", "%68", "%69", "%70");
    if constexpr (n == 128 && !is_bf16<T>) WGMMA_REGISTERS(128, "f16", "{%64, %65, %66, %67}", "%68", "%69", "%70");
    if constexpr (n == 256 && is_bf16<T>) WGMMA_REGISTERS(256, "bf16", "{%128, %129, %130, %131}", "%132", "%133", "%134");
    if constexpr (n == 256 && !is_bf16<T>) WGMMA_REGISTERS(256, "f16", "{%128, %129, %130, %131}", "%132", "%133", "%134");
#endif
}

// Keeps the compiler from moving uses of registers past it.
template <unsigned count> __device__ __forceinline__ void hold_registers([[maybe_unused]] float (&d)[count]) {
#ifndef CUDA_ON_CPU
#pragma unroll
    for (unsigned i = 0; i < count; i++) asm volatile("" : "+f"(d[i])::"memory");
#endif
}
template <unsigned count> __device__ __forceinline__ void hold_registers([[maybe_unused]] unsigned (&a)[count]) {
#ifndef CUDA_ON_CPU
#pragma unroll
    for (unsigned i = 0; i < count; i++) asm volatile("" : "+r"(a[i])::"memory");
#endif
}
template <unsigned count> __device__ __forceinline__ void wgmma_fence(float (&d)[count]) {
    hold_registers(d);
    PTX(sim::wgmma_fence(), "wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() { PTX(sim::wgmma_commit(), "wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until no more than the `left` latest groups of products are under way.
template <int left, unsigned count> __device__ __forceinline__ void wgmma_wait(float (&d)[count]) {
    PTX(sim::wgmma_wait(left), "wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
    hold_registers(d);
}

// --- Warps and warpgroups
// Hands registers of the warpgroup's threads back, down to so many a thread; or waits for them, up to so many. A multiple of 8. The kernel has launch bounds.
template <int count> __device__ __forceinline__ void registers_down() { PTX(sim::set_registers(count, false), "setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count)); }
template <int count> __device__ __forceinline__ void registers_up() { PTX(sim::set_registers(count, true), "setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count)); }

// True in one lane of the warp, all of whose lanes come here.
__device__ __forceinline__ bool elect_one() {
#ifdef CUDA_ON_CPU
    return sim::elect_one();
#else
    unsigned is_elected;
    asm volatile("{\n.reg .pred elected;\nelect.sync _|elected, 0xffffffff;\nselp.b32 %0, 1, 0, elected;\n}" : "=r"(is_elected));
    return is_elected;
#endif
}

// A barrier of some warps of the block, one of 16 (0 is __syncthreads'): `threads` come in all; those that arrive do not wait.
__device__ __forceinline__ void named_barrier_sync(unsigned id, unsigned threads) {
    PTX(sim::named_barrier(id, threads, true), "bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_barrier_arrive(unsigned id, unsigned threads) {
    PTX(sim::named_barrier(id, threads, false), "bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// --- Clusters
__device__ __forceinline__ unsigned cluster_rank() {
#ifdef CUDA_ON_CPU
    return sim::cluster_rank();
#else
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
#endif
}
__device__ __forceinline__ void cluster_arrive() { PTX(sim::cluster_arrive(), "barrier.cluster.arrive.release.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { PTX(sim::cluster_wait(), "barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_sync() { cluster_arrive(), cluster_wait(); }
// Where another block of the cluster has what this block has at `p` in shared memory.
template <class T> __device__ __forceinline__ T* in_block(T* p, unsigned rank) {
#ifdef CUDA_ON_CPU
    return static_cast<T*>(sim::cluster_map(p, rank));
#else
    unsigned long long there;
    asm volatile("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"((unsigned long long)p), "r"(rank));
    return (T*)there;
#endif
}
#endif
