// What the kernels of attention by tensor cores share, for bf16 and f16 in heads of up to SIZE columns, 64 or 128, in multiples of 8: from sm_80 on. In the manner
// of Dao 2023, FlashAttention-2.
//
// Four warps own 64 rows of a head, 16 each, and meet the others a tile at a time. Tiles come through shared memory by copies of 16 bytes that go on by
// themselves. A warp keeps the scores of its rows in registers, as mma leaves them: with row = lane / 4 and two = lane % 4 * 2 a lane has in s[n]
//   s(row, 8 n + two), s(row, 8 n + two + 1), s(row + 8, 8 n + two), s(row + 8, 8 n + two + 1)
// so that a row lies in four neighbours, and two s[n] are, rounded, the left factor of the next product. wgmma leaves its sums so, too: what is done to
// fragments here asks for no more than a warp.
#pragma once
#include "common/attention.cuh"
#include "common/ptx.cuh"

// Threads of a block.
#define MMA_THREADS (TILE / 16 * 32)
// expf(x) is exp2f(x * LOG2E), of which the product is part of the one before it.
#define LOG2E 1.44269504f

// --- Tiles
// Where eight columns of a row lie. They change places by the row's number, so that those of eight rows, which ldmatrix reads at once, lie in different banks.
template <unsigned SIZE> __device__ __forceinline__ unsigned chunk_at(unsigned row, unsigned chunk) { return row * (SIZE / 8) + (chunk ^ row % 8); }

// Begins to copy a tile of `high` rows; zeros stand for rows and columns that are not there.
template <unsigned SIZE, unsigned high, class T> __device__ __forceinline__ void load_tile(Chunk* tile, const Rows<T>& rows, unsigned size) {
    constexpr unsigned CHUNKS = SIZE / 8;
#pragma unroll
    for (unsigned i = threadIdx.x; i < high * CHUNKS; i += MMA_THREADS) {
        const unsigned row = i / CHUNKS, chunk = i % CHUNKS;
        const bool is_there = row < rows.count && 8 * chunk < size;
        cp_async<16>(&tile[chunk_at<SIZE>(row, chunk)], is_there ? rows.first + (size_t)row * rows.stride + 8 * chunk : rows.first, is_there ? 16 : 0);
    }
}

// The first of the warp's rows in the block's tile.
__device__ __forceinline__ unsigned row_of_warp() { return threadIdx.x / 32 * 16; }
// The first of the lane's two rows.
__device__ __forceinline__ unsigned row_of_lane() { return row_of_warp() + threadIdx.x % 32 / 4; }

// Rows of the warp as left factors, 16 columns each, from memory.
template <unsigned SIZE, class T> __device__ __forceinline__ void load_left(unsigned (&left)[SIZE / 16][4], const Rows<T>& rows, unsigned size) {
#pragma unroll
    for (unsigned deep = 0; deep < SIZE / 16; deep++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            const unsigned row = row_of_lane() + i % 2 * 8, column = 16 * deep + i / 2 * 8 + threadIdx.x % 4 * 2;
            left[deep][i] = row < rows.count && column < size ? *reinterpret_cast<const unsigned*>(rows.first + (size_t)row * rows.stride + column) : 0;
        }
}

// The same 16 columns from a tile.
template <unsigned SIZE> __device__ __forceinline__ void left_of(unsigned (&left)[4], const Chunk* tile, unsigned deep) {
    ldmatrix<4, false>(left, &tile[chunk_at<SIZE>(row_of_warp() + threadIdx.x % 16, 2 * deep + threadIdx.x % 32 / 16)]);
}

// --- Products
// Scores of the warp's rows with 8 N others: left(to, deep) gives the rows' columns from 16 deep on.
template <unsigned SIZE, class T, unsigned N, class Left> __device__ __forceinline__ void score_fragments(float (&s)[N][4], const Chunk* others, Left left) {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned n = 0; n < N; n++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++) s[n][i] = 0;
#pragma unroll
    for (unsigned deep = 0; deep < SIZE / 16; deep++) {
        unsigned a[4], b[4];
        left(a, deep);
#pragma unroll
        for (unsigned n = 0; n < N; n += 2) {
            ldmatrix<4, false>(b, &others[chunk_at<SIZE>(8 * n + lane / 16 * 8 + lane % 8, 2 * deep + lane / 8 % 2)]);
            mma_m16n8k16<T>(s[n], a, {b[0], b[1]});
            mma_m16n8k16<T>(s[n + 1], a, {b[2], b[3]});
        }
    }
}

// The same with all columns of the rows in registers.
template <unsigned SIZE, class T, unsigned N>
__device__ __forceinline__ void score_fragments(float (&s)[N][4], const Chunk* others, const unsigned (&left)[SIZE / 16][4]) {
    score_fragments<SIZE, T>(s, others, [&](unsigned(&to)[4], unsigned deep) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) to[i] = left[deep][i];
    });
}

// Adds to the sums of the warp's rows the 8 N others, each times its factor, which is rounded to T.
template <unsigned SIZE, class T, unsigned N> __device__ __forceinline__ void mix_fragments(float (&sums)[SIZE / 8][4], const float (&p)[N][4], const Chunk* others) {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned n = 0; n < N; n += 2) {
        const unsigned a[4] = {pack<T>(p[n][0], p[n][1]), pack<T>(p[n][2], p[n][3]), pack<T>(p[n + 1][0], p[n + 1][1]), pack<T>(p[n + 1][2], p[n + 1][3])};
#pragma unroll
        for (unsigned m = 0; m < SIZE / 8; m += 2) {
            unsigned b[4];
            ldmatrix<4, true>(b, &others[chunk_at<SIZE>(8 * n + lane % 16, m + lane / 16)]);
            mma_m16n8k16<T>(sums[m], a, {b[0], b[1]});
            mma_m16n8k16<T>(sums[m + 1], a, {b[2], b[3]});
        }
    }
}

template <unsigned M> __device__ __forceinline__ void multiply_fragments(float (&sums)[M][4], float first, float second) {
#pragma unroll
    for (unsigned m = 0; m < M; m++) sums[m][0] *= first, sums[m][1] *= first, sums[m][2] *= second, sums[m][3] *= second;
}

// Writes the sums of the warp's rows, of which the tile has `count`, `stride` apart. They go through `place`, a tile that nobody else uses, in pieces of 16 bytes.
template <unsigned SIZE, class T>
__device__ __forceinline__ void put_fragments(Chunk* place, const float (&sums)[SIZE / 8][4], T* rows, unsigned stride, unsigned count, unsigned size) {
    constexpr unsigned CHUNKS = SIZE / 8;
#pragma unroll
    for (unsigned m = 0; m < CHUNKS; m++)
#pragma unroll
        for (unsigned i = 0; i < 2; i++)
            reinterpret_cast<unsigned*>(&place[chunk_at<SIZE>(row_of_lane() + 8 * i, m)])[threadIdx.x % 4] = pack<T>(sums[m][2 * i], sums[m][2 * i + 1]);
    __syncwarp();
#pragma unroll
    for (unsigned i = threadIdx.x % 32; i < 16 * CHUNKS; i += 32) {
        const unsigned row = row_of_warp() + i / CHUNKS, chunk = i % CHUNKS;
        if (row < count && 8 * chunk < size)
            *reinterpret_cast<uint4*>(rows + (size_t)row * stride + 8 * chunk) = *reinterpret_cast<const uint4*>(&place[chunk_at<SIZE>(row, chunk)]);
    }
}

// --- Which keys are seen, and which are kept
// The first so many of 64 columns, as bits.
__device__ __forceinline__ unsigned long long columns_below(unsigned count) { return count < 64 ? (1ull << count) - 1 : ~0ull; }

// Which of `wide` keys from `first` on a query batch may see, where `exist` do, as bits. All lanes come here.
template <unsigned wide> __device__ __forceinline__ unsigned long long open_columns(const int* mask, const Attention& a, unsigned batch, unsigned first, unsigned exist) {
    if (!mask) return columns_below(exist - min(first, exist));
    unsigned long long open = 0;
#pragma unroll
    for (unsigned n = 0; n < wide; n += 32) {
        const unsigned key = first + n + threadIdx.x % 32;
        open |= (unsigned long long)__ballot_sync(0xffffffffu, key < exist && !is_masked(mask, a, batch, key)) << n;
    }
    return open;
}

// Of these keys from `first` on those that a query sees, where `exist` do.
__device__ __forceinline__ unsigned long long seen_columns(unsigned long long open, const Attention& a, unsigned exist, unsigned query, unsigned first) {
    const unsigned limit = limit_of(a, exist, query);
    return open & columns_below(limit - min(first, limit));
}

// The first query that sees a key, where so many keys exist.
__device__ __forceinline__ unsigned beginning_of(const Attention& a, unsigned exist, unsigned key) { return a.is_causal ? max(key + a.queries, exist) - exist : 0; }

// A lane's two rows, where these are keys: the first query that sees each, and a number beyond all of them where none does.
struct Watched {
    unsigned from[2];
    // Of 64 queries from `first` on those that see it.
    __device__ __forceinline__ unsigned long long seen(unsigned i, unsigned first) const { return ~columns_below(from[i] - min(first, from[i])); }
};
__device__ __forceinline__ Watched watched(const int* mask, const Attention& a, unsigned batch, unsigned exist, unsigned key) {
    Watched keys;
#pragma unroll
    for (unsigned i = 0; i < 2; i++) {
        const bool is_open = key + 8 * i < exist && !is_masked(mask, a, batch, key + 8 * i);
        keys.from[i] = is_open ? beginning_of(a, exist, key + 8 * i) : ~0u;
    }
    return keys;
}

// What is not seen becomes `hidden`, whatever it was. `first` and `second` are the columns that the lane's two rows see.
template <unsigned N> __device__ __forceinline__ void hide(float (&s)[N][4], unsigned long long first, unsigned long long second, float hidden) {
    if ((~(first & second) & columns_below(8 * N)) == 0) return;
#pragma unroll
    for (unsigned n = 0; n < N; n++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            if (!((i < 2 ? first : second) >> (threadIdx.x % 4 * 2) >> (8 * n + i % 2) & 1)) s[n][i] = hidden;
}

// Which of a lane's scores dropout keeps: bit 4 n of at[i] is that of s[n][i].
struct Kept {
    unsigned at[4];
    __device__ __forceinline__ bool operator()(unsigned n, unsigned i) const { return at[i] >> 4 * n & 1; }
};
__device__ __forceinline__ Kept all_kept() { return {{~0u, ~0u, ~0u, ~0u}}; }

// Rows are queries, `row` the number of the warp's first, columns are 8 N keys from `key` on. Two neighbours need the same four keys of two rows: each asks for one.
template <unsigned N> __device__ __forceinline__ Kept kept_of_queries(const int* rng, const Attention& a, size_t row, unsigned key) {
    const unsigned lane = threadIdx.x % 32, odd = lane % 2;
    unsigned own = 0;
#pragma unroll 1
    for (unsigned n = 0; n < N; n++) own |= kept_keys(rng, a, row + lane / 4 + 8 * odd, key + 8 * n + lane % 4 / 2 * 4) << 4 * n;
    const unsigned other = __shfl_xor_sync(0xffffffffu, own, 1), first = (odd ? other : own) >> 2 * odd, second = (odd ? own : other) >> 2 * odd;
    return {{first, first >> 1, second, second >> 1}};
}

// Rows are keys, `key` the warp's first, columns are 8 N queries, `row` the number of the first. The four lanes whose rows are neighbours and whose columns are the
// same need four keys of two columns, and again eight rows below: each asks for one of these.
template <unsigned N> __device__ __forceinline__ Kept kept_of_keys(const int* rng, const Attention& a, size_t row, unsigned key) {
    const unsigned lane = threadIdx.x % 32, place = lane / 4 % 4;
    unsigned own = 0;
#pragma unroll 1
    for (unsigned n = 0; n < N; n++) own |= kept_keys(rng, a, row + 8 * n + lane % 4 * 2 + place % 2, key + lane / 16 * 4 + place / 2 * 8) << 4 * n;
    Kept kept;
#pragma unroll
    for (unsigned i = 0; i < 4; i++) kept.at[i] = __shfl_sync(0xffffffffu, own, (lane & ~12u) + 4 * i) >> place;
    return kept;
}

// What is dropped becomes 0.
template <unsigned N> __device__ __forceinline__ void drop(float (&s)[N][4], const Kept& kept) {
#pragma unroll
    for (unsigned n = 0; n < N; n++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++) s[n][i] = kept(n, i) ? s[n][i] : 0;
}

// --- Softmax
// Over the four lanes that share a row.
template <class Join> __device__ __forceinline__ float quad_joined(float x, Join join) {
    x = join(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return join(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// Of the lane's two rows, as far as the keys were met: the largest score, and the lane's share of the sum of exponentials below it.
struct Softmax {
    float top[2] = {LOWEST, LOWEST}, part[2] = {};

    // Scores of further keys become their exponentials; sums of values of the earlier ones are to be multiplied by `fade`, less than 1 where a maximum grows. NaN
    // comes through.
    template <unsigned N> __device__ __forceinline__ void take(float (&s)[N][4], float (&fade)[2], float scale) {
        const float slope = scale * LOG2E;
#pragma unroll
        for (unsigned row = 0; row < 2; row++) {
            float largest = top[row];
#pragma unroll
            for (unsigned n = 0; n < N; n++) largest = fmaxf(largest, fmaxf(s[n][2 * row], s[n][2 * row + 1]));
            largest = quad_joined(largest, [](float a, float b) { return fmaxf(a, b); });
            // Where nothing was seen yet all scores are -infinity, and so are they less 0.
            const float below = largest == LOWEST ? 0 : largest * slope;
            fade[row] = exp2f((top[row] - largest) * slope);
            top[row] = largest;
            part[row] *= fade[row];
#pragma unroll
            for (unsigned n = 0; n < N; n++)
#pragma unroll
                for (unsigned i = 2 * row; i < 2 * row + 2; i++) part[row] += s[n][i] = exp2f(s[n][i] * slope - below);
        }
    }

    __device__ __forceinline__ float whole(unsigned row) const {
        return quad_joined(part[row], [](float a, float b) { return a + b; });
    }
};

// Sums of values become means, where all keys were met: of the lane's rows from `query` on. `factor` is dropout's; lse is null where nobody wants it.
template <unsigned M>
__device__ __forceinline__ void finish(float (&sums)[M][4], const Softmax& softmax, float factor, float* lse, const Attention& a, const Task& own, unsigned query) {
    float shares[2];
#pragma unroll
    for (unsigned i = 0; i < 2; i++) {
        const float whole = softmax.whole(i);
        shares[i] = factor / whole;
        if (lse && query + 8 * i < a.queries && threadIdx.x % 4 == 0)
            lse[a.query_row(own.batch, own.head, query + 8 * i)] = whole == 0 ? INFINITY : softmax.top[i] * a.scale + logf(whole);
        // Zeros where nothing is seen, whatever the values are.
        if (whole == 0) {
#pragma unroll
            for (unsigned m = 0; m < M; m++) sums[m][2 * i] = sums[m][2 * i + 1] = 0;
            shares[i] = 0;
        }
    }
    multiply_fragments(sums, shares[0], shares[1]);
}

// --- Backward
// Scores become what met the values, but for dropout's factor; products of dy and the values become dS, but for the scale; what is not seen is
// not told apart yet. whole(n, i) and mean(n, i) are lse and delta of the query of p[n][i].
template <unsigned N, class Whole, class Mean>
__device__ __forceinline__ void turn(float (&p)[N][4], float (&ds)[N][4], const Attention& a, const Kept& kept, float factor, Whole whole, Mean mean) {
#pragma unroll
    for (unsigned n = 0; n < N; n++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            const float probability = exp2f(p[n][i] * (a.scale * LOG2E) - whole(n, i) * LOG2E);
            ds[n][i] = probability * ((kept(n, i) ? ds[n][i] * factor : 0) - mean(n, i));
            p[n][i] = kept(n, i) ? probability : 0;
        }
}
