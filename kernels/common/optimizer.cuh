// What the optimizers share: a sweep goes through parameter, moments and gradient side by side, and reads what the step is told on the device. The notes of a set
// are its group, and the bits of its decay, 0 for one that does not.
#pragma once
#include "common/sweep.cuh"

// What every optimizer's kernel is given.
struct Step {
    const float* rates;
    const int* count;
    const float* norm;
    const int* finite;
    // 0 where gradients are not clipped.
    float clip_norm;

    // As by PyTorch's clip_grad_norm_.
    __device__ __forceinline__ float clip() const { return clip_norm > 0 ? fminf(clip_norm / (norm[0] + 1e-6f), 1) : 1; }
};
