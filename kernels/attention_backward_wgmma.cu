// Attention backward by warpgroups: the equations are those of attention_backward.cu, whose `delta` comes before, the tiles those of common/attention_wgmma.cuh.
// `query` owns 128 queries and walks along the keys for dQ; `key` owns 128 keys and walks along the queries, of all batches that share them, for dK and dV, in their
// order. No atomics: two runs are equal bit for bit.
//
// Each of two warpgroups has 64 rows of two tensors in shared memory, queries and dy or keys and values, and meets the two others, 64 rows at a time, which come in
// three stages. Own rows times the others' are scores and dy V^T, with queries as rows or keys as rows; P and dS, made of them in registers and rounded, are the left
// factors of the products with the others' rows. dS is rounded before it is multiplied by the scale. While one warpgroup is at its exponentials the other multiplies;
// they never wait for each other but for a stage.
//
//   there      own rows have come
//   full[i]    a stage's rows have come, and with queries lse and delta of these, which the warp that brings them writes
//   empty[i]   each of eight warps has done with it
//   cut        of the last keys the rows behind the last that is looked at are zeros, where there are some: whatever they are, dS counts them 0 times
//
// 14 Lq Lk D FLOPs a head, 4 of them to have the scores and dy V^T twice. Expected bound: tensor cores, and the shared memory that feeds them.
#include "common/attention_wgmma.cuh"
#include "common/overlap.cuh"

#ifdef SM_90A
namespace of_attention_backward_wgmma {
using namespace of_attention_wgmma;
constexpr unsigned STAGES = 3;

// `whole` and `mean` are lse and delta of the others, where these are queries.
template <unsigned SIZE> struct Stage {
    Boxes<SIZE> others[2];
    float whole[TILE], mean[TILE];
};
template <unsigned SIZE> struct Place {
    // Of each of two tensors, and each warpgroup. Results go out through them.
    Boxes<SIZE> own[2][2];
    Stage<SIZE> stages[STAGES];
    Mbarrier there, full[STAGES], empty[STAGES], cut;
};

// Queries and dy, keys and values.
struct Maps {
    const TensorMap &q, &k, &v, &dy;
};

// Both tensors' loads arrive at a barrier of their own accord.
template <unsigned SIZE> __device__ __forceinline__ void prepare(Place<SIZE>& place) {
    if (threadIdx.x == 0) {
        mbarrier_init(place.there, 4);
        for (unsigned i = 0; i < STAGES; i++) {
            mbarrier_init(place.full[i], 2);
            mbarrier_init(place.empty[i], MULTIPLY / 32);
        }
        mbarrier_init(place.cut, 1);
        mbarrier_init_fence();
    }
    __syncthreads();
    launch_wait(), launch_next();
}

// By one thread: the block's own rows of both tensors, heads of theirs.
template <unsigned SIZE>
__device__ __forceinline__ void load_own(Place<SIZE>& place, const TensorMap& a, unsigned head_of_a, const TensorMap& b, unsigned head_of_b, const Task& own) {
    for (unsigned half = 0; half < 2; half++) {
        load_boxes(place.own[0][half], a, place.there, head_of_a, own.first + half * TILE, own.batch);
        load_boxes(place.own[1][half], b, place.there, head_of_b, own.first + half * TILE, own.batch);
    }
}

template <unsigned SIZE> __device__ __forceinline__ void wait_for(Place<SIZE>& place, unsigned tile) {
    mbarrier_wait(place.full[tile % STAGES], tile / STAGES % 2);
}
template <unsigned SIZE> __device__ __forceinline__ void wait_for_room(Place<SIZE>& place, unsigned tile) {
    mbarrier_wait(place.empty[tile % STAGES], tile / STAGES % 2 ^ 1);
}
// What a warp's threads read themselves they have read.
template <unsigned SIZE> __device__ __forceinline__ void leave(Place<SIZE>& place, unsigned tile) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(place.empty[tile % STAGES]);
}

// Begins the scores of the own rows with the others, and the products of dy and the values: a group.
template <unsigned SIZE, class T>
__device__ __forceinline__ void begin_meeting(const Place<SIZE>& place, const Stage<SIZE>& stage, float (&p)[TILE / 8][4], float (&ds)[TILE / 8][4]) {
    hold_registers(flat(ds));
    wgmma_fence(flat(p));
    begin_scores<SIZE, T>(p, place.own[0][group_of_thread()], stage.others[0]);
    begin_scores<SIZE, T>(ds, place.own[1][group_of_thread()], stage.others[1]);
    wgmma_commit();
}
// Until these are there, and no more than `left` groups that were begun later are not.
template <int left> __device__ __forceinline__ void end_meeting(float (&p)[TILE / 8][4], float (&ds)[TILE / 8][4]) {
    wgmma_wait<left>(flat(p));
    hold_registers(flat(ds));
}

// Results of the warpgroup go out through its own rows, when none of its warps multiplies these any more.
__device__ __forceinline__ void await_group() { named_barrier_sync(1 + group_of_thread(), GROUP); }
template <unsigned SIZE> __device__ __forceinline__ Chunk* way_out(Place<SIZE>& place, unsigned tensor) { return reinterpret_cast<Chunk*>(place.own[tensor]); }

template <unsigned SIZE, class T>
__device__ __forceinline__ void query(const Sources<T>& in, const Maps& maps, const float* lse, const float* delta, T* dq, const Attention& a) {
    DYNAMIC_SHARED(place, Place<SIZE>);
    prepare(place);
    const Task own = task_of(a, a.queries, 1, ROWS);
    const unsigned count = min(ROWS, a.queries - own.first);
    const unsigned exist = length_of(in.lengths, a, own.batch), keys = visible(in.mask, in.lengths, a, own.batch, own.first + count - 1);
    const unsigned tiles = (keys + TILE - 1) / TILE;
    const bool is_cut = keys % TILE > 0 && keys < a.keys;
    if (threadIdx.x >= MULTIPLY) {
        registers_down<40>();
        if (threadIdx.x >= MULTIPLY + 32) return;
        if (threadIdx.x == MULTIPLY) {
            load_own(place, maps.q, own.head, maps.dy, own.head, own);
            for (unsigned tile = 0; tile < tiles; tile++) {
                Stage<SIZE>& stage = place.stages[tile % STAGES];
                wait_for_room(place, tile);
                load_boxes(stage.others[0], maps.k, place.full[tile % STAGES], a.key_offset / a.size + own.head, tile * TILE, own.batch / a.group);
                load_boxes(stage.others[1], maps.v, place.full[tile % STAGES], a.value_offset / a.size + own.head, tile * TILE, own.batch / a.group);
            }
        }
        // From here on all lanes may wait for the last tile: no earlier phase of its barrier goes on.
        __syncwarp();
        if (is_cut) wait_for(place, tiles - 1), cut_rows(place.stages[(tiles - 1) % STAGES].others[0], keys % TILE, place.cut);
        return;
    }
    registers_up<232>();
    const unsigned query = own.first + row_of_lane();
    const size_t row = a.query_row(own.batch, own.head, own.first);
    float whole[2], mean[2];
#pragma unroll
    for (unsigned i = 0; i < 2; i++) {
        const bool is_there = row_of_lane() + 8 * i < count;
        whole[i] = is_there ? lse[row + row_of_lane() + 8 * i] : 0, mean[i] = is_there ? delta[row + row_of_lane() + 8 * i] : 0;
    }
    float sums[SIZE / 8][4] = {}, p[TILE / 8][4], ds[TILE / 8][4];
    unsigned left[TILE / 16][4];
    const auto wait = [&](unsigned tile) {
        wait_for(place, tile);
        if (is_cut && tile == tiles - 1) mbarrier_wait(place.cut, 0);
    };
    // What was met becomes dS.
    const auto weigh = [&](unsigned tile) {
        const unsigned first = tile * TILE;
        const unsigned long long open = open_columns<TILE>(in.mask, a, own.batch, first, keys);
        const Kept kept = in.rng ? kept_of_queries<TILE / 8>(in.rng, a, row + row_of_warp(), first) : all_kept();
        turn(
            p, ds, a, kept, in.rng ? a.factor : 1, [&](unsigned, unsigned i) { return whole[i / 2]; }, [&](unsigned, unsigned i) { return mean[i / 2]; });
        hide(ds, seen_columns(open, a, exist, query, first), seen_columns(open, a, exist, query + 8, first), 0);
    };
    mbarrier_wait(place.there, 0);
    if (tiles > 0) {
        wait(0);
        begin_meeting<SIZE, T>(place, place.stages[0], p, ds);
        end_meeting<0>(p, ds);
        weigh(0);
        pack_left<T>(left, ds);
        // The next tile is met before this one's dS meets its keys, which goes on meanwhile.
#pragma unroll 1
        for (unsigned tile = 1; tile < tiles; tile++) {
            wait(tile);
            hold_registers(flat(sums));
            begin_meeting<SIZE, T>(place, place.stages[tile % STAGES], p, ds);
            begin_mix<SIZE, T>(sums, left, place.stages[(tile - 1) % STAGES].others[0]);
            wgmma_commit();
            end_meeting<1>(p, ds);
            weigh(tile);
            wgmma_wait<0>(flat(sums));
            leave(place, tile - 1);
            pack_left<T>(left, ds);
        }
        wgmma_fence(flat(sums));
        begin_mix<SIZE, T>(sums, left, place.stages[(tiles - 1) % STAGES].others[0]);
        wgmma_commit();
        wgmma_wait<0>(flat(sums));
    }
    multiply_fragments(sums, a.scale, a.scale);
    await_group();
    T* rows = dq + ((size_t)own.batch * a.queries + own.first) * a.query_stride + own.head * a.size;
    put_fragments<SIZE>(way_out(place, 0), sums, rows, a.query_stride, count, a.size);
}

// The tiles of queries that see one of the block's keys, of all batches that share them, in their order: begin(batch, exist) for a batch of which so many keys exist,
// then each(batch, first) for its tiles. By whole warps.
template <class T, class Begin, class Each>
__device__ __forceinline__ void walk_queries(const Sources<T>& in, const Attention& a, const Task& own, Begin begin, Each each) {
    for (unsigned batch = own.batch * a.group; batch < (own.batch + 1) * a.group; batch++) {
        if (visible(in.mask, in.lengths, a, batch, a.queries - 1) <= own.first) continue;
        const unsigned exist = length_of(in.lengths, a, batch);
        begin(batch, exist);
#pragma unroll 1
        for (unsigned first = beginning_of(a, exist, own.first) / TILE * TILE; first < a.queries; first += TILE) each(batch, first);
    }
}

// dk and dv are null where they are not wanted.
template <unsigned SIZE, class T>
__device__ __forceinline__ void key(const Sources<T>& in, const Maps& maps, const float* lse, const float* delta, T* dk, T* dv, const Attention& a) {
    DYNAMIC_SHARED(place, Place<SIZE>);
    prepare(place);
    const Task own = task_of(a, a.keys, 1, ROWS);
    // Tiles so far, through all batches.
    unsigned tile = 0;
    if (threadIdx.x >= MULTIPLY) {
        registers_down<40>();
        if (threadIdx.x >= MULTIPLY + 32) return;
        const unsigned lane = threadIdx.x % 32;
        if (lane == 0) load_own(place, maps.k, a.key_offset / a.size + own.head, maps.v, a.value_offset / a.size + own.head, own);
        walk_queries(in, a, own, [](unsigned, unsigned) {}, [&](unsigned batch, unsigned first) {
            Stage<SIZE>& stage = place.stages[tile % STAGES];
            wait_for_room(place, tile);
            for (unsigned i = lane; i < TILE; i += 32) {
                const bool is_there = first + i < a.queries;
                const size_t row = a.query_row(batch, own.head, first + i);
                stage.whole[i] = is_there ? lse[row] : 0, stage.mean[i] = is_there ? delta[row] : 0;
            }
            // What the warp wrote is there when its first lane arrives.
            __syncwarp();
            if (lane == 0) {
                load_boxes(stage.others[0], maps.q, place.full[tile % STAGES], own.head, first, batch);
                load_boxes(stage.others[1], maps.dy, place.full[tile % STAGES], own.head, first, batch);
            }
            tile++;
        });
        return;
    }
    registers_up<232>();
    float key_sums[SIZE / 8][4] = {}, value_sums[SIZE / 8][4] = {}, p[TILE / 8][4], ds[TILE / 8][4];
    unsigned left[2][TILE / 16][4];
    Watched keys;
    mbarrier_wait(place.there, 0);
    const auto begin = [&](unsigned batch, unsigned exist) { keys = watched(in.mask, a, batch, exist, own.first + row_of_lane()); };
    walk_queries(in, a, own, begin, [&](unsigned batch, unsigned first) {
        const Stage<SIZE>& stage = place.stages[tile % STAGES];
        // While the registers of p and dS hold nothing.
        const Kept kept = in.rng ? kept_of_keys<TILE / 8>(in.rng, a, a.query_row(batch, own.head, first), own.first + row_of_warp()) : all_kept();
        wait_for(place, tile);
        begin_meeting<SIZE, T>(place, stage, p, ds);
        end_meeting<0>(p, ds);
        const auto column = [](unsigned n, unsigned i) { return 8 * n + threadIdx.x % 4 * 2 + i % 2; };
        turn(
            p, ds, a, kept, in.rng ? a.factor : 1, [&](unsigned n, unsigned i) { return stage.whole[column(n, i)]; },
            [&](unsigned n, unsigned i) { return stage.mean[column(n, i)]; });
        hide(p, keys.seen(0, first), keys.seen(1, first), 0), hide(ds, keys.seen(0, first), keys.seen(1, first), 0);
        pack_left<T>(left[0], p), pack_left<T>(left[1], ds);
        hold_registers(flat(key_sums));
        wgmma_fence(flat(value_sums));
        begin_mix<SIZE, T>(value_sums, left[0], stage.others[1]);
        begin_mix<SIZE, T>(key_sums, left[1], stage.others[0]);
        wgmma_commit();
        wgmma_wait<0>(flat(value_sums));
        hold_registers(flat(key_sums));
        leave(place, tile++);
    });
    const float factor = in.rng ? a.factor : 1;
    multiply_fragments(key_sums, a.scale, a.scale);
    multiply_fragments(value_sums, factor, factor);
    await_group();
    const size_t start = ((size_t)own.batch * a.keys + own.first) * a.key_stride + own.head * a.size;
    const unsigned count = min(ROWS, a.keys - own.first);
    if (dk) put_fragments<SIZE>(way_out(place, 0), key_sums, dk + start + a.key_offset, a.key_stride, count, a.size);
    if (dv) put_fragments<SIZE>(way_out(place, 1), value_sums, dv + start + a.value_offset, a.key_stride, count, a.size);
}
}  // namespace of_attention_backward_wgmma
using namespace of_attention_backward_wgmma;

#define KERNELS(columns, suffix, T)                                                                                                                            \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_attention_wgmma::THREADS, 1) attention_backward_query_wgmma##columns##_##suffix(                 \
        const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v, const __grid_constant__ TensorMap dy,     \
        const int* mask, const int* lengths, const int* rng, const float* lse, const float* delta, T* dq, Attention a) {                                       \
        query<columns>(Sources<T>{nullptr, nullptr, nullptr, mask, lengths, rng}, Maps{q, k, v, dy}, lse, delta, dq, a);                                       \
    }                                                                                                                                                          \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_attention_wgmma::THREADS, 1) attention_backward_key_wgmma##columns##_##suffix(                   \
        const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v, const __grid_constant__ TensorMap dy,     \
        const int* mask, const int* lengths, const int* rng, const float* lse, const float* delta, T* dk, T* dv, Attention a) {                                \
        key<columns>(Sources<T>{nullptr, nullptr, nullptr, mask, lengths, rng}, Maps{q, k, v, dy}, lse, delta, dk, dv, a);                                     \
    }
#define SIZES(suffix, T) KERNELS(64, suffix, T) KERNELS(128, suffix, T)
FOR_EACH_HALF(SIZES)
#endif
