// What the kernels of attention share: where rows lie, which keys a query sees, dropout, and products of tiles.
//
// A block owns a tile of 64 rows of a head, those of queries or those of keys, and meets the others 64 at a time. Its 256 threads hold 4 x 4 scores each, of rows
// 4 r .. and columns 4 c .., and of the sums over all others those of the same rows and of 64 columns of the head. Both factors of the scores come through shared
// memory in strips, as in common/gemm.cuh; then the scores lie there, and the others' rows come in strips of 16. Heads wider than 64 are summed by several
// blocks, which compute the scores anew.
#pragma once
#include "common/gemm.cuh"
#include "common/philox.cuh"

// Below every score, and finite: what is unseen does not make NaN of a difference.
#define LOWEST (-3.4028235e38f)

// What the host lays down.
struct Attention {
    // Of the queries; `group` batches of them share one of the keys.
    unsigned batch, group, heads, queries, keys, size;
    // Elements from a row to the next, and where keys and values begin in a row: not at 0 where all three lie side by side.
    unsigned query_stride, key_stride, key_offset, value_offset;
    // Query batches to a row of the mask, and to a length.
    unsigned mask_share, length_share;
    unsigned is_causal;
    float scale;
    // Dropout: words below the threshold are dropped, what stays is multiplied by `factor`.
    unsigned threshold;
    float factor;
    unsigned key_low, key_high;

    // The number of a query among those of all batches and heads.
    __device__ __forceinline__ size_t query_row(unsigned batch, unsigned head, unsigned query) const { return ((size_t)batch * heads + head) * queries + query; }
};

// mask, lengths and rng are null where there are none.
template <class T> struct Sources {
    const T *q, *k, *v;
    const int *mask, *lengths, *rng;
};

// Rows of a head, `count` of them.
template <class T> struct Rows {
    const T* first;
    unsigned stride, count;
    __device__ __forceinline__ float at(unsigned row, unsigned column) const { return to_float(first[(size_t)row * stride + column]); }
};

template <class T> __device__ __forceinline__ Rows<T> query_rows(const T* q, const Attention& a, unsigned batch, unsigned head, unsigned first, unsigned limit) {
    return {q + ((size_t)batch * a.queries + first) * a.query_stride + head * a.size, a.query_stride, min((unsigned)TILE, limit - first)};
}

// Of keys, or with value_offset of values.
template <class T>
__device__ __forceinline__ Rows<T> key_rows(const T* k, const Attention& a, unsigned offset, unsigned batch, unsigned head, unsigned first, unsigned limit) {
    return {k + ((size_t)batch * a.keys + first) * a.key_stride + offset + head * a.size, a.key_stride, min((unsigned)TILE, limit - first)};
}

// The same of dy and y, in which nothing lies beside a head's rows.
template <class T> __device__ __forceinline__ Rows<T> result_rows(const T* y, const Attention& a, unsigned batch, unsigned head, unsigned first, unsigned limit) {
    const unsigned width = a.heads * a.size;
    return {y + ((size_t)batch * a.queries + first) * width + head * a.size, width, min((unsigned)TILE, limit - first)};
}

__device__ __forceinline__ unsigned length_of(const int* lengths, const Attention& a, unsigned batch) {
    return lengths ? min((unsigned)max(lengths[batch / a.length_share], 0), a.keys) : a.keys;
}

// Where so many keys exist, a query sees the first so many of them, the mask left aside.
__device__ __forceinline__ unsigned limit_of(const Attention& a, unsigned exist, unsigned query) {
    return a.is_causal ? min(exist, max(query + 1 + exist, a.queries) - a.queries) : exist;
}

__device__ __forceinline__ bool is_masked(const int* mask, const Attention& a, unsigned batch, unsigned key) {
    return mask && mask[(size_t)(batch / a.mask_share) * a.keys + key] == 0;
}

// How many keys the queries up to `last` of a batch have to look at: up to the last that one of them sees. All lanes of a warp come here.
__device__ __forceinline__ unsigned visible(const int* mask, const int* lengths, const Attention& a, unsigned batch, unsigned last) {
    const unsigned most = limit_of(a, length_of(lengths, a, batch), last), lane = threadIdx.x % 32;
    if (!mask) return most;
    for (unsigned end = most; end > 0; end -= min(end, 32u)) {
        const unsigned open = __ballot_sync(0xffffffffu, lane < end && !is_masked(mask, a, batch, end - 1 - lane));
        if (open) return end + 1 - __ffs(open);
    }
    return 0;
}

// Which of four keys from `first` on a query batch may see, where `exist` do, as bits.
__device__ __forceinline__ unsigned open_keys(const int* mask, const Attention& a, unsigned batch, unsigned first, unsigned exist) {
    unsigned open = 0;
#pragma unroll
    for (unsigned n = 0; n < 4; n++) open |= (unsigned)(first + n < exist && !is_masked(mask, a, batch, first + n)) << n;
    return open;
}

// Of those bits the ones below the limit.
__device__ __forceinline__ unsigned up_to(unsigned open, unsigned first, unsigned limit) {
    const unsigned count = limit - min(first, limit);
    return count < 4 ? open & ((1u << count) - 1) : open;
}

// Which of four keys dropout keeps for a query, as bits: a group of Philox, `first` being a multiple of 4.
__device__ __forceinline__ unsigned kept_keys(const int* rng, const Attention& a, size_t row, unsigned first) {
    const Words words = philox((unsigned long long)row * ((a.keys + 3) / 4) + first / 4, rng, a.key_low, a.key_high);
    unsigned kept = 0;
#pragma unroll
    for (unsigned n = 0; n < 4; n++) kept |= (unsigned)(words.at[n] >= a.threshold) << n;
    return kept;
}

// What dropout multiplies a query's scores of these keys by.
__device__ __forceinline__ float4 drop_factors(const int* rng, const Attention& a, size_t row, unsigned first) {
    const unsigned kept = kept_keys(rng, a, row, first);
    return make_float4(kept & 1 ? a.factor : 0, kept & 2 ? a.factor : 0, kept & 4 ? a.factor : 0, kept & 8 ? a.factor : 0);
}

// A thread's rows and columns in a tile.
__device__ __forceinline__ unsigned row_of_thread() { return threadIdx.x / 16 * 4; }
__device__ __forceinline__ unsigned column_of_thread() { return threadIdx.x % 16 * 4; }

// The products of own rows with the others.
template <class T> __device__ __forceinline__ void scores_of(const Rows<T>& own, const Rows<T>& others, unsigned size, float (&scores)[4][4]) {
    SHARED(strips, Strips);
    const auto number = [](const Rows<T>& rows) { return [=](unsigned, unsigned row, unsigned d) { return rows.at(row, d); }; };
    const auto left = number(own), right = number(others);
    const Reader<true, Direct<decltype(left)>> of_own({left}, 0, 0, own.count), of_others({right}, 0, 0, others.count);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) scores[i][j] = 0;
    for (unsigned d = 0; d < size; d += STRIP) {
        of_own.fill(strips.a, d, size);
        of_others.fill(strips.b, d, size);
        __syncthreads();
        multiply(strips, row_of_thread(), column_of_thread(), scores);
        __syncthreads();
    }
}

// Adds to a thread's sums, of its rows and columns, the others, each times its factor, of which a thread hands over those of its rows and columns. Columns of the
// others are counted from `column` on, and end at `size`.
template <class T>
__device__ __forceinline__ void mix(const float (&factors)[4][4], const Rows<T>& others, unsigned column, unsigned size, float (&sums)[4][4]) {
    SHARED(weights, float[TILE][TILE + 4]);
    SHARED(strip, float[STRIP][TILE]);
    const unsigned row_of = row_of_thread(), column_of = column_of_thread();
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) weights[column_of + j][row_of + i] = factors[i][j];
    for (unsigned first = 0; first < others.count; first += STRIP) {
#pragma unroll
        for (unsigned i = threadIdx.x; i < STRIP * TILE; i += BLOCK) {
            const unsigned row = i / TILE, at = column + i % TILE;
            strip[row][i % TILE] = first + row < others.count && at < size ? others.at(first + row, at) : 0;
        }
        __syncthreads();
#pragma unroll 4
        for (unsigned k = 0; k < STRIP; k++) {
            float weight[4], other[4];
#pragma unroll
            for (int i = 0; i < 4; i++) weight[i] = weights[first + k][row_of + i], other[i] = strip[k][column_of + i];
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] += weight[i] * other[j];
        }
        __syncthreads();
    }
}

// put(row, column, i, sum) takes a thread's sums of rows and columns that are there; the row is its i-th.
template <class Put> __device__ __forceinline__ void put_sums(const float (&sums)[4][4], unsigned rows, unsigned column, unsigned size, Put put) {
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const unsigned row = row_of_thread() + i, at = column + column_of_thread() + j;
            if (row < rows && at < size) put(row, at, i, sums[i][j]);
        }
}

// What a block does: a tile of `high` rows of a head, and where heads are cut in parts of their columns, the part that begins there. Neighbours share a head.
struct Task {
    unsigned batch, head, first, column;
};

__device__ __forceinline__ Task task_of(const Attention& a, unsigned rows, unsigned parts, unsigned high = TILE) {
    const unsigned tiles = (rows + high - 1) / high, head = blockIdx.x / tiles / parts;
    return {head / a.heads, head % a.heads, blockIdx.x % tiles * high, blockIdx.x / tiles % parts * TILE};
}

// Parts of 64 columns.
__device__ __forceinline__ unsigned parts_of(const Attention& a) { return (a.size + TILE - 1) / TILE; }
