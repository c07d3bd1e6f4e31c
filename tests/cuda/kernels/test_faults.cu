// Kernels that are wrong, each in one way that the stand-in for CUDA tells of copies and fragments: tests/cuda/faults.rs says what. x and y have 64 words.
#include "common/ptx.cuh"

#define FAULT(name) extern "C" __global__ void __launch_bounds__(64) test_fault_##name([[maybe_unused]] int* x, [[maybe_unused]] int* y)
#define ME threadIdx.x

// Right but for what `before`, `between` and `after` do not do, to be read by its neighbour.
#define COPIED(before, between)              \
    SHARED(to, int[64]);                     \
    cp_async<4>(&to[ME], x + ME);       \
    cp_async_commit();                       \
    before;                                  \
    between;                                 \
    y[ME] = to[ME ^ 1]

FAULT(none) { COPIED(cp_async_wait<0>(), __syncthreads()); }
FAULT(not_waited) { COPIED(, __syncthreads()); }
FAULT(waited_for_another) { COPIED(cp_async_wait<1>(), __syncthreads()); }
FAULT(no_barrier) { COPIED(cp_async_wait<0>(), ); }
FAULT(barrier_before_wait) { COPIED(__syncthreads(), cp_async_wait<0>()); }
FAULT(not_committed) {
    SHARED(to, int[64]);
    cp_async<4>(&to[ME], x + ME);
    cp_async_wait<0>();
    y[ME] = to[ME];
}
FAULT(written_under_way) {
    SHARED(to, int[64]);
    cp_async<4>(&to[ME], x + ME);
    to[ME] = 1;
}
FAULT(copied_twice) {
    SHARED(to, int[64]);
    cp_async<4>(&to[ME], x);
    cp_async<4>(&to[ME], x + 1);
}
FAULT(source_written) {
    SHARED(to, int[64]);
    cp_async<4>(&to[ME], x);
    __syncthreads();
    if (ME == 0) x[0] = 1;
}
FAULT(read_before) {
    SHARED(to, int[64]);
    to[ME] = 0;
    __syncthreads();
    y[ME] = to[ME ^ 1];
    cp_async<4>(&to[ME], x);
}
// Behind a tensor there is a guard band of 64 words, which is the session's own.
FAULT(copy_out_of_bounds) {
    SHARED(to, int[64]);
    cp_async<4>(&to[ME], x + 128 + ME);
}
FAULT(copy_not_aligned) {
    SHARED(to, int4[64]);
    cp_async<16>(&to[ME], x + 1);
}
FAULT(size_too_large) {
    SHARED(to, int[64]);
    cp_async<4>(&to[ME], x, 5);
}
FAULT(copy_to_global) { cp_async<4>(y, x); }

// Rows of which each lane writes its own, in both warps the same.
#define ROWS                     \
    SHARED(rows, int4[64]);      \
    unsigned r[4];               \
    rows[ME] = {1, 2, 3, 4}

FAULT(rows_no_barrier) {
    ROWS;
    ldmatrix<4, false>(r, &rows[ME]);
}
FAULT(short_warp) {
    ROWS;
    __syncthreads();
    ldmatrix<4, false>(r, &rows[ME]);
}
FAULT(rows_not_aligned) {
    ROWS;
    __syncthreads();
    ldmatrix<4, true>(r, reinterpret_cast<int*>(&rows[ME]) + 1);
}
FAULT(rows_not_written) {
    SHARED(rows, int4[64]);
    unsigned r[2];
    if (ME % 2) rows[ME] = {1, 2, 3, 4};
    __syncthreads();
    ldmatrix<2, false>(r, &rows[ME]);
}
FAULT(rows_overwritten) {
    ROWS;
    __syncwarp();
    ldmatrix<4, false>(r, &rows[ME]);
    rows[ME] = {5, 6, 7, 8};
}
FAULT(half_a_warp) {
    float d[4] = {};
    if (ME % 32 < 16) mma_m16n8k16<bf16>(d, {1, 2, 3, 4}, {5, 6});
}
FAULT(lanes_apart) {
    float d[4] = {};
    if (ME % 2) {
        mma_m16n8k16<bf16>(d, {1, 2, 3, 4}, {5, 6});
        y[ME] = 1;
    } else {
        y[ME] = 2;
        mma_m16n8k16<bf16>(d, {1, 2, 3, 4}, {5, 6});
    }
}
FAULT(kinds_apart) {
    float d[4] = {};
    if (ME % 2) {
        mma_m16n8k16<bf16>(d, {1, 2, 3, 4}, {5, 6});
    } else {
        mma_m16n8k16<f16>(d, {1, 2, 3, 4}, {5, 6});
    }
}
