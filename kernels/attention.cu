// Attention forward, for many queries: y = softmax(scale Q K^T + mask) V without a score in memory (Dao et al. 2022, FlashAttention). The exact path, and the one
// for heads of any size.
//
// A block owns 64 queries of a head and walks along its keys, 64 at a time, with the tiles of common/attention.cuh: scores, then the running maximum and sum of
// each row (Milakov and Gimelshein 2018), which the row's 16 threads share by shuffles, then the values. Where a maximum grows, what was summed before fades by
// e^(old - new). Keys beyond the last that is seen are not read.
//
// 4 Lq Lk D FLOPs a head; keys and values are read Lq / 64 times and queries Lk / 64 times, from cache; y is written once. Bound by arithmetic.
#include "common/attention.cuh"

namespace of_attention {
// Over the threads that share a row.
template <class Join> __device__ __forceinline__ float row_joined(float x, Join join) {
#pragma unroll
    for (int bits = 8; bits > 0; bits /= 2) x = join(x, __shfl_xor_sync(0xffffffffu, x, bits));
    return x;
}

// lse is null where nobody wants it.
template <class T> __device__ __forceinline__ void forward(const Sources<T>& in, T* y, float* lse, const Attention& a) {
    const Task own = task_of(a, a.queries, parts_of(a));
    const Rows<T> queries = query_rows(in.q, a, own.batch, own.head, own.first, a.queries);
    const unsigned exist = length_of(in.lengths, a, own.batch), keys = visible(in.mask, in.lengths, a, own.batch, own.first + queries.count - 1);
    const unsigned row_of = row_of_thread(), column_of = column_of_thread();
    float top[4] = {LOWEST, LOWEST, LOWEST, LOWEST}, whole[4] = {};
    float sums[4][4] = {};
    for (unsigned first = 0; first < keys; first += TILE) {
        float p[4][4];
        scores_of(queries, key_rows(in.k, a, a.key_offset, own.batch / a.group, own.head, first, keys), a.size, p);
        const unsigned open = open_keys(in.mask, a, own.batch, first + column_of, keys);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const unsigned query = own.first + row_of + i, seen = up_to(open, first + column_of, limit_of(a, exist, query));
            float largest = top[i];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                p[i][j] *= a.scale;
                if (seen >> j & 1) largest = fmaxf(largest, p[i][j]);
            }
            largest = row_joined(largest, [](float a, float b) { return fmaxf(a, b); });
            const float fade = expf(top[i] - largest);
            top[i] = largest;
            whole[i] *= fade;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                p[i][j] = seen >> j & 1 ? expf(p[i][j] - largest) : 0;
                whole[i] += p[i][j];
            }
#pragma unroll
            for (int j = 0; j < 4; j++) sums[i][j] *= fade;
            if (in.rng) {
                const float4 f = drop_factors(in.rng, a, a.query_row(own.batch, own.head, query), first + column_of);
                p[i][0] *= f.x, p[i][1] *= f.y, p[i][2] *= f.z, p[i][3] *= f.w;
            }
        }
        mix(p, key_rows(in.v, a, a.value_offset, own.batch / a.group, own.head, first, keys), own.column, a.size, sums);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        whole[i] = row_joined(whole[i], [](float a, float b) { return a + b; });
        const unsigned query = own.first + row_of + i;
        if (lse && query < a.queries && column_of == 0 && own.column == 0)
            lse[a.query_row(own.batch, own.head, query)] = whole[i] == 0 ? INFINITY : top[i] + logf(whole[i]);
    }
    const size_t width = (size_t)a.heads * a.size;
    T* rows = y + ((size_t)own.batch * a.queries + own.first) * width + own.head * a.size;
    // Zeros where nothing is seen; NaN comes through.
    put_sums(sums, queries.count, own.column, a.size,
             [=](unsigned row, unsigned column, int i, float sum) { rows[row * width + column] = Element<T>::of(whole[i] == 0 ? 0 : sum / whole[i]); });
}

// The mean of the probabilities over the heads, from lse. A block makes a tile of 64 x 64, head by head.
template <class T> __device__ __forceinline__ void probabilities(const Sources<T>& in, const float* lse, T* mean, const Attention& a) {
    const unsigned batch = blockIdx.z, first = blockIdx.x * TILE, first_query = blockIdx.y * TILE, row_of = row_of_thread(), column_of = column_of_thread();
    const unsigned exist = length_of(in.lengths, a, batch), open = open_keys(in.mask, a, batch, first + column_of, exist);
    float sums[4][4] = {};
    for (unsigned head = 0; head < a.heads; head++) {
        float p[4][4];
        scores_of(query_rows(in.q, a, batch, head, first_query, a.queries), key_rows(in.k, a, a.key_offset, batch / a.group, head, first, a.keys), a.size, p);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const unsigned query = first_query + row_of + i;
            if (query >= a.queries) continue;
            const unsigned seen = up_to(open, first + column_of, limit_of(a, exist, query));
            const float whole = lse[a.query_row(batch, head, query)];
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (seen >> j & 1) sums[i][j] += expf(p[i][j] * a.scale - whole);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const unsigned query = first_query + row_of + i, key = first + column_of + j;
            if (query < a.queries && key < a.keys) mean[((size_t)batch * a.queries + query) * a.keys + key] = Element<T>::of(sums[i][j] / a.heads);
        }
}
}  // namespace of_attention
using namespace of_attention;

#define KERNELS(suffix, T)                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) attention_forward_##suffix(const T* q, const T* k, const T* v, const int* mask, const int* lengths, \
                                                                                   const int* rng, T* y, float* lse, Attention a) {                    \
        forward(Sources<T>{q, k, v, mask, lengths, rng}, y, lse, a);                                                                                   \
    }                                                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2)                                                                                                \
        attention_forward_probabilities_##suffix(const T* q, const T* k, const int* mask, const int* lengths, const float* lse, T* mean, Attention a) { \
        probabilities(Sources<T>{q, k, nullptr, mask, lengths, nullptr}, lse, mean, a);                                                                \
    }
FOR_EACH_TYPE(KERNELS)
