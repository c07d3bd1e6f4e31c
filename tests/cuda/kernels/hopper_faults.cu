// A product of 64 x 64 in the manner of common/gemm_wgmma.cuh, and the same wrong in one way each: what the stand-in has to tell. See tests/cuda/hopper_faults.rs.
#include "common/hopper.cuh"

// Each fault: what is done in place of what is right.
#define FAULTS(each)                                                                                                                                    \
    each(none) each(full_parity) each(empty_parity) each(no_expect) each(few_bytes) each(many_bytes) each(no_init_fence) each(no_init_barrier)           \
    each(init_count) each(stride) each(leading) each(swizzle) each(next_k) each(across) each(coordinates) each(no_wgmma_fence) each(no_last_wait)       \
    each(no_commit) each(no_empty_arrive) each(other_stage_freed) each(freed_early) each(no_full_wait) each(no_empty_wait) each(sums_written)            \
    each(one_thread_waits) each(too_many_registers) each(registers_of_eight) each(no_store_fence) each(no_store_barrier) each(no_store_wait)             \
    each(no_store_commit) each(store_not_waited_for) each(tile_not_aligned) each(generic_over_copied) each(base_offset) each(row_of_the_pattern)

#ifdef SM_90A
namespace of_faults {
#define NAME(name) name,
enum Fault { FAULTS(NAME) };

struct alignas(1024) Stage {
    unsigned short a[64 * 64], b[64 * 64];
};
struct Place {
    Stage stages[2];
    float sums[64 * 64];
    Mbarrier full[2], empty[2];
};

template <Fault fault> __device__ __forceinline__ void product(const TensorMap& a, const TensorMap& b, const TensorMap& c, unsigned strips) {
    DYNAMIC_SHARED(place, Place);
    if (threadIdx.x == 0) {
        for (unsigned s = 0; s < 2; s++) mbarrier_init(place.full[s], fault == init_count ? 2 : 1), mbarrier_init(place.empty[s], 1);
        if (fault != no_init_fence) mbarrier_init_fence();
    }
    if (fault != no_init_barrier) __syncthreads();
    if (threadIdx.x < 128) {
        registers_down<40>();
        if (threadIdx.x != 0) return;
        for (unsigned s = 0; s < strips; s++) {
            Stage& stage = place.stages[s % 2];
            Mbarrier& full = place.full[s % 2];
            if (fault != no_empty_wait) mbarrier_wait(place.empty[s % 2], fault == empty_parity ? s / 2 % 2 : s / 2 % 2 ^ 1);
            if (fault == no_expect) mbarrier_arrive(full);
            else mbarrier_expect(full, sizeof stage - (fault == few_bytes ? sizeof stage.a : 0) + (fault == many_bytes ? 64 : 0));
            const int k = (int)(64 * s);
            tma_load(stage.a + (fault == tile_not_aligned ? 64 : 0), a, full, fault == coordinates ? 0 : k, fault == coordinates ? k : 0);
            tma_load(stage.b, b, full, k, 0);
        }
        return;
    }
    if (fault == too_many_registers) registers_up<472>();
    else registers_up<208>();
    if (fault == registers_of_eight) registers_down<100>();
    float d[32] = {};
    for (unsigned s = 0; s < strips; s++) {
        Stage& stage = place.stages[s % 2];
        if (fault != no_full_wait && (fault != one_thread_waits || threadIdx.x == 128)) mbarrier_wait(place.full[s % 2], fault == full_parity ? s / 2 % 2 ^ 1 : s / 2 % 2);
        if (fault == generic_over_copied) stage.a[threadIdx.x - 128] = stage.a[threadIdx.x - 128], named_barrier_sync(1, 128);
        if (fault != no_wgmma_fence) wgmma_fence(d);
#pragma unroll
        for (unsigned k = 0; k < 64; k += 16) {
            const unsigned from = fault == next_k ? 2 * k % 64 : k;
            const unsigned long long right_a = fault == swizzle ? matrix<0>(stage.a + from, 128, 1024) : matrix<128>(stage.a + from, 0, fault == stride ? 512 : 1024);
            const unsigned long long of_a = right_a + (fault == base_offset ? 1ull << 49 : fault == row_of_the_pattern ? 128 >> 4 : 0);
            wgmma<64, bf16, false, fault == across>(d, of_a, matrix<128>(stage.b + from, fault == leading ? 64 : 0, fault == leading ? 512 : 1024), true);
        }
        if (fault != no_commit) wgmma_commit();
        if (fault == sums_written) d[5] = 0;
        if (fault == freed_early && threadIdx.x == 128) mbarrier_arrive(place.empty[s % 2]);
        if (fault != no_last_wait) wgmma_wait<0>(d);
        if (fault != no_empty_arrive && fault != freed_early && threadIdx.x == 128) mbarrier_arrive(place.empty[fault == other_stage_freed ? 0 : s % 2]);
    }
    const unsigned t = threadIdx.x - 128;
#pragma unroll
    for (unsigned i = 0; i < 32; i++) place.sums[(t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8) * 64 + i / 4 * 8 + t % 4 * 2 + i % 2] = d[i];
    if (fault != no_store_fence) async_proxy_fence();
    if (fault != no_store_barrier) named_barrier_sync(1, 128);
    if (t == 0) {
        tma_store(c, place.sums, 0, 0);
        if (fault != no_store_commit) tma_commit();
        if (fault == store_not_waited_for) place.sums[0] = 0;
        if (fault != no_store_wait) tma_wait_read<0>();
    }
}
}  // namespace of_faults

#define KERNEL(fault)                                                                                                                             \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(256, 2)                                                                              \
        hopper_fault_##fault(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, const __grid_constant__ TensorMap c, unsigned strips) { \
        of_faults::product<of_faults::fault>(a, b, c, strips);                                                                                    \
    }
FAULTS(KERNEL)

// Pixels by an im2col map, or told to be `tiled` by a map for tiles: what is wrong is an argument.
extern "C" __global__ void SM_90A_ONLY __launch_bounds__(128)
    hopper_fault_pixels(const __grid_constant__ TensorMap map, unsigned short* out, unsigned bytes, unsigned tiled, int w, int h, unsigned across, unsigned down) {
    struct Place {
        alignas(1024) unsigned short numbers[64 * 64];
        Mbarrier come;
    };
    DYNAMIC_SHARED(place, Place);
    if (threadIdx.x == 0) {
        mbarrier_init(place.come, 1);
        mbarrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        mbarrier_expect(place.come, bytes);
        if (tiled) tma_load(place.numbers, map, place.come, 0, w, h, 0);
        else tma_load_im2col(place.numbers, map, place.come, 0, w, h, 0, (unsigned short)across, (unsigned short)down);
    }
    mbarrier_wait(place.come, 0);
    for (unsigned i = threadIdx.x; i < 64 * 64; i += 128) out[i] = place.numbers[i];
}
#endif
