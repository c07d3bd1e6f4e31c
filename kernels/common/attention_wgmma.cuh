// What the kernels of attention by warpgroups share, for bf16 and f16 in heads of up to SIZE columns, 64 or 128, in multiples of 8: sm_90a alone. In the manner of
// Shah et al. 2024, FlashAttention-3.
//
// Two warpgroups own 64 rows of a head each and keep scores and sums as wgmma leaves them, which is as mma does: what becomes of them stands in
// common/attention_mma.cuh, whose functions count a warp's rows by its threads, so that those who multiply are the block's first. The third warpgroup has one
// thread that asks the tensor memory accelerator for the others' rows, 64 at a time, and hands its registers on.
//
// A head is a dimension of its own in the accelerator's maps, [columns, heads, rows, batch]: columns beyond the head are zeros, and so are rows beyond the last.
// Where queries, keys and values lie side by side, heads are counted through all of them.
#pragma once
#include "common/attention_mma.cuh"
#include "common/gemm_wgmma.cuh"

#ifdef SM_90A
namespace of_attention_wgmma {
using of_wgmma::BOX;
using of_wgmma::factor;

// Rows of a block, its threads, those that multiply, and those of a warpgroup.
constexpr unsigned ROWS = 2 * TILE, THREADS = 384, MULTIPLY = 256, GROUP = 128;
__device__ __forceinline__ unsigned group_of_thread() { return threadIdx.x / GROUP; }

// 64 rows of a head, in boxes of 64 columns, as the swizzle of 128 bytes leaves them.
template <unsigned SIZE> struct alignas(1024) Boxes {
    unsigned short at[TILE * SIZE];
};

// By one thread: begins to copy 64 rows of a head, which is the `head`-th of the map's.
template <unsigned SIZE>
__device__ __forceinline__ void load_boxes(Boxes<SIZE>& to, const TensorMap& map, Mbarrier& full, unsigned head, unsigned first, unsigned batch) {
    mbarrier_expect(full, sizeof to);
#pragma unroll
    for (unsigned column = 0; column < SIZE; column += 64) tma_load(to.at + column * TILE, map, full, (int)column, (int)head, (int)first, (int)batch);
}

// By a warp: rows of a tile that has come become zeros from `from` on, so that they count 0 times whatever they are; `cut` says that it is done.
template <unsigned SIZE> __device__ __forceinline__ void cut_rows(Boxes<SIZE>& tile, unsigned from, Mbarrier& cut) {
#pragma unroll
    for (unsigned column = 0; column < SIZE; column += 64) {
        uint4* box = reinterpret_cast<uint4*>(tile.at + column * TILE);
        for (unsigned i = from * 8 + threadIdx.x % 32; i < TILE * 8; i += 32) box[i] = make_uint4(0, 0, 0, 0);
    }
    async_proxy_fence();
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(cut);
}

// What wgmma and what works on fragments call the same registers.
template <class R, unsigned N> __device__ __forceinline__ R (&flat(R (&fragments)[N][4]))[4 * N] { return reinterpret_cast<R(&)[4 * N]>(fragments); }

// Begins the scores of the warpgroup's rows, left factors from registers, with 64 others.
template <unsigned SIZE, class T>
__device__ __forceinline__ void begin_scores(float (&s)[TILE / 8][4], const unsigned (&left)[SIZE / 16][4], const Boxes<SIZE>& others) {
#pragma unroll
    for (unsigned deep = 0; deep < SIZE / 16; deep++)
        wgmma<TILE, T, false>(flat(s), left[deep], factor<true>(others.at + deep / 4 * BOX, deep % 4 * 16), deep > 0);
}

// The same of rows that are in shared memory.
template <unsigned SIZE, class T> __device__ __forceinline__ void begin_scores(float (&s)[TILE / 8][4], const Boxes<SIZE>& own, const Boxes<SIZE>& others) {
#pragma unroll
    for (unsigned deep = 0; deep < SIZE / 16; deep++) {
        const unsigned at = deep / 4 * BOX, k = deep % 4 * 16;
        wgmma<TILE, T, false, false>(flat(s), factor<true>(own.at + at, k), factor<true>(others.at + at, k), deep > 0);
    }
}

// Begins to add to the sums of the warpgroup's rows 64 others, each times its factor.
template <unsigned SIZE, class T>
__device__ __forceinline__ void begin_mix(float (&sums)[SIZE / 8][4], const unsigned (&p)[TILE / 16][4], const Boxes<SIZE>& others) {
#pragma unroll
    for (unsigned deep = 0; deep < TILE / 16; deep++) wgmma<SIZE, T, true>(flat(sums), p[deep], factor<false>(others.at, 16 * deep), true);
}

// What a product left, rounded, is the left factor of the next. No product reads `p` any more; the next one finds it written.
template <class T> __device__ __forceinline__ void pack_left(unsigned (&p)[TILE / 16][4], float (&s)[TILE / 8][4]) {
    hold_registers(flat(s));
#pragma unroll
    for (unsigned deep = 0; deep < TILE / 16; deep++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++) p[deep][i] = pack<T>(s[2 * deep + i / 2][i % 2 * 2], s[2 * deep + i / 2][i % 2 * 2 + 1]);
    hold_registers(flat(p));
}
}  // namespace of_attention_wgmma
#endif
