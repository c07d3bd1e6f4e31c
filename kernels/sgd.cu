// Stochastic gradient descent with momentum over all parameters in one launch; nothing changes where a gradient is not finite:
//
//   g <- g + decay p
//   m <- mu m + g
//   p <- p - lr (g + mu m) (Nesterov), or lr m
//
// Reads 12 and writes 8 bytes an element: bound by memory.
#include "common/optimizer.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK)
    sgd_forward_f32(const uint2* tasks, const uint4* sets, float* const* pointers, const float* rates, const int* count, const float* norm, const int* finite,
                    float clip_norm, float momentum, unsigned nesterov) {
    if (finite[0] == 0) return;
    const Step step = {rates, count, norm, finite, clip_norm};
    const Task task = task_of({tasks, sets, pointers}, 3);
    const float rate = rates[task.notes[0]], decay = __uint_as_float(task.notes[1]), factor = step.clip();
    each_of<3, 2>(task, [&](float (&x)[3]) {
        float &p = x[0], &m = x[1];
        const float gradient = x[2] * factor + decay * p;
        m = momentum * m + gradient;
        p -= rate * (nesterov ? gradient + momentum * m : m);
    });
}
