// Attention forward by tensor cores: y = softmax(scale Q K^T + mask) V without a score in memory, as in common/attention_mma.cuh; and the mean of the
// probabilities over the heads.
//
// A block owns 64 queries of a head, whose rows its warps keep as fragments, and walks along the keys, 64 at a time. Tiles of keys and of values take turns in a
// ring of three: while one is multiplied, the next is there or on its way, and the one after it is begun. A barrier each says that a tile is there for all and
// that the one before it is read by none. Exponentials, rounded, are the left factor of the product with the values, straight from registers; their sum is that of
// the numbers before rounding.
//
// 4 Lq Lk D FLOPs a head. Keys and values are read Lq / 64 times, from cache: 2 * 64 * D numbers for 4 * 64 * 64 * D FLOPs, 64 FLOPs a byte; from shared memory each
// warp reads all of them: 16 FLOPs a byte. Expected bound: tensor cores and the exponentials between their products.
#include "common/attention_mma.cuh"

namespace of_attention_mma {
// Tiles that are there or on their way.
constexpr unsigned RING = 3;
template <unsigned SIZE> using Ring = Chunk[RING][TILE * SIZE / 8];

// lse is null where nobody wants it.
template <unsigned SIZE, class T> __device__ __forceinline__ void forward(const Sources<T>& in, T* y, float* lse, const Attention& a) {
    DYNAMIC_SHARED(ring, Ring<SIZE>);
    const Task own = task_of(a, a.queries, 1);
    const Rows<T> queries = query_rows(in.q, a, own.batch, own.head, own.first, a.queries);
    const unsigned exist = length_of(in.lengths, a, own.batch), keys = visible(in.mask, in.lengths, a, own.batch, own.first + queries.count - 1);
    const unsigned tiles = 2 * ((keys + TILE - 1) / TILE), query = own.first + row_of_lane();
    // Even tiles are keys, odd ones are the values of these. A group each, though it be empty.
    const auto load = [&](unsigned tile) {
        const bool is_value = tile % 2;
        const unsigned offset = is_value ? a.value_offset : a.key_offset;
        if (tile < tiles)
            load_tile<SIZE, TILE>(ring[tile % RING], key_rows(is_value ? in.v : in.k, a, offset, own.batch / a.group, own.head, tile / 2 * TILE, keys), a.size);
        cp_async_commit();
    };
    const auto next = [&](unsigned tile) {
        cp_async_wait<RING - 2>();
        __syncthreads();
        load(tile + RING - 1);
        return ring[tile % RING];
    };
    for (unsigned tile = 0; tile < RING - 1; tile++) load(tile);
    unsigned left[SIZE / 16][4];
    load_left<SIZE>(left, queries, a.size);
    Softmax softmax;
    float sums[SIZE / 8][4] = {};
#pragma unroll 1
    for (unsigned tile = 0; tile < tiles; tile += 2) {
        const unsigned first = tile / 2 * TILE;
        float p[TILE / 8][4];
        score_fragments<SIZE, T>(p, next(tile), left);
        const unsigned long long open = open_columns<TILE>(in.mask, a, own.batch, first, keys);
        hide(p, seen_columns(open, a, exist, query, first), seen_columns(open, a, exist, query + 8, first), -INFINITY);
        float fade[2];
        softmax.take(p, fade, a.scale);
        multiply_fragments(sums, fade[0], fade[1]);
        if (in.rng) drop(p, kept_of_queries<TILE / 8>(in.rng, a, a.query_row(own.batch, own.head, own.first + row_of_warp()), first));
        mix_fragments<SIZE, T>(sums, p, next(tile + 1));
    }
    finish(sums, softmax, in.rng ? a.factor : 1, lse, a, own, query);
    __syncthreads();
    const unsigned width = a.heads * a.size;
    put_fragments<SIZE>(ring[0], sums, y + ((size_t)own.batch * a.queries + own.first) * width + own.head * a.size, width, queries.count, a.size);
}

// From lse. A block makes a tile of 64 x 64, head by head.
template <unsigned SIZE, class T> __device__ __forceinline__ void probabilities(const Sources<T>& in, const float* lse, T* mean, const Attention& a) {
    DYNAMIC_SHARED(ring, Ring<SIZE>);
    const unsigned batch = blockIdx.z, first = blockIdx.x * TILE, first_query = blockIdx.y * TILE, query = first_query + row_of_lane();
    const unsigned exist = length_of(in.lengths, a, batch);
    const unsigned long long open = open_columns<TILE>(in.mask, a, batch, first, exist);
    const unsigned long long seen = seen_columns(open, a, exist, query, first), seen_below = seen_columns(open, a, exist, query + 8, first);
    const auto load = [&](unsigned head) {
        if (head < a.heads) load_tile<SIZE, TILE>(ring[head % RING], key_rows(in.k, a, a.key_offset, batch / a.group, head, first, a.keys), a.size);
        cp_async_commit();
    };
    for (unsigned head = 0; head < RING - 1; head++) load(head);
    float sums[TILE / 8][4] = {};
#pragma unroll 1
    for (unsigned head = 0; head < a.heads; head++) {
        unsigned left[SIZE / 16][4];
        load_left<SIZE>(left, query_rows(in.q, a, batch, head, first_query, a.queries), a.size);
        float whole[2];
#pragma unroll
        for (unsigned i = 0; i < 2; i++) whole[i] = query + 8 * i < a.queries ? lse[a.query_row(batch, head, query + 8 * i)] : 0;
        cp_async_wait<RING - 2>();
        __syncthreads();
        load(head + RING - 1);
        float p[TILE / 8][4];
        score_fragments<SIZE, T>(p, ring[head % RING], left);
#pragma unroll
        for (unsigned n = 0; n < TILE / 8; n++)
#pragma unroll
            for (unsigned i = 0; i < 4; i++) p[n][i] = exp2f(p[n][i] * (a.scale * LOG2E) - whole[i / 2] * LOG2E);
        hide(p, seen, seen_below, 0);
#pragma unroll
        for (unsigned n = 0; n < TILE / 8; n++)
#pragma unroll
            for (unsigned i = 0; i < 4; i++) sums[n][i] += p[n][i];
    }
#pragma unroll
    for (unsigned n = 0; n < TILE / 8; n++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            const unsigned of = query + i / 2 * 8, key = first + 8 * n + threadIdx.x % 4 * 2 + i % 2;
            if (of < a.queries && key < a.keys) mean[((size_t)batch * a.queries + of) * a.keys + key] = Element<T>::of(sums[n][i] / a.heads);
        }
}
}  // namespace of_attention_mma
using namespace of_attention_mma;

// Blocks of a processor, two at least: what registers leave room for without spills.
#define KERNELS(columns, suffix, T)                                                                                                                        \
    extern "C" __global__ void __launch_bounds__(MMA_THREADS, columns == 64 ? 3 : 2) attention_forward_mma##columns##_##suffix(                                                   \
        const T* q, const T* k, const T* v, const int* mask, const int* lengths, const int* rng, T* y, float* lse, Attention a) {                          \
        forward<columns>(Sources<T>{q, k, v, mask, lengths, rng}, y, lse, a);                                                                              \
    }                                                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(MMA_THREADS, 2) attention_forward_probabilities_mma##columns##_##suffix(                                     \
        const T* q, const T* k, const int* mask, const int* lengths, const float* lse, T* mean, Attention a) {                                             \
        probabilities<columns>(Sources<T>{q, k, nullptr, mask, lengths, nullptr}, lse, mean, a);                                                           \
    }
#define SIZES(suffix, T) KERNELS(64, suffix, T) KERNELS(128, suffix, T)
FOR_EACH_HALF(SIZES)
