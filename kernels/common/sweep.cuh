// Many tensors in one launch, for kernels that go through them element by element. The host lays down what each block does: which set of tensors, and which of
// its parts of TASK elements; of each set its length and two notes of the kernel's own; and pointers, `sides` of them a set.
#pragma once
#include "common/fours.cuh"

// Elements of a block, four a thread: the host's.
#define TASK (4 * BLOCK)

struct Sweep {
    // Of each block: its set, and its part.
    const uint2* tasks;
    // Of each set: elements, notes.
    const uint4* sets;
    float* const* pointers;
};

// What a block does: elements `start .. end` of these tensors.
struct Task {
    float* const* tensors;
    unsigned start, end;
    unsigned notes[2];
};

__device__ __forceinline__ Task task_of(const Sweep& sweep, unsigned sides) {
    const uint2 task = sweep.tasks[blockIdx.x];
    const uint4 set = sweep.sets[task.x];
    return {sweep.pointers + (size_t)task.x * sides, task.y * TASK, min((task.y + 1) * TASK, set.x), {set.y, set.z}};
}

// Each element of a block's part: f gets its numbers in SIDES tensors, and what it makes of the first WRITTEN of them is stored. A thread has four neighbours.
template <unsigned SIDES, unsigned WRITTEN, class F> __device__ __forceinline__ void each_of(const Task& task, F f) {
    const unsigned from = task.start + 4 * threadIdx.x;
    if (from + 4 <= task.end) {
        float fours[SIDES][4];
#pragma unroll
        for (unsigned side = 0; side < SIDES; ++side) load_four(task.tensors[side] + from, fours[side]);
#pragma unroll
        for (unsigned k = 0; k < 4; ++k) {
            float x[SIDES];
#pragma unroll
            for (unsigned side = 0; side < SIDES; ++side) x[side] = fours[side][k];
            f(x);
#pragma unroll
            for (unsigned side = 0; side < WRITTEN; ++side) fours[side][k] = x[side];
        }
#pragma unroll
        for (unsigned side = 0; side < WRITTEN; ++side) store_four(task.tensors[side] + from, fours[side]);
        return;
    }
    for (unsigned i = from; i < task.end; ++i) {
        float x[SIDES];
#pragma unroll
        for (unsigned side = 0; side < SIDES; ++side) x[side] = task.tensors[side][i];
        f(x);
#pragma unroll
        for (unsigned side = 0; side < WRITTEN; ++side) task.tensors[side][i] = x[side];
    }
}
