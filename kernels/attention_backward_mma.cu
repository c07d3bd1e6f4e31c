// Attention backward by tensor cores: the equations are those of attention_backward.cu, whose `delta` comes before, the products those of
// common/attention_mma.cuh. `query` owns 64 queries and walks along the keys for dQ; `key` owns 64 keys and walks along the queries, of all batches that share
// them, for dK and dV, in their order. No atomics: two runs are equal bit for bit.
//
// Both have two tiles of their own in shared memory, queries and dy or keys and values, and meet the two others, 64 or 32 rows of them, which come in two stages:
// while one is multiplied the next is on its way. Own rows times the others' are scores and dy V^T, with queries as rows or keys as rows; P and dS, made of them in
// registers and rounded, are the left factors of the products with the others' rows. dS is rounded before it is multiplied by the scale.
//
// 14 Lq Lk D FLOPs a head, 4 of them to have the scores and dy V^T twice. Expected bound: tensor cores, and the shared memory that feeds them.
#include "common/attention_mma.cuh"

namespace of_attention_backward_mma {
// Rows that are met at once: registers for sums of 128 columns leave room for scores with 32.
template <unsigned SIZE> constexpr unsigned WIDE = SIZE == 64 ? 64 : 32;

// `whole` and `mean` are lse and delta of the others, where these are queries.
template <unsigned SIZE> struct Stage {
    Chunk others[2][WIDE<SIZE> * SIZE / 8];
    float whole[WIDE<SIZE>], mean[WIDE<SIZE>];
};
template <unsigned SIZE> struct Place {
    Chunk own[2][TILE * SIZE / 8];
    Stage<SIZE> stages[2];
};

// Scores of the own rows with the others, and the products of dy and the values.
template <unsigned SIZE, class T, unsigned N>
__device__ __forceinline__ void meet(const Place<SIZE>& place, const Stage<SIZE>& stage, float (&p)[N][4], float (&ds)[N][4]) {
    score_fragments<SIZE, T>(p, stage.others[0], [&](unsigned(&to)[4], unsigned deep) { left_of<SIZE>(to, place.own[0], deep); });
    score_fragments<SIZE, T>(ds, stage.others[1], [&](unsigned(&to)[4], unsigned deep) { left_of<SIZE>(to, place.own[1], deep); });
}

template <unsigned SIZE, class T>
__device__ __forceinline__ void query(const Sources<T>& in, const T* dy, const float* lse, const float* delta, T* dq, const Attention& a) {
    DYNAMIC_SHARED(place, Place<SIZE>);
    const Task own = task_of(a, a.queries, 1);
    const Rows<T> queries = query_rows(in.q, a, own.batch, own.head, own.first, a.queries);
    const unsigned exist = length_of(in.lengths, a, own.batch), keys = visible(in.mask, in.lengths, a, own.batch, own.first + queries.count - 1);
    const unsigned key_batch = own.batch / a.group, query = own.first + row_of_lane();
    const size_t row = a.query_row(own.batch, own.head, own.first);
    const auto load = [&](unsigned first, unsigned stage) {
        if (first < keys) {
            load_tile<SIZE, WIDE<SIZE>>(place.stages[stage].others[0], key_rows(in.k, a, a.key_offset, key_batch, own.head, first, keys), a.size);
            load_tile<SIZE, WIDE<SIZE>>(place.stages[stage].others[1], key_rows(in.v, a, a.value_offset, key_batch, own.head, first, keys), a.size);
        }
        cp_async_commit();
    };
    load_tile<SIZE, TILE>(place.own[0], queries, a.size);
    load_tile<SIZE, TILE>(place.own[1], result_rows(dy, a, own.batch, own.head, own.first, a.queries), a.size);
    load(0, 0);
    float whole[2], mean[2];
#pragma unroll
    for (unsigned i = 0; i < 2; i++) {
        const bool is_there = row_of_lane() + 8 * i < queries.count;
        whole[i] = is_there ? lse[row + row_of_lane() + 8 * i] : 0, mean[i] = is_there ? delta[row + row_of_lane() + 8 * i] : 0;
    }
    float sums[SIZE / 8][4] = {};
#pragma unroll 1
    for (unsigned first = 0, stage = 0; first < keys; first += WIDE<SIZE>, stage ^= 1) {
        cp_async_wait<0>();
        __syncthreads();
        load(first + WIDE<SIZE>, stage ^ 1);
        float p[WIDE<SIZE> / 8][4], ds[WIDE<SIZE> / 8][4];
        meet<SIZE, T>(place, place.stages[stage], p, ds);
        const unsigned long long open = open_columns<WIDE<SIZE>>(in.mask, a, own.batch, first, keys);
        const Kept kept = in.rng ? kept_of_queries<WIDE<SIZE> / 8>(in.rng, a, row + row_of_warp(), first) : all_kept();
        turn(
            p, ds, a, kept, in.rng ? a.factor : 1, [&](unsigned, unsigned i) { return whole[i / 2]; }, [&](unsigned, unsigned i) { return mean[i / 2]; });
        hide(ds, seen_columns(open, a, exist, query, first), seen_columns(open, a, exist, query + 8, first), 0);
        mix_fragments<SIZE, T>(sums, ds, place.stages[stage].others[0]);
    }
    multiply_fragments(sums, a.scale, a.scale);
    // Both others of a stage are a tile together, or more.
    __syncthreads();
    T* rows = dq + ((size_t)own.batch * a.queries + own.first) * a.query_stride + own.head * a.size;
    put_fragments<SIZE>(place.stages[0].others[0], sums, rows, a.query_stride, queries.count, a.size);
}

// dk and dv are null where they are not wanted.
template <unsigned SIZE, class T>
__device__ __forceinline__ void key(const Sources<T>& in, const T* dy, const float* lse, const float* delta, T* dk, T* dv, const Attention& a) {
    DYNAMIC_SHARED(place, Place<SIZE>);
    const Task own = task_of(a, a.keys, 1);
    const Rows<T> keys = key_rows(in.k, a, a.key_offset, own.batch, own.head, own.first, a.keys);
    const unsigned key = own.first + row_of_lane();
    load_tile<SIZE, TILE>(place.own[0], keys, a.size);
    load_tile<SIZE, TILE>(place.own[1], key_rows(in.v, a, a.value_offset, own.batch, own.head, own.first, a.keys), a.size);
    float key_sums[SIZE / 8][4] = {}, value_sums[SIZE / 8][4] = {};
    for (unsigned batch = own.batch * a.group; batch < (own.batch + 1) * a.group; batch++) {
        if (visible(in.mask, in.lengths, a, batch, a.queries - 1) <= own.first) continue;
        const unsigned exist = length_of(in.lengths, a, batch);
        const Watched keys_of_lane = watched(in.mask, a, batch, exist, key);
        const auto load = [&](unsigned first, unsigned stage) {
            Stage<SIZE>& to = place.stages[stage];
            if (first < a.queries) {
                const Rows<T> queries = query_rows(in.q, a, batch, own.head, first, a.queries);
                load_tile<SIZE, WIDE<SIZE>>(to.others[0], queries, a.size);
                load_tile<SIZE, WIDE<SIZE>>(to.others[1], result_rows(dy, a, batch, own.head, first, a.queries), a.size);
                const size_t row = a.query_row(batch, own.head, first);
                const unsigned i = threadIdx.x;
                if (i < WIDE<SIZE>) {
                    const bool is_there = i < queries.count;
                    cp_async<4>(&to.whole[i], is_there ? lse + row + i : lse, is_there ? 4 : 0);
                    cp_async<4>(&to.mean[i], is_there ? delta + row + i : delta, is_there ? 4 : 0);
                }
            }
            cp_async_commit();
        };
        const unsigned begin = beginning_of(a, exist, own.first) / WIDE<SIZE> * WIDE<SIZE>;
        // Others of the batch before are read by none any more.
        __syncthreads();
        load(begin, 0);
#pragma unroll 1
        for (unsigned first = begin, stage = 0; first < a.queries; first += WIDE<SIZE>, stage ^= 1) {
            cp_async_wait<0>();
            __syncthreads();
            load(first + WIDE<SIZE>, stage ^ 1);
            const Stage<SIZE>& from = place.stages[stage];
            float p[WIDE<SIZE> / 8][4], ds[WIDE<SIZE> / 8][4];
            meet<SIZE, T>(place, from, p, ds);
            const size_t row = a.query_row(batch, own.head, first);
            const Kept kept = in.rng ? kept_of_keys<WIDE<SIZE> / 8>(in.rng, a, row, own.first + row_of_warp()) : all_kept();
            const auto column = [](unsigned n, unsigned i) { return 8 * n + threadIdx.x % 4 * 2 + i % 2; };
            turn(
                p, ds, a, kept, in.rng ? a.factor : 1, [&](unsigned n, unsigned i) { return from.whole[column(n, i)]; },
                [&](unsigned n, unsigned i) { return from.mean[column(n, i)]; });
            hide(p, keys_of_lane.seen(0, first), keys_of_lane.seen(1, first), 0), hide(ds, keys_of_lane.seen(0, first), keys_of_lane.seen(1, first), 0);
            if (dk) mix_fragments<SIZE, T>(key_sums, ds, from.others[0]);
            if (dv) mix_fragments<SIZE, T>(value_sums, p, from.others[1]);
        }
    }
    const float factor = in.rng ? a.factor : 1;
    multiply_fragments(key_sums, a.scale, a.scale);
    multiply_fragments(value_sums, factor, factor);
    __syncthreads();
    const size_t start = ((size_t)own.batch * a.keys + own.first) * a.key_stride + own.head * a.size;
    if (dk) put_fragments<SIZE>(place.stages[0].others[0], key_sums, dk + start + a.key_offset, a.key_stride, keys.count, a.size);
    if (dv) put_fragments<SIZE>(place.stages[1].others[0], value_sums, dv + start + a.value_offset, a.key_stride, keys.count, a.size);
}
}  // namespace of_attention_backward_mma
using namespace of_attention_backward_mma;

// Blocks of a processor, two at least: what registers leave room for without spills.
#define KERNELS(columns, suffix, T)                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(MMA_THREADS, 3) attention_backward_query_mma##columns##_##suffix(                                             \
        const T* q, const T* k, const T* v, const int* mask, const int* lengths, const int* rng, const T* dy, const float* lse, const float* delta, T* dq,   \
        Attention a) {                                                                                                                                      \
        query<columns>(Sources<T>{q, k, v, mask, lengths, rng}, dy, lse, delta, dq, a);                                                                     \
    }                                                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(MMA_THREADS, 2) attention_backward_key_mma##columns##_##suffix(                                               \
        const T* q, const T* k, const T* v, const int* mask, const int* lengths, const int* rng, const T* dy, const float* lse, const float* delta, T* dk,   \
        T* dv, Attention a) {                                                                                                                               \
        key<columns>(Sources<T>{q, k, v, mask, lengths, rng}, dy, lse, delta, dk, dv, a);                                                                   \
    }
#define SIZES(suffix, T) KERNELS(64, suffix, T) KERNELS(128, suffix, T)
FOR_EACH_HALF(SIZES)
