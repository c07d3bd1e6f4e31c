// Moving averages of parameters: avg <- d avg + (1 - d) p with d = min(decay, t / (9 + t)), t the updates before this one, where the step was applied.
//
// A sweep over all pairs in one launch, as in common/sweep.cuh. 12 bytes an element: bound by memory.
#include "common/sweep.cuh"

// most: 1 - decay, which in f32 would have lost its digits.
extern "C" __global__ void __launch_bounds__(BLOCK) ema_forward_f32(const uint2* tasks, const uint4* sets, float* const* pointers, const int* before,
                                                                    const int* finite, float decay, float most) {
    if (finite[0] == 0) return;
    const float t = (float)max(before[0], 0), rise = 9 / (9 + t);
    const float keep = rise > most ? t / (9 + t) : decay, forget = rise > most ? rise : most;
    const Task task = task_of({tasks, sets, pointers}, 2);
    each_of<2, 1>(task, [&](float (&x)[2]) { x[0] = keep * x[0] + forget * x[1]; });
}
