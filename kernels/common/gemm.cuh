// Products of matrices, f32 sums, for any way in which the factors lie: the exact path, and the one for what tensor cores do not take.
//
// A block computes a tile of 64 x 64 of C for a part of K, its 256 threads 4 x 4 sums each, in strips of 16 of K that lie in shared memory: of 2 * 64 * 16
// numbers read for 64 * 64 * 16 multiply-adds, 8 multiply-adds a byte in f32. Where there are few tiles and K is long, parts of K have blocks of their own,
// leave their sums in memory, and a second launch adds them in their order. What is done with a sum is the operator's: it is done in registers.
#pragma once
#include "common/types.cuh"

#define TILE 64
#define STRIP 16

// What the host lays down. `depth` of K a part.
struct Gemm {
    unsigned m, n, k, depth, parts, batch;
};

// What a block does: a tile of C of this size from a row and a column on, for a part of K, of one product.
struct Tile {
    unsigned row, column, start, end, part, batch;
};

template <unsigned tile> __device__ __forceinline__ Tile tile_of(const Gemm& g) {
    const unsigned across = (g.n + tile - 1) / tile, down = (g.m + tile - 1) / tile;
    const unsigned part = blockIdx.x / across / down % g.parts, start = part * g.depth;
    return {blockIdx.x / across % down * tile, blockIdx.x % across * tile, start, min(start + g.depth, g.k), part, blockIdx.x / across / down / g.parts};
}

// Where a sum goes, which is one of a part of K, or all of it; nowhere beyond the edge.
template <class Put> __device__ __forceinline__ void put_sum(const Gemm& g, float* partials, const Tile& t, unsigned row, unsigned column, float sum, Put put) {
    if (row >= g.m || column >= g.n) return;
    if (g.parts > 1) {
        partials[(((size_t)t.batch * g.parts + t.part) * g.m + row) * g.n + column] = sum;
    } else {
        put(t.batch, row, column, sum);
    }
}

// A row more than needed is skipped, lest a column lie in one bank.
struct alignas(16) Strips {
    float a[STRIP][TILE + 4], b[STRIP][TILE + 4];
};

// a(batch, row, k) and b(batch, k, column) give numbers; put(batch, row, column, sum) takes them. Neighbouring threads read along K where the factor says so,
// else along its rows, or columns.
template <bool a_along_k, bool b_along_k, class A, class B, class Put>
__device__ __forceinline__ void gemm(const Gemm& g, float* partials, A a, B b, Put put) {
    SHARED(strips, Strips);
    const Tile t = tile_of<TILE>(g);
    const unsigned row_of = threadIdx.x / 16 * 4, column_of = threadIdx.x % 16 * 4;
    float sums[4][4] = {};
    for (unsigned k0 = t.start; k0 < t.end; k0 += STRIP) {
#pragma unroll
        for (unsigned i = threadIdx.x; i < TILE * STRIP; i += BLOCK) {
            const unsigned k = a_along_k ? i % STRIP : i / TILE, row = a_along_k ? i / STRIP : i % TILE;
            strips.a[k][row] = t.row + row < g.m && k0 + k < t.end ? a(t.batch, t.row + row, k0 + k) : 0;
        }
#pragma unroll
        for (unsigned i = threadIdx.x; i < TILE * STRIP; i += BLOCK) {
            const unsigned k = b_along_k ? i % STRIP : i / TILE, column = b_along_k ? i / STRIP : i % TILE;
            strips.b[k][column] = t.column + column < g.n && k0 + k < t.end ? b(t.batch, k0 + k, t.column + column) : 0;
        }
        __syncthreads();
#pragma unroll
        for (unsigned k = 0; k < STRIP; k++) {
            float of_a[4], of_b[4];
#pragma unroll
            for (int i = 0; i < 4; i++) of_a[i] = strips.a[k][row_of + i], of_b[i] = strips.b[k][column_of + i];
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] += of_a[i] * of_b[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) put_sum(g, partials, t, t.row + row_of + i, t.column + column_of + j, sums[i][j], put);
}

// The second launch, a thread for each element of C.
template <class Put> __device__ __forceinline__ void gemm_sum(const Gemm& g, const float* partials, Put put) {
    const size_t each = (size_t)g.m * g.n, i = element();
    if (i >= g.batch * each) return;
    const size_t batch = i / each, within = i % each;
    float sum = 0;
    for (unsigned part = 0; part < g.parts; part++) sum += partials[(batch * g.parts + part) * each + within];
    put((unsigned)batch, (unsigned)(within / g.n), (unsigned)(within % g.n), sum);
}
