// Adds a gradient to its state over micro-steps: state <- grad in the first, state <- state + grad in the others; grad divided by the loss scale, where
// there is one, whose power of two makes that exact.
//
// A thread an element. Reads 8 and writes 4 bytes an element, in the first micro-step reads 4: bound by memory.
#include "common/types.cuh"

// control: seed, seed, step, micro-step. scale may be null.
extern "C" __global__ void __launch_bounds__(BLOCK) accumulate_forward_f32(float* state, const float* grad, const int* control, const float* scale, size_t n) {
    const size_t i = element();
    if (i >= n) return;
    float v = grad[i];
    if (scale) v *= 1 / scale[0];
    if (control[3] != 0) v += state[i];
    state[i] = v;
}
