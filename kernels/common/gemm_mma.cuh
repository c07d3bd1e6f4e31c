// Products of matrices of bf16 or f16 by tensor cores, f32 sums, for any way in which the factors lie: from sm_80 on.
//
// A factor says where its numbers lie, eight at a time (a chunk), as one of common/gemm.cuh says it of each. So it need not be in memory as such.
//   across(batch, index)               what its row (column, of B) says of a place, once for all of K; the first of eight, where it lies across K
//   along(batch, k)                    what k says of it, once a strip, or for each of its lines across K; the first of eight, where it lies along K
//   load(chunk, across, along, count)  begins to copy the first `count` numbers of the chunk there, and zeros behind them
//
// A block computes a tile of C of 128 x 128 or 64 x 64 for a part of K, split and joined as in common/gemm.cuh: 8 or 4 warps, each of them half of the tile's rows
// by 32 columns, which it keeps in registers. It walks along K in strips of 32, of which four are on their way or in use: while one is multiplied, cp.async
// brings those after it. 2 * 128 * 32 numbers are read for 128 * 128 * 32 multiply-adds: 64 FLOPs a byte, or 32, of which the L2 cache has to give what other
// blocks read as well. Expected bound: that cache for large products on Hopper, arithmetic before it, memory where one of the extents is small.
//
// A strip lies in shared memory as it does in global memory, in lines along K or across it, so that every copy is one of 16 bytes where lines begin at multiples
// of 16, and of 4 where they begin at those of 4; odd lines go through registers. ldmatrix reads eight chunks of 16 bytes at once, one of each of eight lines, and
// turns them where a factor lies across K. Chunks of a line change places by the line's number, so that any such eight lie in different banks.
#pragma once
#include "common/gemm.cuh"
#include "common/ptx.cuh"

// Of K, a strip.
#define DEEP 32
// Strips that are on their way or in use.
#define STAGES 4

template <unsigned tile> struct Stage {
    Chunk a[tile * DEEP / 8], b[tile * DEEP / 8];
};

// The block's memory: strips, and in their place at last the sums.
template <unsigned tile> union Place {
    Stage<tile> stages[STAGES];
    float sums[tile][tile];
};

// A strip's lines: `tile` of 32 numbers along K, of which two fill all banks, or 32 of `tile` numbers across it.
template <unsigned tile, bool along_k> struct Lines {
    static constexpr unsigned CHUNKS = (along_k ? DEEP : tile) / 8;
    static __device__ __forceinline__ unsigned at(unsigned line, unsigned chunk) { return line * CHUNKS + (chunk ^ (along_k ? line / 2 % 4 : line % 8)); }
};

// Copies the first `count` of eight numbers, and zeros behind them. `pitch` numbers lie between the beginnings of two lines.
template <class T> __device__ __forceinline__ void load_chunk(Chunk& to, const T* from, unsigned count, unsigned pitch) {
    if (pitch % 8 == 0) {
        cp_async<16>(to.at, from, 2 * count);
    } else if (pitch % 2 == 0) {
#pragma unroll
        for (unsigned i = 0; i < 8; i += 2) cp_async<4>(to.at + i, i < count ? from + i : from, i < count ? 2 * min(count - i, 2u) : 0);
    } else {
        Chunk chunk;
#pragma unroll
        for (unsigned i = 0; i < 8; i++) chunk.at[i] = i < count ? from[i].bits : 0;
        to = chunk;
    }
}

// A factor that lies in memory as it is: in lines of `pitch` numbers along K, or across it.
template <class T, bool along_k> struct Matrix {
    typedef unsigned Across;
    typedef unsigned Along;
    const T* numbers;
    unsigned pitch;
    __device__ __forceinline__ unsigned across(unsigned, unsigned index) const { return index; }
    __device__ __forceinline__ unsigned along(unsigned, unsigned k) const { return k; }
    __device__ __forceinline__ size_t place(unsigned across, unsigned k) const { return along_k ? (size_t)across * pitch + k : (size_t)k * pitch + across; }
    // For the exact path.
    __device__ __forceinline__ float at(unsigned, unsigned across, unsigned k) const { return to_float(numbers[place(across, k)]); }
    __device__ __forceinline__ void load(Chunk& to, unsigned across, unsigned k, unsigned count) const {
        load_chunk(to, count ? numbers + place(across, k) : numbers, count, pitch);
    }
};

// What a thread copies of each strip of a factor: the same chunk of as many lines. Rows (columns, of B) from `row` on below `rows`.
template <unsigned tile, bool along_k, class Factor> struct Loader {
    using L = Lines<tile, along_k>;
    static constexpr unsigned THREADS = 2 * tile, EACH = tile * DEEP / 8 / THREADS, PLACES = along_k ? EACH : 1;
    Factor factor;
    unsigned batch, row, rows;
    typename Factor::Across places[PLACES];

    __device__ __forceinline__ Loader(const Factor& factor, unsigned batch, unsigned row, unsigned rows) : factor(factor), batch(batch), row(row), rows(rows) {
#pragma unroll
        for (unsigned n = 0; n < PLACES; n++) places[n] = factor.across(batch, row_of(n));
    }
    static __device__ __forceinline__ unsigned chunk() { return threadIdx.x % L::CHUNKS; }
    static __device__ __forceinline__ unsigned line(unsigned n) { return threadIdx.x / L::CHUNKS + n * (THREADS / L::CHUNKS); }
    __device__ __forceinline__ unsigned row_of(unsigned n) const { return row + (along_k ? line(n) : 8 * chunk()); }

    // Begins to copy the strip from `k0` on, of K below `end`.
    __device__ __forceinline__ void load(Chunk* strip, unsigned k0, unsigned end) const {
#pragma unroll
        for (unsigned n = 0; n < EACH; n++) {
            const unsigned row = row_of(n), k = k0 + (along_k ? 8 * chunk() : line(n));
            const unsigned count = row < rows && k < end ? min(along_k ? end - k : rows - row, 8u) : 0;
            factor.load(strip[L::at(line(n), chunk())], places[n % PLACES], factor.along(batch, k), count);
        }
    }
};

// 16 rows (columns, of B) from `row` on by 16 of K from `k` on, as four matrices of 8 x 8. A lane reads a line of the quarter with these halves.
template <unsigned tile, bool along_k> __device__ __forceinline__ void load_fragments(unsigned (&r)[4], const Chunk* strip, unsigned row, unsigned k, unsigned row_half, unsigned k_half) {
    using L = Lines<tile, along_k>;
    if constexpr (along_k) {
        ldmatrix<4, false>(r, &strip[L::at(row + 8 * row_half + threadIdx.x % 8, k / 8 + k_half)]);
    } else {
        ldmatrix<4, true>(r, &strip[L::at(k + 8 * k_half + threadIdx.x % 8, row / 8 + row_half)]);
    }
}

// Of factors of T that say where chunks lie; `put` takes the sums. A block has 2 * tile threads.
template <unsigned tile, bool a_along_k, bool b_along_k, class T, class A, class B, class Put, class Extents>
__device__ __forceinline__ void gemm_mma_of(const Gemm& g, float* partials, const A& a, const B& b, Put put, Extents extents) {
    DYNAMIC_SHARED(place, Place<tile>);
    constexpr unsigned HIGH = tile / 2 / 16, WIDE = 2;
    launch_wait(), launch_next();
    const Tile t = tile_of<tile>(g);
    const unsigned rows = extents.rows(g, t.batch), end = min(t.end, extents.depth(g, t.batch));
    if (t.row >= rows) return;
    const Loader<tile, a_along_k, A> of_a(a, t.batch, t.row, rows);
    const Loader<tile, b_along_k, B> of_b(b, t.batch, t.column, g.n);
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = warp % 2 * (tile / 2), column = warp / 2 * 32;
    float sums[HIGH][2 * WIDE][4] = {};
    // A strip is loaded in one round and multiplied three rounds later. One loop does both, so that the code for it is there once.
#pragma unroll 1
    for (unsigned round = 0, k = t.start; k < end + (STAGES - 1) * DEEP; round++, k += DEEP) {
        if (round >= STAGES - 1) {
            // The strip that is next is there for all then, and the one before it is read by none any more: its place is for the one that is loaded.
            cp_async_wait<STAGES - 2>();
            __syncthreads();
        }
        if (k < end) {
            Stage<tile>& to = place.stages[round % STAGES];
            of_a.load(to.a, k, end);
            of_b.load(to.b, k, end);
        }
        // A group each round, though it be empty: what was loaded three rounds ago is there when no more than the last two are under way.
        cp_async_commit();
        if (round < STAGES - 1) continue;
        const Stage<tile>& from = place.stages[(round - (STAGES - 1)) % STAGES];
#pragma unroll
        for (unsigned deep = 0; deep < DEEP; deep += 16) {
            // The quarters in the order of mma's registers: of a, those below before those of the next 8 of K; of b the other way round, for two matrices.
            unsigned a_part[HIGH][4], b_part[WIDE][4];
#pragma unroll
            for (unsigned i = 0; i < HIGH; i++) load_fragments<tile, a_along_k>(a_part[i], from.a, row + 16 * i, deep, lane / 8 % 2, lane / 16);
#pragma unroll
            for (unsigned j = 0; j < WIDE; j++) load_fragments<tile, b_along_k>(b_part[j], from.b, column + 16 * j, deep, lane / 16, lane / 8 % 2);
#pragma unroll
            for (unsigned i = 0; i < HIGH; i++)
#pragma unroll
                for (unsigned j = 0; j < 2 * WIDE; j++) mma_m16n8k16<T>(sums[i][j], a_part[i], {b_part[j / 2][j % 2 * 2], b_part[j / 2][j % 2 * 2 + 1]});
        }
    }
    // The sums go through shared memory, so that neighbouring threads put neighbouring columns. Eight of these change places by the row, for the banks' sake.
    const auto at = [&](unsigned row, unsigned column) -> float& { return place.sums[row][column ^ row % 4 * 8]; };
    __syncthreads();
#pragma unroll
    for (unsigned i = 0; i < HIGH; i++)
#pragma unroll
        for (unsigned j = 0; j < 2 * WIDE; j++)
#pragma unroll
            for (unsigned c = 0; c < 2; c++) {
                float& pair = at(row + 16 * i + lane / 4 + 8 * c, column + 8 * j + lane % 4 * 2);
                reinterpret_cast<float2&>(pair) = make_float2(sums[i][j][2 * c], sums[i][j][2 * c + 1]);
            }
    __syncthreads();
    // A thread's column is the same all the way down.
    constexpr unsigned EACH = tile / 32;
    const unsigned first = threadIdx.x / tile, across = threadIdx.x % tile;
#pragma unroll 1
    for (unsigned down = first; down < tile; down += 2 * EACH)
        put_sums<EACH>(
            g, partials, t, rows, put, [&](unsigned i) { return Spot{t.row + down + 2 * i, t.column + across}; },
            [&](unsigned i) -> float& { return at(down + 2 * i, across); });
    if (float* const to = g.parts == 1 ? moments_of(put) : nullptr) put_moments<tile>(g, t, to, at);
}

// Of matrices as they lie: a is [m, k] along K, else [k, m]; b is [n, k] along K, else [k, n].
template <unsigned tile, bool a_along_k, bool b_along_k, class T, class Put>
__device__ __forceinline__ void gemm_mma(const Gemm& g, float* partials, const T* a, const T* b, Put put) {
    const size_t batch = tile_of<tile>(g).batch;
    const Matrix<T, a_along_k> of_a{a + batch * g.m * g.k, a_along_k ? g.k : g.m};
    const Matrix<T, b_along_k> of_b{b + batch * g.n * g.k, b_along_k ? g.k : g.n};
    gemm_mma_of<tile, a_along_k, b_along_k, T>(g, partials, of_a, of_b, put, Alike());
}
