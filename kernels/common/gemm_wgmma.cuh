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
//
// A factor says how it lies (`along_k`) and how a strip of it is asked for, so that it need not be in memory as such; the thread that loads calls
//   start(batch, row)                   once a tile: what the tile's first row (column, of B) says of where its strips are
//   load<lines>(to, full, start, k)     for a strip of so many rows and 64 of K from `k` on: along K a line a row, else boxes of 64 rows in which a line is one of K
//
// Two blocks of a cluster may go together: their tiles lie one below the other, each has half of the columns of B that both need, and sends them to both. `empty`
// counts those who multiply in both blocks then, and neither ends while the other may still write to it.
//   load_to<lines>(blocks, to, full, start, k)    the same, to the same place in each block whose bit is set
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
    // Of each warp that multiplies: 16 rows of 32 sums on their way out, and what is read ahead of them.
    float sums[8][16][32], ahead[8][16][32];
    Mbarrier full[RING], empty[RING];
};

// A factor that lies in memory as it is: a batch of matrices with lines along K or across it, by a map of [batch, lines, numbers].
template <bool along> struct Matrices {
    static constexpr bool along_k = along;
    struct Start {
        int row, batch;
    };
    const TensorMap& map;
    __device__ __forceinline__ Start start(unsigned batch, unsigned row) const { return {(int)row, (int)batch}; }
    template <unsigned lines> __device__ __forceinline__ void load(unsigned short* to, Mbarrier& full, const Start& s, unsigned k) const {
        if constexpr (along) {
            tma_load(to, map, full, (int)k, s.row, s.batch);
        } else {
#pragma unroll
            for (unsigned i = 0; i < lines / 64; i++) tma_load(to + i * BOX, map, full, s.row + 64 * (int)i, (int)k, s.batch);
        }
    }
    template <unsigned lines> __device__ __forceinline__ void load_to(unsigned short blocks, unsigned short* to, Mbarrier& full, const Start& s, unsigned k) const {
        if constexpr (along) {
            tma_load_to(to, map, full, blocks, (int)k, s.row, s.batch);
        } else {
#pragma unroll
            for (unsigned i = 0; i < lines / 64; i++) tma_load_to(to + i * BOX, map, full, blocks, s.row + 64 * (int)i, (int)k, s.batch);
        }
    }
};

// Where 16 of a strip's K lie, from `k` on: eight lines are 1024 bytes, whether they are rows or K; across K a box has 64 rows.
template <bool along_k> __device__ __forceinline__ unsigned long long factor(const unsigned short* strip, unsigned k) {
    return matrix<128>(strip + (along_k ? k : k * 64), 2 * BOX, 1024);
}

// The one of this number among tiles of `tall` x `wide`, in an order in which those that are computed at the same time share rows of A and columns of B: strips of 2048
// rows, each column by column. 132 tiles of 128 x 256 in turn need some 4,200 lines of both factors; of a square of 8192 it would be 8,700, row by row.
template <unsigned tall, unsigned wide> __device__ __forceinline__ Tile tile_in_strips(const Gemm& g, unsigned number) {
    constexpr unsigned MOST = 2048 / tall;
    const unsigned across = (g.n + wide - 1) / wide, down = (g.m + tall - 1) / tall;
    const unsigned within = number % (across * down), first = within / (MOST * across) * MOST, high = min(down - first, MOST), turn = within % (MOST * across);
    Tile t = tile_of<tall, wide>(g, number);
    t.row = (first + turn % high) * tall, t.column = turn / high * wide;
    return t;
}

// How many of the 16 rows that a warp has from `row` on there are.
__device__ __forceinline__ unsigned rows_from(const Gemm& g, unsigned row) { return row < g.m ? min(g.m - row, 16u) : 0; }

// Joins what the four warps of a warpgroup took of their 16 rows each: a lane has every 32nd column. They meet where the sums went out.
template <unsigned wide>
__device__ __forceinline__ void join_warps(const Gemm& g, const Tile& t, float* to, unsigned warp, float (&ways_out)[8][16][32], const float (&mean)[wide / 32],
                                           const float (&squares)[wide / 32]) {
    typedef float Taken[4][2][wide];
    static_assert(sizeof(Taken) <= 4 * sizeof ways_out[0], "a warpgroup's share of the memory");
    const unsigned half = warp / 4, row = t.row + PART_ROWS * half;
    Taken& taken = *reinterpret_cast<Taken*>(&ways_out[4 * half]);
    named_barrier_sync(1 + half, 128);
#pragma unroll
    for (unsigned i = 0; i < wide / 32; i++) {
        const unsigned column = 32 * i + threadIdx.x % 32;
        taken[warp % 4][0][column] = mean[i], taken[warp % 4][1][column] = squares[i];
    }
    named_barrier_sync(1 + half, 128);
    for (unsigned column = threadIdx.x % 128; column < wide; column += 128) {
        float all[3] = {};
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            const float other[3] = {(float)rows_from(g, row + 16 * i), taken[i][0][column], taken[i][1][column]};
            Moments()(all, other);
        }
        if (row < g.m && t.column + column < g.n) leave_moments(to, all, row, t.column + column, g.n);
    }
    // The next tile's sums go the same way.
    named_barrier_sync(1 + half, 128);
}

// The warp's 16 rows go through shared memory, 32 columns at a time, so that neighbouring lanes put neighbouring columns. Eight of these change places by the row, lest
// pairs of four rows lie in the same banks. So does what `put` reads ahead: registers are full of sums, and the code of `put`, of which some is long, is there four times a
// round and not sixteen.
template <unsigned wide, class Put>
__device__ __forceinline__ void put_rows(const Gemm& g, float* partials, const Tile& t, unsigned warp, Place<wide>& place, const float (&d)[wide / 2], Put put) {
    typedef decltype(put.ahead(0u, 0u)) Ahead;
    const unsigned lane = threadIdx.x % 32, row = t.row + 16 * warp;
    const auto sum = [&](unsigned i, unsigned column) -> float& { return place.sums[warp][i][column ^ i % 4 * 8]; };
    float* const to = g.parts == 1 ? moments_of(put) : nullptr;
    float mean[wide / 32], squares[wide / 32];
#pragma unroll
    for (unsigned from = 0; from < wide; from += 32) {
        const auto spot = [&](unsigned i) { return Spot{row + i, t.column + from + lane}; };
#pragma unroll
        for (unsigned i = 0; i < 16; i += 2)
            reinterpret_cast<uint2&>(sum(lane / 4 + i / 2 % 2 * 8, i / 4 * 8 + lane % 4 * 2)) = {__float_as_uint(d[from / 2 + i]), __float_as_uint(d[from / 2 + i + 1])};
        if constexpr (is_something<Ahead>) {
            if (g.parts == 1) {
                Ahead ahead[16] = {};
                read_ahead(g, g.m, put, spot, ahead);
#pragma unroll
                for (unsigned i = 0; i < 16; i++) place.ahead[warp][i][lane] = ahead[i];
            }
        }
        __syncwarp();
#pragma unroll 4
        for (unsigned i = 0; i < 16; i++) put_sum(g, partials, t, g.m, put, spot(i), sum(i, lane), g.parts == 1 ? kept<Ahead>(place.ahead[warp][i][lane]) : Ahead{});
        if (to) {
            float moments[3];
            take_moments(moments, rows_from(g, row), [&](unsigned i) { return sum(i, lane); });
            mean[from / 32] = moments[1], squares[from / 32] = moments[2];
        }
        __syncwarp();
    }
    if (to) join_warps<wide>(g, t, to, warp, place.sums, mean, squares);
}

// Of factors of T; `put` takes the sums. By `together` blocks of a cluster at once, 1 or 2.
template <unsigned wide, unsigned together, class T, class A, class B, class Put>
__device__ __forceinline__ void gemm_wgmma(const Gemm& g, float* partials, const A& a, const B& b, Put put) {
    DYNAMIC_SHARED(place, Place<wide>);
    constexpr unsigned TALL = together * HIGH, SHARE = wide / together;
    const unsigned rank = together > 1 ? cluster_rank() : 0;
    const unsigned first = blockIdx.x / together, step = gridDim.x / together;
    const unsigned tiles = g.batch * g.parts * ((g.m + TALL - 1) / TALL) * ((g.n + wide - 1) / wide);
    const auto tile = [&](unsigned number) {
        Tile t = tile_in_strips<TALL, wide>(g, number);
        t.row += rank * HIGH;
        return t;
    };
    if (threadIdx.x == 0) {
        for (unsigned s = 0; s < RING; s++) {
            mbarrier_init(place.full[s], 1);
            mbarrier_init(place.empty[s], 2 * together);
        }
        mbarrier_init_fence();
    }
    if constexpr (together > 1) {
        cluster_sync();
    } else {
        __syncthreads();
    }
    launch_wait(), launch_next();
    // Strips so far, through all tiles.
    unsigned strip = 0;
    if (threadIdx.x < 128) {
        registers_down<40>();
        if (threadIdx.x == 0) {
            for (unsigned number = first; number < tiles; number += step) {
                const Tile t = tile(number);
                const typename A::Start of_a = a.start(t.batch, t.row);
                const typename B::Start of_b = b.start(t.batch, t.column + rank * SHARE);
                for (unsigned k = t.start; k < t.end; k += DEPTH, strip++) {
                    Stage<wide>& stage = place.stages[strip % RING];
                    Mbarrier& full = place.full[strip % RING];
                    if constexpr (together > 1) {
                        mbarrier_wait_cluster(place.empty[strip % RING], strip / RING % 2 ^ 1);
                    } else {
                        mbarrier_wait(place.empty[strip % RING], strip / RING % 2 ^ 1);
                    }
                    mbarrier_expect(full, sizeof stage);
                    a.template load<HIGH>(stage.a, full, of_a, k);
                    if constexpr (together > 1) {
                        b.template load_to<SHARE>((1u << together) - 1, stage.b + rank * SHARE * DEPTH, full, of_b, k);
                    } else {
                        b.template load<wide>(stage.b, full, of_b, k);
                    }
                }
            }
        }
    } else {
        registers_up<232>();
        const unsigned half = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 - 4;
        const auto leave = [&](unsigned strip) {
            if (threadIdx.x % 128 != 0) return;
            if constexpr (together > 1) {
#pragma unroll
                for (unsigned block = 0; block < together; block++) mbarrier_arrive_at(place.empty[strip % RING], block);
            } else {
                mbarrier_arrive(place.empty[strip % RING]);
            }
        };
        for (unsigned number = first; number < tiles; number += step) {
            const Tile t = tile(number);
            float d[wide / 2] = {};
            for (unsigned k = t.start; k < t.end; k += DEPTH, strip++) {
                const Stage<wide>& stage = place.stages[strip % RING];
                mbarrier_wait(place.full[strip % RING], strip / RING % 2);
                wgmma_fence(d);
#pragma unroll
                for (unsigned deep = 0; deep < DEPTH; deep += 16)
                    wgmma<wide, T, !A::along_k, !B::along_k>(d, factor<A::along_k>(stage.a + half * BOX, deep), factor<B::along_k>(stage.b, deep), true);
                wgmma_commit();
                // The strip before it is multiplied then.
                wgmma_wait<1>(d);
                if (k > t.start) leave(strip - 1);
            }
            wgmma_wait<0>(d);
            leave(strip - 1);
            put_rows<wide>(g, partials, t, warp, place, d, put);
        }
    }
    if constexpr (together > 1) {
        __syncwarp();
        cluster_sync();
    }
}
}  // namespace of_wgmma
using of_wgmma::gemm_wgmma;
using of_wgmma::Matrices;
#endif
