// Attention forward by warpgroups: y = softmax(scale Q K^T + mask) V without a score in memory, as in common/attention_wgmma.cuh.
//
// A block owns 128 queries of a head, 64 for each of two warpgroups, which keep them in registers as left factors. Tiles of 64 keys and of their values, by turns,
// come through a ring of six: the thread that brings them waits for a place, asks for the tile, and goes on.
//
//   full[i]    a tile's bytes have come         waited for by those who multiply, in its phases 0, 1, 0, ...
//   empty[i]   both have multiplied it          waited for by the one who brings; the phase "before the first" is complete at once
//   cut        of the last values the rows behind the last key that is looked at are zeros, where there are some: whatever they are, they count 0 times
//
// The scores with the next keys are begun before the values of these are multiplied, and the softmax of the next is computed while that goes on; sums of values
// fade when it is done. The two warpgroups take turns, so that tensor cores have one's products while the other is at its exponentials.
//
// 4 Lq Lk D FLOPs a head. Keys and values are read Lq / 128 times, from cache: 128 FLOPs a byte; from shared memory by both warpgroups, queries by none of them: 64
// FLOPs a byte. Expected bound: tensor cores and the exponentials.
#include "common/attention_wgmma.cuh"
#include "common/overlap.cuh"

#ifdef SM_90A
namespace of_attention_wgmma {
// Tiles that are there or on their way.
constexpr unsigned RING = 6;
template <unsigned SIZE> struct Place {
    Boxes<SIZE> ring[RING];
    // Results on their way out.
    Chunk rows[ROWS * SIZE / 8];
    Mbarrier full[RING], empty[RING], cut;
};

// Even tiles are keys, odd ones are the values of these. By one warp, one lane of which asks for all.
template <unsigned SIZE>
__device__ __forceinline__ void bring(Place<SIZE>& place, const TensorMap& k, const TensorMap& v, const Attention& a, const Task& own, unsigned keys, bool is_cut) {
    const unsigned tiles = 2 * ((keys + TILE - 1) / TILE);
    const auto load = [&](unsigned tile, const TensorMap& map, unsigned offset) {
        const unsigned i = tile % RING;
        mbarrier_wait(place.empty[i], tile / RING % 2 ^ 1);
        load_boxes(place.ring[i], map, place.full[i], offset / a.size + own.head, tile / 2 * TILE, own.batch / a.group);
    };
    for (unsigned tile = 0; threadIdx.x % 32 == 0 && tile < tiles; tile += 2) load(tile, k, a.key_offset), load(tile + 1, v, a.value_offset);
    // From here on all lanes may wait for the last tile: no earlier phase of its barrier goes on.
    __syncwarp();
    if (!is_cut) return;
    mbarrier_wait(place.full[(tiles - 1) % RING], (tiles - 1) / RING % 2);
    cut_rows(place.ring[(tiles - 1) % RING], keys % TILE, place.cut);
}

// The two warpgroups begin their products by turns, so that one's softmax is computed while the other's products are. A barrier each says that it is its turn.
__device__ __forceinline__ void pass_turn() { named_barrier_arrive(2 - group_of_thread(), MULTIPLY); }
__device__ __forceinline__ void await_turn() { named_barrier_sync(1 + group_of_thread(), MULTIPLY); }
// Before the first turn and behind the last; between them all turns of both.
__device__ __forceinline__ void begin_turns() {
    if (group_of_thread() == 1) pass_turn();
}
__device__ __forceinline__ void end_turns() {
    if (group_of_thread() == 0) await_turn();
}

// lse is null where nobody wants it.
template <unsigned SIZE, class T>
__device__ __forceinline__ void forward(const Sources<T>& in, const TensorMap& k, const TensorMap& v, T* y, float* lse, const Attention& a) {
    DYNAMIC_SHARED(place, Place<SIZE>);
    if (threadIdx.x == 0) {
        for (unsigned i = 0; i < RING; i++) {
            mbarrier_init(place.full[i], 1);
            mbarrier_init(place.empty[i], 2);
        }
        mbarrier_init(place.cut, 1);
        mbarrier_init_fence();
    }
    __syncthreads();
    launch_wait(), launch_next();
    const Task own = task_of(a, a.queries, 1, ROWS);
    const unsigned count = min(ROWS, a.queries - own.first);
    const unsigned exist = length_of(in.lengths, a, own.batch), keys = visible(in.mask, in.lengths, a, own.batch, own.first + count - 1);
    const bool is_cut = keys % TILE > 0 && keys < a.keys;
    if (threadIdx.x >= MULTIPLY) {
        registers_down<40>();
        if (threadIdx.x < MULTIPLY + 32) bring(place, k, v, a, own, keys, is_cut);
        return;
    }
    registers_up<232>();
    const unsigned tiles = 2 * ((keys + TILE - 1) / TILE), query = own.first + row_of_lane();
    const auto wait = [&](unsigned tile) { mbarrier_wait(place.full[tile % RING], tile / RING % 2); };
    const auto leave = [&](unsigned tile) {
        if (threadIdx.x % GROUP == 0) mbarrier_arrive(place.empty[tile % RING]);
    };
    Rows<T> queries = query_rows(in.q, a, own.batch, own.head, own.first, a.queries);
    queries.count = count;
    unsigned left[SIZE / 16][4], p[TILE / 16][4];
    load_left<SIZE>(left, queries, a.size);
    float s[TILE / 8][4], sums[SIZE / 8][4] = {}, fade[2];
    Softmax softmax;
    // Scores with the keys of a tile become factors of its values.
    const auto weigh = [&](unsigned tile) {
        const unsigned first = tile / 2 * TILE;
        const unsigned long long open = open_columns<TILE>(in.mask, a, own.batch, first, keys);
        hide(s, seen_columns(open, a, exist, query, first), seen_columns(open, a, exist, query + 8, first), -INFINITY);
        softmax.take(s, fade, a.scale);
        if (in.rng) drop(s, kept_of_queries<TILE / 8>(in.rng, a, a.query_row(own.batch, own.head, own.first + row_of_warp()), first));
    };
    begin_turns();
    if (tiles > 0) {
        wait(0);
        await_turn();
        wgmma_fence(flat(s));
        begin_scores<SIZE, T>(s, left, place.ring[0]);
        wgmma_commit();
        pass_turn();
        wgmma_wait<0>(flat(s));
        leave(0);
        weigh(0);
        pack_left<T>(p, s);
#pragma unroll 1
        for (unsigned tile = 2; tile < tiles; tile += 2) {
            wait(tile), wait(tile - 1);
            await_turn();
            hold_registers(flat(sums));
            wgmma_fence(flat(s));
            begin_scores<SIZE, T>(s, left, place.ring[tile % RING]);
            wgmma_commit();
            begin_mix<SIZE, T>(sums, p, place.ring[(tile - 1) % RING]);
            wgmma_commit();
            pass_turn();
            wgmma_wait<1>(flat(s));
            leave(tile);
            weigh(tile);
            wgmma_wait<0>(flat(sums));
            leave(tile - 1);
            multiply_fragments(sums, fade[0], fade[1]);
            pack_left<T>(p, s);
        }
        wait(tiles - 1);
        if (is_cut) mbarrier_wait(place.cut, 0);
        wgmma_fence(flat(sums));
        begin_mix<SIZE, T>(sums, p, place.ring[(tiles - 1) % RING]);
        wgmma_commit();
        wgmma_wait<0>(flat(sums));
    }
    end_turns();
    finish(sums, softmax, in.rng ? a.factor : 1, lse, a, own, query);
    const unsigned width = a.heads * a.size;
    put_fragments<SIZE>(place.rows, sums, y + ((size_t)own.batch * a.queries + own.first) * width + own.head * a.size, width, count, a.size);
}
}  // namespace of_attention_wgmma
using namespace of_attention_wgmma;

#define KERNELS(columns, suffix, T)                                                                                                                   \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_attention_wgmma::THREADS, 1) attention_forward_wgmma##columns##_##suffix(               \
        const T* q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v, const int* mask, const int* lengths, const int* rng, T* y, \
        float* lse, Attention a) {                                                                                                                    \
        forward<columns>(Sources<T>{q, nullptr, nullptr, mask, lengths, rng}, k, v, y, lse, a);                                                       \
    }
#define SIZES(suffix, T) KERNELS(64, suffix, T) KERNELS(128, suffix, T)
FOR_EACH_HALF(SIZES)
#endif
