// Products of matrices of bf16 or f16 by warpgroups, f32 sums, for any way in which the factors lie: sm_90a alone.
//
// A block of three warpgroups goes through tiles of C of 128 x `wide` (128 or 256), each for a part of K as in common/gemm.cuh: as many blocks as the GPU runs at
// once, each takes every so-manieth tile. The first warpgroup has one thread that asks the tensor memory accelerator for strips of 64 of K, four of which are
// there or on their way; it needs few registers and hands the others on. The other two multiply, each 64 rows of the tile, by wgmma of 64 x `wide` x 16 from shared
// memory, with one strip's products under way while the next one's begin. Sums stay in registers: 64 or 128 a thread.
//
//   full[s]    a strip's bytes have come        waited for by those who multiply, in its phases 0, 1, 0, ...
//   empty[s]   both have multiplied it          waited for by the one who loads; the phase "before the first" is complete at once
//
// Of (128 + wide) * 64 numbers read for 128 * wide * 64 multiply-adds: 64 FLOPs a byte, or 85. Edges are the accelerator's: it fills with zeros what is outside, and
// its lines begin at multiples of 16 bytes. A strip lies along K or across it as in memory, in lines of 64 numbers that are mixed by the swizzle of 128 bytes.
#pragma once
#include "common/gemm.cuh"
#include "common/hopper.cuh"

#ifdef SM_90A
namespace of_wgmma {
constexpr unsigned HIGH = 128, DEPTH = 64, RING = 4, THREADS = 384;
// Numbers of 64 lines of 64: what a box across K has, and what one warpgroup's rows are along it.
constexpr unsigned BOX = 64 * DEPTH;

template <unsigned wide> struct alignas(1024) Stage {
    unsigned short a[HIGH * DEPTH], b[wide * DEPTH];
};

template <unsigned wide> struct Place {
    Stage<wide> stages[RING];
    // Of each warp that multiplies: 16 rows of 32 sums on their way out. The pitch is such that four rows' pairs lie in different banks.
    float sums[8][16][40];
    Mbarrier full[RING], empty[RING];
};

// Begins to load `lines` of a factor's rows (columns, of B).
template <unsigned lines, bool along_k>
__device__ __forceinline__ void load(unsigned short* to, const TensorMap& map, Mbarrier& full, unsigned row, unsigned k, unsigned batch) {
    if constexpr (along_k) {
        tma_load(to, map, full, (int)k, (int)row, (int)batch);
    } else {
#pragma unroll
        for (unsigned i = 0; i < lines / 64; i++) tma_load(to + i * BOX, map, full, (int)(row + 64 * i), (int)k, (int)batch);
    }
}

// Where 16 of a strip's K lie, from `k` on: eight lines are 1024 bytes, whether they are rows or K; across K a box has 64 rows.
template <bool along_k> __device__ __forceinline__ unsigned long long factor(const unsigned short* strip, unsigned k) {
    return matrix<128>(strip + (along_k ? k : k * 64), 2 * BOX, 1024);
}

// The warp's 16 rows go through shared memory, 32 columns at a time, so that neighbouring lanes put neighbouring columns.
template <unsigned wide, class Put>
__device__ __forceinline__ void put_rows(const Gemm& g, float* partials, const Tile& t, unsigned row, float (&sums)[16][40], const float (&d)[wide / 2], Put put) {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned from = 0; from < wide; from += 32) {
#pragma unroll
        for (unsigned i = 0; i < 16; i += 2)
            *reinterpret_cast<uint2*>(&sums[lane / 4 + i / 2 % 2 * 8][i / 4 * 8 + lane % 4 * 2]) = {__float_as_uint(d[from / 2 + i]), __float_as_uint(d[from / 2 + i + 1])};
        __syncwarp();
#pragma unroll 4
        for (unsigned i = 0; i < 16; i++) put_sum(g, partials, t, row + i, t.column + from + lane, sums[i][lane], put);
        __syncwarp();
    }
}

template <unsigned wide, bool a_along_k, bool b_along_k, class T, class Put>
__device__ __forceinline__ void gemm_wgmma(const Gemm& g, float* partials, const TensorMap& a, const TensorMap& b, Put put) {
    DYNAMIC_SHARED(place, Place<wide>);
    const unsigned tiles = g.batch * g.parts * ((g.m + HIGH - 1) / HIGH) * ((g.n + wide - 1) / wide);
    if (threadIdx.x == 0) {
        for (unsigned s = 0; s < RING; s++) {
            mbarrier_init(place.full[s], 1);
            mbarrier_init(place.empty[s], 2);
        }
        mbarrier_init_fence();
    }
    __syncthreads();
    // Strips so far, through all tiles.
    unsigned strip = 0;
    if (threadIdx.x < 128) {
        registers_down<40>();
        if (threadIdx.x != 0) return;
        for (unsigned number = blockIdx.x; number < tiles; number += gridDim.x) {
            const Tile t = tile_of<HIGH, wide>(g, number);
            for (unsigned k = t.start; k < t.end; k += DEPTH, strip++) {
                Stage<wide>& stage = place.stages[strip % RING];
                Mbarrier& full = place.full[strip % RING];
                mbarrier_wait(place.empty[strip % RING], strip / RING % 2 ^ 1);
                mbarrier_expect(full, sizeof stage);
                load<HIGH, a_along_k>(stage.a, a, full, t.row, k, t.batch);
                load<wide, b_along_k>(stage.b, b, full, t.column, k, t.batch);
            }
        }
        return;
    }
    registers_up<232>();
    const unsigned half = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 - 4;
    for (unsigned number = blockIdx.x; number < tiles; number += gridDim.x) {
        const Tile t = tile_of<HIGH, wide>(g, number);
        float d[wide / 2] = {};
        for (unsigned k = t.start; k < t.end; k += DEPTH, strip++) {
            const Stage<wide>& stage = place.stages[strip % RING];
            mbarrier_wait(place.full[strip % RING], strip / RING % 2);
            wgmma_fence(d);
#pragma unroll
            for (unsigned deep = 0; deep < DEPTH; deep += 16)
                wgmma<wide, T, !a_along_k, !b_along_k>(d, factor<a_along_k>(stage.a + half * BOX, deep), factor<b_along_k>(stage.b, deep), true);
            wgmma_commit();
            // The strip before it is multiplied then.
            wgmma_wait<1>(d);
            if (k > t.start && threadIdx.x % 128 == 0) mbarrier_arrive(place.empty[(strip - 1) % RING]);
        }
        wgmma_wait<0>(d);
        if (threadIdx.x % 128 == 0) mbarrier_arrive(place.empty[(strip - 1) % RING]);
        put_rows<wide>(g, partials, t, t.row + 16 * warp, place.sums[warp], d, put);
    }
}
}  // namespace of_wgmma
using of_wgmma::gemm_wgmma;
#endif
