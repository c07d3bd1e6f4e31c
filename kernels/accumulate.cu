// Adds a gradient to its state over micro-steps: state <- grad in the first, state <- state + grad in the others; grad divided by the loss scale, where
// there is one, whose power of two makes that exact.
//
// Reads 8 and writes 4 bytes an element, in the first micro-step reads 4: bound by memory.
#include "common/map.cuh"

// control: seed, seed, step, micro-step. scale may be null.
extern "C" __global__ void __launch_bounds__(BLOCK) accumulate_forward_f32(float* state, const float* grad, const int* control, const float* scale, size_t n) {
    const float factor = scale ? 1 / scale[0] : 1;
    if (control[3] != 0) {
        map_both(grad, state, state, n, [=](float g, float sum) { return factor * g + sum; });
    } else {
        map(grad, state, n, [=](float g, size_t) { return factor * g; });
    }
}
