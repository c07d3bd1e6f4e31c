// Attention forward for a few queries, as in decoding: every key and value is read once and is met by few, so that memory bounds it.
//
// A block takes a piece of 64 keys of a head, for all query batches that share them (beams), four rows (of queries) at a time, and reads 16 bytes at once where
// rows begin at multiples of these. Strips of 64 columns of the keys come through shared memory, and a thread makes one score; the softmax is that of these keys
// alone; values, which are on their way since before the scores, are multiplied where they arrive, by threads that take the keys in turn; their sums meet by
// shuffles and in shared memory. Where there is more than one piece, what is written is a part: for each row its sums of values, the largest score and the sum
// of exponentials; `merge` joins the parts. Keys and values are read once for four rows, from memory for the first. Floor: 8 bytes a key and column of a head.
#include "common/attention.cuh"
#include "common/overlap.cuh"
#include "common/reduce.cuh"

// Keys of a block: the host's.
#define PIECE 64
// Rows that are taken at once.
#define FEW (BLOCK / PIECE)
// Columns of the keys that are in shared memory at once, and of the values that are summed at once.
#define WIDE PIECE

namespace of_attention_decode {
// Over the PIECE threads that share a row. All threads come here.
template <class Join> __device__ __forceinline__ float row_joined(float x, Join join) {
    SHARED(warps, float[BLOCK / 32]);
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) x = join(x, __shfl_xor_sync(0xffffffffu, x, bits));
    __syncthreads();
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    return join(warps[threadIdx.x / PIECE * 2], warps[threadIdx.x / PIECE * 2 + 1]);
}

// Neighbours of a row that lie in 16 bytes.
template <class T> struct alignas(16) Neighbours {
    static constexpr unsigned COUNT = 16 / sizeof(T);
    T at[COUNT];
};

// Those from a column on, a multiple of their number; zeros for what is not there.
template <class T> __device__ __forceinline__ Neighbours<T> neighbours(const Rows<T>& rows, unsigned row, unsigned column, unsigned size) {
    Neighbours<T> x = {};
    if (row >= rows.count || column >= size) return x;
    const T* from = rows.first + (size_t)row * rows.stride + column;
    if (size % x.COUNT == 0) {
        reinterpret_cast<uint4&>(x) = *reinterpret_cast<const uint4*>(from);
    } else {
#pragma unroll
        for (unsigned n = 0; n < x.COUNT; n++)
            if (column + n < size) x.at[n] = from[n];
    }
    return x;
}

// Where the part of a row and a piece starts.
__device__ __forceinline__ size_t part_start(const Attention& a, size_t row, unsigned pieces, unsigned piece) { return (row * pieces + piece) * (a.size + 2); }

// Either parts are written, or y and lse where they are wanted.
template <class T> __device__ __forceinline__ void decode(const Sources<T>& in, float* parts, T* y, float* lse, const Attention& a) {
    SHARED(strip, float[PIECE][WIDE + 1]);
    SHARED(asked, float[FEW][WIDE]);
    SHARED(weights, float[PIECE][FEW]);
    SHARED(beside, float[BLOCK / 32][FEW][WIDE]);
    launch_wait(), launch_next();
    // Threads of a row of values, and rows that are read at once.
    constexpr unsigned COUNT = Neighbours<T>::COUNT, ACROSS = WIDE / COUNT, DOWN = BLOCK / ACROSS;
    const unsigned pieces = (a.keys + PIECE - 1) / PIECE, piece = blockIdx.x % pieces, head = blockIdx.x / pieces % a.heads, key_batch = blockIdx.x / pieces / a.heads;
    const unsigned rows = a.group * a.queries, first = piece * PIECE, place = threadIdx.x % PIECE, few = threadIdx.x / PIECE;
    unsigned most = 0;
    for (unsigned row = threadIdx.x; row < rows; row += BLOCK)
        most = max(most, limit_of(a, length_of(in.lengths, a, key_batch * a.group + row / a.queries), row % a.queries));
    most = block_joined(most, [](unsigned a, unsigned b) { return max(a, b); });
    const unsigned count = min((unsigned)PIECE, max(most, first) - first);
    const Rows<T> keys = key_rows(in.k, a, a.key_offset, key_batch, head, first, first + count);
    const Rows<T> values = key_rows(in.v, a, a.value_offset, key_batch, head, first, first + count);
    const unsigned own_column = threadIdx.x % ACROSS * COUNT, own_key = threadIdx.x / ACROSS;
    for (unsigned block = 0; block < rows; block += FEW) {
        // Threads of rows beyond the last do that one's work and write nothing.
        const bool is_there = block + few < rows;
        const unsigned asking = min(block + few, rows - 1), batch = key_batch * a.group + asking / a.queries, query = asking % a.queries;
        const size_t row = a.query_row(batch, head, query);
        Neighbours<T> read[PIECE / DOWN];
        const auto read_values = [&](unsigned column) {
#pragma unroll
            for (unsigned n = 0; n < PIECE / DOWN; n++) read[n] = neighbours(values, own_key + n * DOWN, column + own_column, a.size);
        };
        read_values(0);
        float score = 0;
        for (unsigned d = 0; d < a.size; d += WIDE) {
#pragma unroll
            for (unsigned n = 0; n < PIECE / DOWN; n++) {
                const Neighbours<T> numbers = neighbours(keys, own_key + n * DOWN, d + own_column, a.size);
#pragma unroll
                for (unsigned i = 0; i < COUNT; i++) strip[own_key + n * DOWN][own_column + i] = to_float(numbers.at[i]);
            }
            asked[few][place] = d + place < a.size ? query_rows(in.q, a, batch, head, query, a.queries).at(0, d + place) : 0;
            __syncthreads();
#pragma unroll 8
            for (unsigned n = 0; n < WIDE; n++) score += asked[few][n] * strip[place][n];
            __syncthreads();
        }
        const bool seen = place < count && first + place < limit_of(a, length_of(in.lengths, a, batch), query) && !is_masked(in.mask, a, batch, first + place);
        score = seen ? score * a.scale : LOWEST;
        const float top = row_joined(score, [](float a, float b) { return fmaxf(a, b); });
        float p = seen ? expf(score - top) : 0;
        const float whole = row_joined(p, [](float a, float b) { return a + b; });
        if (in.rng) {
            const float4 f = drop_factors(in.rng, a, row, (first + place) / 4 * 4);
            p *= place % 4 == 0 ? f.x : place % 4 == 1 ? f.y : place % 4 == 2 ? f.z : f.w;
        }
        weights[place][few] = p;
        __syncthreads();
        const size_t part = part_start(a, row, pieces, piece), at = (((size_t)batch * a.queries + query) * a.heads + head) * a.size;
        for (unsigned begin = 0; begin < a.size; begin += WIDE) {
            if (begin > 0) read_values(begin);
            float sums[FEW][COUNT] = {};
#pragma unroll
            for (unsigned n = 0; n < PIECE / DOWN; n++)
#pragma unroll
                for (unsigned i = 0; i < COUNT; i++) {
                    const float value = to_float(read[n].at[i]);
#pragma unroll
                    for (unsigned of = 0; of < FEW; of++) sums[of][i] += value * weights[own_key + n * DOWN][of];
                }
#pragma unroll
            for (unsigned of = 0; of < FEW; of++)
#pragma unroll
                for (unsigned i = 0; i < COUNT; i++) {
#pragma unroll
                    for (unsigned bits = 16; bits >= ACROSS; bits /= 2) sums[of][i] += __shfl_xor_sync(0xffffffffu, sums[of][i], bits);
                    if (threadIdx.x % 32 < ACROSS) beside[threadIdx.x / 32][of][own_column + i] = sums[of][i];
                }
            __syncthreads();
            const unsigned column = begin + place;
            float sum = 0;
#pragma unroll
            for (unsigned warp = 0; warp < BLOCK / 32; warp++) sum += beside[warp][few][place];
            if (is_there && column < a.size) {
                if (parts) parts[part + column] = sum;
                else y[at + column] = Element<T>::of(whole == 0 ? 0 : sum / whole);
            }
            __syncthreads();
        }
        if (!is_there || place != 0) continue;
        if (parts) parts[part + a.size] = top, parts[part + a.size + 1] = whole;
        else if (lse) lse[row] = whole == 0 ? INFINITY : top + logf(whole);
    }
}

// A thread an element of y.
template <class T> __device__ __forceinline__ void merge(const float* parts, T* y, float* lse, const Attention& a) {
    launch_wait(), launch_next();
    const size_t i = element(), result = i / a.size;
    const unsigned d = i % a.size, head = result % a.heads, pieces = (a.keys + PIECE - 1) / PIECE;
    if (result >= (size_t)a.batch * a.queries * a.heads) return;
    const size_t row = a.query_row(result / a.heads / a.queries, head, result / a.heads % a.queries);
    float top = LOWEST, sum = 0, whole = 0;
    for (unsigned piece = 0; piece < pieces; piece++) top = fmaxf(top, parts[part_start(a, row, pieces, piece) + a.size]);
    for (unsigned piece = 0; piece < pieces; piece++) {
        const float* part = parts + part_start(a, row, pieces, piece);
        const float share = expf(part[a.size] - top);
        sum += part[d] * share;
        whole += part[a.size + 1] * share;
    }
    // 0 where nothing is seen; NaN comes through.
    y[i] = Element<T>::of(whole == 0 ? 0 : sum / whole);
    if (lse && d == 0) lse[row] = whole == 0 ? INFINITY : top + logf(whole);
}
}  // namespace of_attention_decode
using namespace of_attention_decode;

#define KERNELS(suffix, T)                                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) attention_forward_decode_##suffix(const T* q, const T* k, const T* v, const int* mask, const int* lengths,  \
                                                                                          const int* rng, float* parts, T* y, float* lse, Attention a) {           \
        decode(Sources<T>{q, k, v, mask, lengths, rng}, parts, y, lse, a);                                                                                         \
    }                                                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) attention_forward_merge_##suffix(const float* parts, T* y, float* lse, Attention a) {                       \
        merge(parts, y, lse, a);                                                                                                                                   \
    }
FOR_EACH_TYPE(KERNELS)
