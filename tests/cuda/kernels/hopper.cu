// Each instruction of common/hopper.cuh by itself, for tests/cuda/hopper.rs, which works out by the manual's layouts what has to come.
#include "common/hopper.cuh"
#include "common/overlap.cuh"

#ifdef SM_90A
namespace of_hopper {
constexpr unsigned WORDS = 8192;
// A tile as it lies, and the barrier that its bytes count at.
struct Tile {
    unsigned words[WORDS];
    Mbarrier come;
};

template <class Load> __device__ __forceinline__ void show_tile(unsigned* out, unsigned bytes, Load load) {
    DYNAMIC_SHARED(tile, Tile);
    if (threadIdx.x == 0) {
        mbarrier_init(tile.come, 1);
        mbarrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        mbarrier_expect(tile.come, bytes);
        load(tile);
    }
    mbarrier_wait(tile.come, 0);
    for (unsigned i = threadIdx.x; i < bytes / 4; i += 128) out[i] = tile.words[i];
}

template <class Store> __device__ __forceinline__ void write_tile(const unsigned* in, unsigned bytes, Store store) {
    DYNAMIC_SHARED(tile, Tile);
    for (unsigned i = threadIdx.x; i < bytes / 4; i += 128) tile.words[i] = in[i];
    async_proxy_fence();
    __syncthreads();
    if (threadIdx.x == 0) {
        store(tile);
        tma_commit();
        tma_wait_read<0>();
        tma_wait<0>();
    }
}

// Where a factor lies in its image.
struct Place {
    unsigned swizzle, offset, leading, stride;
};
struct Factors {
    unsigned a[WORDS], b[WORDS];
};
__device__ __forceinline__ unsigned long long descriptor(const unsigned* image, const Place& p) {
    const char* start = (const char*)image + p.offset;
    switch (p.swizzle) {
        case 32: return matrix<32>(start, p.leading, p.stride);
        case 64: return matrix<64>(start, p.leading, p.stride);
        case 128: return matrix<128>(start, p.leading, p.stride);
        default: return matrix<0>(start, p.leading, p.stride);
    }
}

// Twice the product, since the second one adds to the first. `say` begins one.
template <unsigned n, class Say> __device__ __forceinline__ void twice(const unsigned* a, const unsigned* b, float* out, Say say) {
    DYNAMIC_SHARED(factors, Factors);
    for (unsigned i = threadIdx.x; i < WORDS; i += 128) {
        if (a) factors.a[i] = a[i];
        factors.b[i] = b[i];
    }
    async_proxy_fence();
    __syncthreads();
    float d[n / 2];
    wgmma_fence(d);
    say(factors, d, false);
    wgmma_commit();
    say(factors, d, true);
    wgmma_commit();
    wgmma_wait<1>(d);
    wgmma_wait<0>(d);
#pragma unroll
    for (unsigned i = 0; i < n / 2; i++) out[threadIdx.x * (n / 2) + i] = d[i];
}
}  // namespace of_hopper
using namespace of_hopper;

extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128) hopper_load_2(const __grid_constant__ TensorMap map, unsigned* out, unsigned bytes, int x, int y) {
    show_tile(out, bytes, [&](Tile& t) { tma_load(t.words, map, t.come, x, y); });
}
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128) hopper_load_3(const __grid_constant__ TensorMap map, unsigned* out, unsigned bytes, int x, int y, int z) {
    show_tile(out, bytes, [&](Tile& t) { tma_load(t.words, map, t.come, x, y, z); });
}
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128)
    hopper_load_4(const __grid_constant__ TensorMap map, unsigned* out, unsigned bytes, int x, int y, int z, int u) {
    show_tile(out, bytes, [&](Tile& t) { tma_load(t.words, map, t.come, x, y, z, u); });
}
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128)
    hopper_load_5(const __grid_constant__ TensorMap map, unsigned* out, unsigned bytes, int x, int y, int z, int u, int v) {
    show_tile(out, bytes, [&](Tile& t) { tma_load(t.words, map, t.come, x, y, z, u, v); });
}
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128)
    hopper_load_im2col(const __grid_constant__ TensorMap map, unsigned* out, unsigned bytes, int c, int w, int h, int n, unsigned across, unsigned down) {
    show_tile(out, bytes, [&](Tile& t) { tma_load_im2col(t.words, map, t.come, c, w, h, n, (unsigned short)across, (unsigned short)down); });
}

extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128) hopper_fill(unsigned* out, unsigned words, unsigned word) {
    for (unsigned i = threadIdx.x; i < words; i += 128) out[i] = word;
}
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128) hopper_store_2(const __grid_constant__ TensorMap map, const unsigned* in, unsigned bytes, int x, int y) {
    write_tile(in, bytes, [&](Tile& t) { tma_store(map, t.words, x, y); });
}
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128)
    hopper_store_3(const __grid_constant__ TensorMap map, const unsigned* in, unsigned bytes, int x, int y, int z) {
    write_tile(in, bytes, [&](Tile& t) { tma_store(map, t.words, x, y, z); });
}

#define FROM_SHARED(n, suffix, T, name, a_across, b_across)                                                                      \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128)                                                                \
        hopper_wgmma_##n##_##name##_##suffix(const unsigned* a, const unsigned* b, float* out, Place of_a, Place of_b) {           \
        twice<n>(a, b, out, [&](Factors& f, float (&d)[n / 2], bool adds) {                                                     \
            wgmma<n, T, a_across, b_across>(d, descriptor(f.a, of_a), descriptor(f.b, of_b), adds);                             \
        });                                                                                                                     \
    }
#define FROM_REGISTERS(n, suffix, T, name, b_across)                                                                             \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128)                                                                \
        hopper_wgmma_##n##_##name##_##suffix(const unsigned* a, const unsigned* b, float* out, Place of_b) {                      \
        unsigned fragment[4];                                                                                                    \
        for (unsigned i = 0; i < 4; i++) fragment[i] = a[threadIdx.x * 4 + i];                                                    \
        twice<n>(nullptr, b, out, [&](Factors& f, float (&d)[n / 2], bool adds) {                                                \
            wgmma<n, T, b_across>(d, fragment, descriptor(f.b, of_b), adds);                                                     \
        });                                                                                                                     \
    }
#define WAYS(n, suffix, T)                      \
    FROM_SHARED(n, suffix, T, kk, false, false) \
    FROM_SHARED(n, suffix, T, km, false, true)  \
    FROM_SHARED(n, suffix, T, mk, true, false)  \
    FROM_SHARED(n, suffix, T, mm, true, true)   \
    FROM_REGISTERS(n, suffix, T, rk, false)     \
    FROM_REGISTERS(n, suffix, T, rm, true)
#define WIDTHS(suffix, T) WAYS(64, suffix, T) WAYS(128, suffix, T) WAYS(256, suffix, T)
FOR_EACH_HALF(WIDTHS)

// A warp hands numbers to three others through two places, round by round; each of those adds them up.
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128) hopper_barriers(unsigned* out, unsigned rounds) {
    SHARED(handed, unsigned[2][32]);
    SHARED(full, Mbarrier[2]);
    SHARED(empty, Mbarrier[2]);
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; i++) mbarrier_init(full[i], 32), mbarrier_init(empty[i], 96);
        mbarrier_init_fence();
    }
    __syncthreads();
    unsigned sum = 0;
    for (unsigned r = 0; r < rounds; r++) {
        if (threadIdx.x < 32) {
            mbarrier_wait(empty[r % 2], (r / 2 & 1) ^ 1);
            handed[r % 2][threadIdx.x] = r * r + threadIdx.x;
            mbarrier_arrive(full[r % 2]);
        } else {
            mbarrier_wait(full[r % 2], r / 2 & 1);
            sum += handed[r % 2][(threadIdx.x + r) % 32];
            mbarrier_arrive(empty[r % 2]);
        }
    }
    __syncthreads();
    // The place is one for another barrier then.
    if (threadIdx.x == 0) {
        mbarrier_invalidate(full[0]);
        mbarrier_init(full[0], 128);
    }
    __syncthreads();
    mbarrier_arrive(full[0]);
    mbarrier_wait(full[0], 0);
    out[threadIdx.x] = sum;
}

// One lane of each warp is elected; two warps pass numbers on to two others; registers change hands.
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(384, 1) hopper_warps(unsigned* out) {
    SHARED(passed, unsigned[64]);
    SHARED(met, unsigned[64]);
    launch_wait();
    const unsigned elected = __popc(__ballot_sync(0xffffffffu, elect_one()));
    unsigned got = 0;
    if (threadIdx.x < 128) {
        registers_down<40>();
        const unsigned at = threadIdx.x % 64;
        if (threadIdx.x < 64) {
            passed[at] = 3 * at;
            named_barrier_arrive(1, 128);
            met[at] = at;
            named_barrier_sync(2, 64);
            got = met[63 - at];
        } else {
            named_barrier_sync(1, 128);
            got = passed[63 - at];
        }
    } else {
        registers_up<232>();
    }
    launch_next();
    out[threadIdx.x] = elected << 16 | got;
}

// Two blocks: what the other has in shared memory, once it has arrived here.
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128) hopper_cluster(unsigned* out) {
    SHARED(mine, unsigned[128]);
    SHARED(told, Mbarrier);
    const unsigned rank = cluster_rank();
    if (threadIdx.x == 0) {
        mbarrier_init(told, 128);
        mbarrier_init_fence();
    }
    cluster_sync();
    mine[threadIdx.x] = 1000 * rank + threadIdx.x;
    mbarrier_arrive_at(told, rank ^ 1);
    mbarrier_wait_cluster(told, 0);
    out[128 * blockIdx.x + threadIdx.x] = in_block(mine, rank ^ 1)[127 - threadIdx.x];
    // Nobody ends while another reads here.
    cluster_sync();
}

// Each of two blocks copies a tile to both.
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128) hopper_multicast(const __grid_constant__ TensorMap map, unsigned* out, unsigned bytes) {
    DYNAMIC_SHARED(tile, Tile);
    const unsigned rank = cluster_rank();
    if (threadIdx.x == 0) {
        mbarrier_init(tile.come, 1);
        mbarrier_init_fence();
    }
    cluster_sync();
    if (threadIdx.x == 0) {
        mbarrier_expect(tile.come, 2 * bytes);
        tma_load_to(&tile.words[rank * bytes / 4], map, tile.come, 3, 8, -1, (int)rank);
    }
    mbarrier_wait(tile.come, 0);
    for (unsigned i = threadIdx.x; i < bytes / 2; i += 128) out[blockIdx.x * bytes / 2 + i] = tile.words[i];
    cluster_sync();
}
#endif
