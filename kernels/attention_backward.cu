// Attention backward, from dy, y and the logarithm of each row's sum, lse:
//
//   P = e^(scale Q K^T - lse)      delta = sum over D of dy y        (P is multiplied by dropout's F before it meets V)
//   dV = (P F)^T dy                dS = scale P ((dy V^T) F - delta)
//   dQ = dS K                      dK = dS^T Q
//
// Three kernels, without a score in memory and without atomics: `delta`; `query` owns 64 queries and walks along the keys for dQ; `key` owns 64 keys and walks
// along the queries, of all batches that share them, for dK and dV, in their order. Tiles as in common/attention.cuh.
//
// 14 Lq Lk D FLOPs a head, 4 of them to have the scores and dy V^T twice. Bound by arithmetic.
#include "common/attention.cuh"

namespace of_attention_backward {
// Threads that share a row of dy and y.
const unsigned BESIDE = 8;

template <class T> __device__ __forceinline__ void delta_of(const T* dy, const T* y, float* delta, size_t rows, const Attention& a) {
    const size_t row = element() / BESIDE;
    float sum = 0;
    if (row < rows)
        for (unsigned d = threadIdx.x % BESIDE; d < a.size; d += BESIDE) sum += to_float(dy[row * a.size + d]) * to_float(y[row * a.size + d]);
#pragma unroll
    for (int bits = BESIDE / 2; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
    if (row >= rows || threadIdx.x % BESIDE != 0) return;
    const unsigned head = row % a.heads, query = row / a.heads % a.queries;
    delta[a.query_row(row / a.heads / a.queries, head, query)] = sum;
}

template <class T>
__device__ __forceinline__ void query(const Sources<T>& in, const T* dy, const float* lse, const float* delta, T* dq, const Attention& a) {
    const Task own = task_of(a, a.queries, parts_of(a));
    const Rows<T> queries = query_rows(in.q, a, own.batch, own.head, own.first, a.queries), dys = result_rows(dy, a, own.batch, own.head, own.first, a.queries);
    const unsigned exist = length_of(in.lengths, a, own.batch), keys = visible(in.mask, in.lengths, a, own.batch, own.first + queries.count - 1);
    const unsigned row_of = row_of_thread(), column_of = column_of_thread();
    float sums[4][4] = {};
    for (unsigned first = 0; first < keys; first += TILE) {
        const Rows<T> others = key_rows(in.k, a, a.key_offset, own.batch / a.group, own.head, first, keys);
        float p[4][4], ds[4][4];
        scores_of(queries, others, a.size, p);
        scores_of(dys, key_rows(in.v, a, a.value_offset, own.batch / a.group, own.head, first, keys), a.size, ds);
        const unsigned open = open_keys(in.mask, a, own.batch, first + column_of, keys);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const unsigned query = own.first + row_of + i;
            const unsigned seen = query < a.queries ? up_to(open, first + column_of, limit_of(a, exist, query)) : 0;
            const size_t row = a.query_row(own.batch, own.head, min(query, a.queries - 1));
            const float whole = lse[row], mean = delta[row];
            if (in.rng) {
                const float4 f = drop_factors(in.rng, a, row, first + column_of);
                ds[i][0] *= f.x, ds[i][1] *= f.y, ds[i][2] *= f.z, ds[i][3] *= f.w;
            }
#pragma unroll
            for (int j = 0; j < 4; j++) ds[i][j] = seen >> j & 1 ? expf(p[i][j] * a.scale - whole) * (ds[i][j] - mean) * a.scale : 0;
        }
        mix(ds, others, own.column, a.size, sums);
    }
    T* rows = dq + ((size_t)own.batch * a.queries + own.first) * a.query_stride + own.head * a.size;
    put_sums(sums, queries.count, own.column, a.size, [=](unsigned row, unsigned column, int, float sum) { rows[(size_t)row * a.query_stride + column] = Element<T>::of(sum); });
}

// dk and dv are null where they are not wanted.
template <class T>
__device__ __forceinline__ void key(const Sources<T>& in, const T* dy, const float* lse, const float* delta, T* dk, T* dv, const Attention& a) {
    const Task own = task_of(a, a.keys, parts_of(a));
    const Rows<T> keys = key_rows(in.k, a, a.key_offset, own.batch, own.head, own.first, a.keys);
    const Rows<T> values = key_rows(in.v, a, a.value_offset, own.batch, own.head, own.first, a.keys);
    const unsigned row_of = row_of_thread(), column_of = column_of_thread();
    float key_sums[4][4] = {}, value_sums[4][4] = {};
    for (unsigned batch = own.batch * a.group; batch < (own.batch + 1) * a.group; batch++) {
        if (visible(in.mask, in.lengths, a, batch, a.queries - 1) <= own.first) continue;
        const unsigned exist = length_of(in.lengths, a, batch), open = open_keys(in.mask, a, batch, own.first + row_of, exist);
        // Of a causal batch the tile before which no query sees the first key.
        const unsigned begin = a.is_causal ? (max(own.first + a.queries, exist) - exist) / TILE * TILE : 0;
        for (unsigned first = begin; first < a.queries; first += TILE) {
            const Rows<T> queries = query_rows(in.q, a, batch, own.head, first, a.queries), dys = result_rows(dy, a, batch, own.head, first, a.queries);
            float p[4][4], ds[4][4];
            scores_of(keys, queries, a.size, p);
            scores_of(values, dys, a.size, ds);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const unsigned query = first + column_of + j;
                const unsigned seen = query < a.queries ? up_to(open, own.first + row_of, limit_of(a, exist, query)) : 0;
                const size_t row = a.query_row(batch, own.head, min(query, a.queries - 1));
                const float whole = lse[row], mean = delta[row];
                float f[4] = {1, 1, 1, 1};
                if (in.rng) {
                    const float4 drop = drop_factors(in.rng, a, row, own.first + row_of);
                    f[0] = drop.x, f[1] = drop.y, f[2] = drop.z, f[3] = drop.w;
                }
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const float probability = seen >> i & 1 ? expf(p[i][j] * a.scale - whole) : 0;
                    p[i][j] = probability * f[i];
                    ds[i][j] = seen >> i & 1 ? probability * (ds[i][j] * f[i] - mean) * a.scale : 0;
                }
            }
            if (dk) mix(ds, queries, own.column, a.size, key_sums);
            if (dv) mix(p, dys, own.column, a.size, value_sums);
        }
    }
    const size_t start = ((size_t)own.batch * a.keys + own.first) * a.key_stride + own.head * a.size;
    const auto store = [&](const float (&sums)[4][4], T* rows) {
        put_sums(sums, keys.count, own.column, a.size, [=](unsigned row, unsigned column, int, float sum) { rows[(size_t)row * a.key_stride + column] = Element<T>::of(sum); });
    };
    if (dk) store(key_sums, dk + start + a.key_offset);
    if (dv) store(value_sums, dv + start + a.value_offset);
}
}  // namespace of_attention_backward
using namespace of_attention_backward;

#define KERNELS(suffix, T)                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) attention_backward_delta_##suffix(const T* dy, const T* y, float* delta, size_t rows, Attention a) {     \
        delta_of(dy, y, delta, rows, a);                                                                                                                       \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2)                                                                                                        \
        attention_backward_query_##suffix(const T* q, const T* k, const T* v, const int* mask, const int* lengths, const int* rng, const T* dy,                \
                                          const float* lse, const float* delta, T* dq, Attention a) {                                                          \
        query(Sources<T>{q, k, v, mask, lengths, rng}, dy, lse, delta, dq, a);                                                                                 \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2)                                                                                                        \
        attention_backward_key_##suffix(const T* q, const T* k, const T* v, const int* mask, const int* lengths, const int* rng, const T* dy,                  \
                                        const float* lse, const float* delta, T* dk, T* dv, Attention a) {                                                     \
        key(Sources<T>{q, k, v, mask, lengths, rng}, dy, lse, delta, dk, dv, a);                                                                               \
    }
FOR_EACH_TYPE(KERNELS)
