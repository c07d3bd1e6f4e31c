// Many tensors in one launch, for kernels that go through them element by element. The host lays down what each block does: which set of tensors, and which of
// its parts of TASK elements; of each set its length and two notes of the kernel's own; and pointers, `sides` of them a set.
#pragma once
#include "common/types.cuh"

// Elements of a block: the host's.
#define TASK 1024

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
