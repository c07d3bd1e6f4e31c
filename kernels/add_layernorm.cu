// Layer normalisation of a sum: s = x + r, y = (s - mean) rstd w + b; s, mean and rstd are saved. Backward is layernorm's, with s for x.
//
// A block a row, as in common/layernorm.cuh: 12 bytes an element, 16 where s is wanted, for rows of at most 2048. Bound by memory. y may be x.
#include "common/layernorm.cuh"
#include "common/overlap.cuh"

// Longer rows are read again as they were left in y. s may be null.
extern "C" __global__ void __launch_bounds__(BLOCK) add_layernorm_forward_f32(const float* x, const float* r, const float* w, const float* b, float* y, float* s,
                                                                              float* mean, float* rstd, unsigned width, float eps) {
    launch_wait(), launch_next();
    if (width > KEPT * BLOCK) {
        const size_t start = (size_t)blockIdx.x * width;
        for (unsigned i = threadIdx.x; i < width; i += BLOCK) {
            const float sum = x[start + i] + r[start + i];
            if (s) s[start + i] = sum;
            y[start + i] = sum;
        }
        normalize([=](size_t i) { return y[i]; }, [=](size_t i, float v) { y[i] = v; }, w, b, mean, rstd, width, eps);
        return;
    }
    normalize(
        [=](size_t i) {
            const float sum = x[i] + r[i];
            if (s) s[i] = sum;
            return sum;
        },
        [=](size_t i, float v) { y[i] = v; }, w, b, mean, rstd, width, eps);
}
