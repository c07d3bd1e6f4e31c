// Kernels that are launched to overlap with the one before them, of two blocks of 64 threads: some are right, the others wrong in one way each, which the stand-in for
// CUDA tells of (tests/cuda/overlap.rs). x and y have 128 words.
#include "common/overlap.cuh"
#include "common/ptx.cuh"

#define KERNEL(name) extern "C" __global__ void __launch_bounds__(64) overlap_##name([[maybe_unused]] const int* x, [[maybe_unused]] int* y)
#define ME element()

// --- Right: y = x + 1, with neighbours exchanged.
KERNEL(all_wait) {
    launch_wait(), launch_next();
    y[ME] = x[ME ^ 1] + 1;
}
// Whoever is launched then waits for the end of this one.
KERNEL(next_comes_first) {
    launch_next();
    launch_wait();
    y[ME] = x[ME ^ 1] + 1;
}
KERNEL(one_waits_for_its_block) {
    if (threadIdx.x == 0) launch_wait();
    __syncthreads();
    y[ME] = x[ME ^ 1] + 1;
}
KERNEL(shared_memory_comes_first) {
    SHARED(kept, int[64]);
    kept[threadIdx.x] = 1;
    launch_wait();
    y[ME] = x[ME ^ 1] + kept[threadIdx.x];
}

// --- Wrong.
KERNEL(reads_before) {
    const int kept = x[ME ^ 1];
    launch_wait();
    y[ME] = kept + 1;
}
KERNEL(writes_before) {
    y[ME] = 1;
    launch_wait();
    y[ME] = x[ME ^ 1] + 1;
}
KERNEL(copies_before) {
    SHARED(kept, int[64]);
    cp_async<4>(&kept[threadIdx.x], x + (ME ^ 1));
    cp_async_commit();
    launch_wait();
    cp_async_wait<0>();
    y[ME] = kept[threadIdx.x] + 1;
}
KERNEL(counts_before) {
    atomicAdd(y + ME, 1);
    launch_wait();
    y[ME] = x[ME ^ 1] + 1;
}
KERNEL(a_warp_does_not_wait) {
    if (threadIdx.x < 32) launch_wait();
    y[ME] = x[ME ^ 1] + 1;
}
KERNEL(one_waits_for_itself) {
    if (threadIdx.x == 0) launch_wait();
    y[ME] = x[ME ^ 1] + 1;
}
KERNEL(the_barrier_comes_first) {
    __syncthreads();
    if (threadIdx.x == 0) launch_wait();
    y[ME] = x[ME ^ 1] + 1;
}
KERNEL(a_shuffle_is_no_barrier) {
    if (threadIdx.x % 32 == 0) launch_wait();
    const int from = __shfl_sync(0xffffffffu, (int)(ME ^ 1), (int)threadIdx.x % 32);
    y[ME] = x[from] + 1;
}
KERNEL(nobody_waits) {}
KERNEL(a_block_does_not_wait) {
    if (blockIdx.x == 1) return;
    launch_wait();
    y[ME] = x[ME ^ 1] + 1;
}
