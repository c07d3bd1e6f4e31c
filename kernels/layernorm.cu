// Layer normalisation over the last dimension: y = (x - mean) rstd w + b, rstd = 1 / sqrt(var + eps); mean and rstd are saved.
//
//   xhat = (x - mean) rstd        g = dy w
//   dx = rstd (g - mean of g - xhat (mean of g xhat)) (+ ds)
//   dw = sum over rows of dy xhat        db = sum over rows of dy
//
// A block a row, forward as in common/layernorm.cuh; dw and db are sums of columns. Bound by memory: 8 bytes an element forward where a row has at most
// 2048, 12 to 16 backward, 8 for the parameters. y may be x, and dx dy.
#include "common/column_sums.cuh"
#include "common/layernorm.cuh"
#include "common/overlap.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK)
    layernorm_forward_f32(const float* x, const float* w, const float* b, float* y, float* mean, float* rstd, unsigned width, float eps) {
    launch_wait(), launch_next();
    normalize([=](size_t i) { return x[i]; }, [=](size_t i, float v) { y[i] = v; }, w, b, mean, rstd, width, eps);
}

// ds may be null.
extern "C" __global__ void __launch_bounds__(BLOCK) layernorm_backward_input_f32(const float* dy, const float* x, const float* w, const float* mean_of,
                                                                                 const float* rstd_of, const float* ds, float* dx, unsigned width) {
    const size_t start = (size_t)blockIdx.x * width;
    const float mean = mean_of[blockIdx.x], rstd = rstd_of[blockIdx.x];
    float part = 0, along = 0;
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) {
        const float g = dy[start + i] * w[i];
        part += g;
        along += g * ((x[start + i] - mean) * rstd);
    }
    const float mean_g = block_sum(part) / width, mean_along = block_sum(along) / width;
    for (unsigned i = threadIdx.x; i < width; i += BLOCK) {
        const float g = dy[start + i] * w[i];
        const float d = rstd * (g - mean_g - (x[start + i] - mean) * rstd * mean_along);
        dx[start + i] = ds ? d + ds[start + i] : d;
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK) layernorm_backward_weight_f32(float* partials, const float* dy, const float* x, const float* mean,
                                                                                  const float* rstd, float* dw, float* db, Columns columns) {
    sum_columns<2>(
        columns, partials,
        [=](size_t row, unsigned column, float (&sum)[2]) {
            const size_t i = row * columns.width + column;
            sum[0] = dy[i] * ((x[i] - mean[row]) * rstd[row]);
            sum[1] = dy[i];
        },
        [=](size_t, unsigned column, const float (&sum)[2]) {
            dw[column] = sum[0];
            db[column] = sum[1];
        });
}
