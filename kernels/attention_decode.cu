// Attention forward for a few queries, as in decoding: every key and value is read once and is met by few, so that memory bounds it.
//
// A block takes a piece of 64 keys of a head, for all query batches that share them (beams), four rows (of queries) at a time: strips of the keys come through
// shared memory, neighbours along a row, and a thread makes one score; the softmax is that of these keys alone; values are read where they lie, by four threads a
// column that take the keys in turn. Where there is more than one piece, what is written is a part: for each row its sums of values, the largest score and the sum
// of exponentials; `merge` joins the parts. Keys and values are read once for four rows, from memory for the first. Floor: 8 bytes a key and column of a head.
#include "common/attention.cuh"
#include "common/reduce.cuh"

// Keys of a block: the host's.
#define PIECE 64
// Rows that are taken at once.
#define FEW (BLOCK / PIECE)
// Columns of the keys that are in shared memory at once.
#define WIDE 32

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

// Where the part of a row and a piece starts.
__device__ __forceinline__ size_t part_start(const Attention& a, size_t row, unsigned pieces, unsigned piece) { return (row * pieces + piece) * (a.size + 2); }

// Either parts are written, or y and lse where they are wanted.
template <class T> __device__ __forceinline__ void decode(const Sources<T>& in, float* parts, T* y, float* lse, const Attention& a) {
    SHARED(strip, float[PIECE][WIDE + 1]);
    SHARED(asked, float[FEW][WIDE]);
    SHARED(weights, float[PIECE][FEW]);
    SHARED(beside, float[FEW][PIECE][FEW]);
    const unsigned pieces = (a.keys + PIECE - 1) / PIECE, piece = blockIdx.x % pieces, head = blockIdx.x / pieces % a.heads, key_batch = blockIdx.x / pieces / a.heads;
    const unsigned rows = a.group * a.queries, first = piece * PIECE, place = threadIdx.x % PIECE, few = threadIdx.x / PIECE;
    unsigned most = 0;
    for (unsigned row = threadIdx.x; row < rows; row += BLOCK)
        most = max(most, limit_of(a, length_of(in.lengths, a, key_batch * a.group + row / a.queries), row % a.queries));
    most = block_joined(most, [](unsigned a, unsigned b) { return max(a, b); });
    const unsigned count = min((unsigned)PIECE, max(most, first) - first);
    const Rows<T> keys = key_rows(in.k, a, a.key_offset, key_batch, head, first, a.keys), values = key_rows(in.v, a, a.value_offset, key_batch, head, first, a.keys);
    for (unsigned block = 0; block < rows; block += FEW) {
        // Threads of rows beyond the last do that one's work and write nothing.
        const bool is_there = block + few < rows;
        const unsigned asking = min(block + few, rows - 1), batch = key_batch * a.group + asking / a.queries, query = asking % a.queries;
        const size_t row = a.query_row(batch, head, query);
        float score = 0;
        for (unsigned d = 0; d < a.size; d += WIDE) {
            for (unsigned i = threadIdx.x; i < PIECE * WIDE; i += BLOCK)
                strip[i / WIDE][i % WIDE] = i / WIDE < count && d + i % WIDE < a.size ? keys.at(i / WIDE, d + i % WIDE) : 0;
            if (place < WIDE) asked[few][place] = d + place < a.size ? query_rows(in.q, a, batch, head, query, a.queries).at(0, d + place) : 0;
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
        for (unsigned column = place; column - place < a.size; column += PIECE) {
            float sums[FEW] = {};
            if (column < a.size)
                for (unsigned key = few; key < count; key += FEW) {
                    const float value = values.at(key, column);
#pragma unroll
                    for (int n = 0; n < FEW; n++) sums[n] += value * weights[key][n];
                }
#pragma unroll
            for (int n = 0; n < FEW; n++) beside[few][place][n] = sums[n];
            __syncthreads();
            float sum = 0;
#pragma unroll
            for (int n = 0; n < FEW; n++) sum += beside[n][place][few];
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
