// AdamW over all parameters in one launch, t counting the applied updates from 1; nothing changes where a gradient is not finite:
//
//   p <- p (1 - lr decay)
//   m <- m + (1 - beta1) (g - m)
//   v <- beta2 v + (1 - beta2) g^2
//   p <- p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// Reads 16 and writes 12 bytes an element: bound by memory.
#include "common/optimizer.cuh"

namespace of_adamw {
// 1 - beta^t = 1 - e^(t ln beta).
__device__ __forceinline__ float bias(float log_beta, int count) { return -expm1f(((float)count + 1) * log_beta); }
}  // namespace of_adamw
using namespace of_adamw;

// forget: 1 - beta.
extern "C" __global__ void __launch_bounds__(BLOCK)
    adamw_forward_f32(const uint2* tasks, const uint4* sets, float* const* pointers, const float* rates, const int* count, const float* norm, const int* finite,
                      float clip_norm, float forget1, float beta2, float forget2, float log_beta1, float log_beta2, float eps) {
    if (finite[0] == 0) return;
    const Step step = {rates, count, norm, finite, clip_norm};
    const Task task = task_of({tasks, sets, pointers}, 4);
    const float rate = rates[task.notes[0]], keep = 1 - rate * __uint_as_float(task.notes[1]);
    const float scale = rate / bias(log_beta1, count[0]), root = sqrtf(bias(log_beta2, count[0])), factor = step.clip();
    each_of<4, 3>(task, [&](float (&x)[4]) {
        float &p = x[0], &m = x[1], &v = x[2];
        const float gradient = x[3] * factor;
        m += forget1 * (gradient - m);
        v = beta2 * v + forget2 * gradient * gradient;
        p = p * keep - scale * m / (sqrtf(v) / root + eps);
    });
}
