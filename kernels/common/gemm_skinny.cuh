// Products of up to 16 rows, f32 sums, where both factors lie along K: C = A B, A [m, k], B^T [n, k], as a decoder has them: a token of each beam by every weight.
//
// 2 m n k FLOPs for n k numbers of B, which are read once: m FLOPs a byte in 16 bits, m / 2 in f32. Bound by memory where there are thousands of columns, and
// where there are hundreds by the time until it answers. So all loads of B are asked for before any is waited for, and blocks are many and small.
//
// A block computes 8 columns for all rows: its eight warps share K, a short stretch each in turn, so that together they read hundreds of neighbouring bytes of
// each column. Lanes load 16 bytes at once where lines begin at multiples of 16. No factor goes through shared memory: B would be read from there once, and A,
// which all blocks of a processor read, comes from the L1 cache as fast. Only the warps' sums do, which are added in the order of the warps. K is cut among
// blocks as in common/gemm.cuh where it is so long that blocks of a few columns would take longer than a second launch.
//
//   bf16, f16   tensor cores, from sm_80 on: A is 16 x 16, and those of its rows that are not there are zero without being read
//   f32         a lane has a place of K, four columns, up to eight rows, and a sum for each of both; what lanes have of one element is added by shuffles
#pragma once
#include "common/gemm.cuh"
#include "common/ptx.cuh"

namespace of_skinny {
// Rows and columns of a block, and of f32 the columns of a warp.
constexpr unsigned HIGH = 16, NARROW = 8, WIDE = 4;

// How many warps share K at most, how much of it one of them has in a round, how many rounds of B are asked for at once where lines are loaded by 16 bytes, and
// how many blocks there is room for in a processor's registers.
template <class T> struct Split {
    static constexpr unsigned SHARES = BLOCK / 32, DEPTH = 32, AHEAD = 6, BLOCKS = 3;
    static __device__ __forceinline__ unsigned shares(const Gemm&) { return SHARES; }
};
template <> struct Split<float> {
    static constexpr unsigned SHARES = BLOCK / 32 * WIDE / NARROW, DEPTH = 32 * 4, AHEAD = 2, BLOCKS = 2;
    static __device__ __forceinline__ unsigned shares(const Gemm& g) { return g.m > HIGH / 2 ? SHARES / 2 : SHARES; }
};

// The sums of each of the warps that share K.
template <class T> using Sums = float[Split<T>::SHARES][HIGH][NARROW];

// 16 bytes of a line of a factor.
struct alignas(16) Piece {
    unsigned words[4];
};

// Those from number k on, zeros from number `end` on. Lines begin at multiples of `bytes`.
template <unsigned bytes, class T> __device__ __forceinline__ Piece load_piece(const T* line, unsigned k, unsigned end) {
    constexpr unsigned EACH = 4 / sizeof(T);
    Piece piece = {};
    // All are read from this address: indices that might wrap round would need one each.
    const T* from = line + k;
    if constexpr (bytes == 16) {
        if (k < end) {
            const uint4 words = *reinterpret_cast<const uint4*>(from);
            piece = {{words.x, words.y, words.z, words.w}};
        }
    } else {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            if constexpr (bytes == 4) {
                if (k + i * EACH < end) piece.words[i] = reinterpret_cast<const unsigned*>(from)[i];
            } else {
                if (k + i * EACH < end) piece.words[i] = from[i * EACH].bits;
                if (k + i * EACH + 1 < end) piece.words[i] |= (unsigned)from[i * EACH + 1].bits << 16;
            }
        }
    }
    return piece;
}

// Lane 4 i + q has 16 bytes of column i, of row i and of row i + 8, all from the same place of K. mma takes two registers of each at once, whose numbers it calls
// 2q, 2q + 1, 2q + 8 and 2q + 9 of its K; that these are others does not matter, as both factors have the same.
template <unsigned bytes, class T> __device__ __forceinline__ void sum_up(const Gemm& g, const Tile& t, const T* a, const T* b, Sums<T>& to) {
    // A is asked for a few rounds at a time: it comes from the cache, and takes twice the registers.
    constexpr unsigned ROUND = Split<T>::SHARES * Split<T>::DEPTH, AHEAD = bytes == 16 ? Split<T>::AHEAD : 1, FEW = bytes == 16 ? 3 : 1;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, i = lane / 4, column = t.column + i;
    const T *upper = a + (size_t)i * g.k, *lower = upper + (size_t)8 * g.k, *of_b = b + (size_t)column * g.k;
    const unsigned upper_end = i < g.m ? t.end : 0, lower_end = i + 8 < g.m ? t.end : 0, b_end = column < g.n ? t.end : 0;
    // Two chains of sums, so that a product need not wait for the one before it.
    float sums[2][4] = {};
    for (unsigned k0 = t.start + warp * Split<T>::DEPTH; k0 < t.end; k0 += AHEAD * ROUND) {
        Piece b_at[AHEAD];
#pragma unroll
        for (unsigned n = 0; n < AHEAD; n++) b_at[n] = load_piece<bytes>(of_b, k0 + n * ROUND + lane % 4 * 8, b_end);
#pragma unroll
        for (unsigned from = 0; from < AHEAD; from += FEW) {
            Piece upper_at[FEW], lower_at[FEW];
#pragma unroll
            for (unsigned n = 0; n < FEW; n++) {
                const unsigned k = k0 + (from + n) * ROUND + lane % 4 * 8;
                upper_at[n] = load_piece<bytes>(upper, k, upper_end);
                lower_at[n] = load_piece<bytes>(lower, k, lower_end);
            }
#pragma unroll
            for (unsigned n = 0; n < FEW; n++) {
                const unsigned(&x)[4] = upper_at[n].words, (&y)[4] = lower_at[n].words, (&w)[4] = b_at[from + n].words;
                mma_m16n8k16<T>(sums[0], {x[0], y[0], x[1], y[1]}, {w[0], w[1]});
                mma_m16n8k16<T>(sums[1], {x[2], y[2], x[3], y[3]}, {w[2], w[3]});
            }
            if (k0 + (from + FEW) * ROUND >= t.end) break;
        }
    }
#pragma unroll
    for (unsigned c = 0; c < 4; c++) to[warp][i + c / 2 * 8][lane % 4 * 2 + c % 2] = sums[0][c] + sums[1][c];
}

// The sum of each of four columns over the warp's lanes: lane 8 j has that of column j. Half of the lanes go on with two columns each, and half of these with one.
__device__ __forceinline__ float over_lanes(const float (&sums)[WIDE]) {
    constexpr unsigned ALL = 0xffffffffu;
    const bool later_two = threadIdx.x & 16, later_one = threadIdx.x & 8;
    const float first = (later_two ? sums[2] : sums[0]) + __shfl_xor_sync(ALL, later_two ? sums[0] : sums[2], 16);
    const float second = (later_two ? sums[3] : sums[1]) + __shfl_xor_sync(ALL, later_two ? sums[1] : sums[3], 16);
    float sum = (later_one ? second : first) + __shfl_xor_sync(ALL, later_one ? first : second, 8);
#pragma unroll
    for (int bits = 4; bits > 0; bits /= 2) sum += __shfl_xor_sync(ALL, sum, bits);
    return sum;
}

// Of more than 8 rows, half of the warps have the upper 8 and half the others: sums of 16 rows would fill a lane's registers.
template <unsigned bytes> __device__ __forceinline__ void sum_up(const Gemm& g, const Tile& t, const float* a, const float* b, Sums<float>& to) {
    constexpr unsigned DEPTH = Split<float>::DEPTH, AHEAD = bytes == 16 ? Split<float>::AHEAD : 1, HALF = HIGH / 2;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, shares = Split<float>::shares(g), round = shares * DEPTH;
    const unsigned share = warp % shares, within = warp / Split<float>::SHARES * WIDE, column = t.column + within, top = warp % Split<float>::SHARES / shares * HALF;
    a += (size_t)top * g.k, b += (size_t)column * g.k;
    float sums[HALF][WIDE] = {};
    for (unsigned k0 = t.start + share * DEPTH; k0 < t.end; k0 += AHEAD * round) {
        Piece of_b[AHEAD][WIDE];
#pragma unroll
        for (unsigned n = 0; n < AHEAD; n++)
#pragma unroll
            for (unsigned j = 0; j < WIDE; j++) of_b[n][j] = load_piece<bytes>(b + (size_t)j * g.k, k0 + n * round + lane * 4, column + j < g.n ? t.end : 0);
#pragma unroll
        for (unsigned row = 0; row < HALF; row++) {
            if (top + row >= g.m) break;
#pragma unroll
            for (unsigned n = 0; n < AHEAD; n++) {
                const Piece of_a = load_piece<bytes>(a + (size_t)row * g.k, k0 + n * round + lane * 4, t.end);
#pragma unroll
                for (unsigned i = 0; i < 4; i++)
#pragma unroll
                    for (unsigned j = 0; j < WIDE; j++) sums[row][j] += __uint_as_float(of_a.words[i]) * __uint_as_float(of_b[n][j].words[i]);
            }
        }
    }
#pragma unroll
    for (unsigned row = 0; row < HALF; row++) {
        if (top + row >= g.m) break;
        const float sum = over_lanes(sums[row]);
        if (lane % 8 == 0) to[share][top + row][within + lane / 8] = sum;
    }
}
}  // namespace of_skinny

// a is [m, k] with m up to 16, b is [n, k]; `put` takes the sums.
template <class T, class Put> __device__ __forceinline__ void gemm_skinny(const Gemm& g, float* partials, const T* a, const T* b, Put put) {
    using namespace of_skinny;
    SHARED(sums, Sums<T>);
    launch_wait(), launch_next();
    const Tile t = tile_of<HIGH, NARROW>(g);
    a += (size_t)t.batch * g.m * g.k, b += (size_t)t.batch * g.n * g.k;
    if (g.k * sizeof(T) % 16 == 0) {
        sum_up<16>(g, t, a, b, sums);
    } else if (g.k * sizeof(T) % 4 == 0) {
        sum_up<4>(g, t, a, b, sums);
    } else if constexpr (sizeof(T) == 2) {
        sum_up<2>(g, t, a, b, sums);
    }
    __syncthreads();
    const unsigned row = threadIdx.x / NARROW, column = threadIdx.x % NARROW;
    if (row >= min(g.m, HIGH)) return;
    float sum = 0;
#pragma unroll
    for (unsigned share = 0; share < Split<T>::shares(g); share++) sum += sums[share][row][column];
    put_sums<1>(g, partials, t, g.m, put, [&](unsigned) { return Spot{row, t.column + column}; }, [&](unsigned) -> float& { return sum; });
}
