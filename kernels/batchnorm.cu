// Batch normalisation over the channels, the last dimension: y = act((x - mean) rstd w + b), rstd = 1 / sqrt(var + eps), of n rows [n, C]. In training a residual
// may be added before the activation: y = act((x - mean) rstd w + b + r).
//
//   forward             mean and variance given: a map
//   training            mean and rstd of the batch, from `statistics` before it: the same map, with ReLU where it follows
//   statistics          sums of columns, joined as moments: x is read once, and nothing cancels. The variance kept is the unbiased one, rstd is made of the biased.
//   join                the same where who wrote x left moments of its rows, 64 each (common/moments.cuh): those are joined, and x is not read
//   backward            dx = dy rstd w                                                   dw = rstd sum of dy (x - mean)      db = sum of dy
//   training_backward   dx = rstd w (dz - sum of dz / n - xhat (sum of dz xhat) / n)     dw = rstd sum of dz (x - mean)      db = sum of dz
//                       dz = dy where ReLU let it pass, which z tells again: y need not be read. With a residual y tells, and dz, its gradient, is kept
//   fold                filters scale, (c - mean) scale + b: a convolution's filters and bias with the normalisation in them. Once a model
//   stage               staged = keep previous + take batch; previous is the running value in the first micro-step, else what was staged
//
// Maps go down 32 channels of a part of the rows, so that a thread reads what belongs to its channel once for eight elements. 8 bytes an element forward, 12 in
// training; backward 8, in training 20. With residual and ReLU 16 and 28 (dy, x, y read and dz written; dz, x read and dx written), where add and relu as
// operators of their own make it 32 and 32. Bound by memory. y may be x or the residual, dx dy, and dz dy.
#include "common/activation.cuh"
#include "common/column_sums.cuh"

namespace of_batchnorm {
// z of a channel. In one place, and one instruction at its end: the backward pass finds the very numbers whose sign ReLU saw.
struct Affine {
    float mean, scale, shift;
    __device__ __forceinline__ float value(float x) const { return fmaf(x - mean, scale, shift); }
    __device__ __forceinline__ float passed(float dy, float x, unsigned has_relu) const { return !has_relu || value(x) > 0 ? dy : 0; }
};

__device__ __forceinline__ float rstd_of(float variance, float eps) { return 1 / sqrtf(variance + eps); }

// f(i, column) for every element of a thread's strip.
template <class F> __device__ __forceinline__ void map_strip(const Strip& s, const Columns& columns, F f) {
    for (unsigned row = s.row; row < s.end; row += DOWN) f((size_t)row * columns.width + s.column);
}

// What is kept of the moments of all rows.
struct Statistics {
    float *mean, *variance, *rstd;
    unsigned rows;
    float eps;
    __device__ __forceinline__ void operator()(size_t, unsigned column, const float (&sum)[3]) const {
        mean[column] = sum[1];
        variance[column] = sum[2] / (rows - 1);
        rstd[column] = rstd_of(sum[2] / rows, eps);
    }
};

// What both backward passes sum: dw, db and both for the gradient of x, each null where it is not wanted. passed(i, column) is dz, and is asked for once an
// element; rstd(column) where it is needed.
template <class Passed, class Rstd>
__device__ __forceinline__ void sums_of(float* partials, const float* x, const float* mean, float* dw, float* db, float* sums, const Columns& columns, Passed passed,
                                        Rstd rstd) {
    sum_columns<2>(
        columns, partials,
        [=](size_t row, unsigned column, float (&sum)[2]) {
            const size_t i = row * columns.width + column;
            const float dz = passed(i, column);
            sum[0] = dz * (x[i] - mean[column]);
            sum[1] = dz;
        },
        [=](size_t, unsigned column, const float (&sum)[2]) {
            const float weight = sum[0] * rstd(column);
            if (dw) dw[column] = weight;
            if (db) db[column] = sum[1];
            if (sums) sums[column] = weight, sums[columns.width + column] = sum[1];
        });
}
}  // namespace of_batchnorm
using namespace of_batchnorm;

extern "C" __global__ void __launch_bounds__(BLOCK)
    batchnorm_forward_f32(const float* x, const float* w, const float* b, const float* mean, const float* variance, float* y, Columns columns, float eps) {
    const Strip s = strip_of(columns);
    if (!s.inside) return;
    const Affine by = {mean[s.column], w[s.column] * rstd_of(variance[s.column], eps), b[s.column]};
    map_strip(s, columns, [=](size_t i) { y[i] = by.value(x[i]); });
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    batchnorm_statistics_f32(float* partials, const float* x, float* mean, float* variance, float* rstd, Columns columns, float eps) {
    sum_columns<3>(
        columns, partials,
        [=](size_t row, unsigned column, float (&sum)[3]) { sum[0] = 1, sum[1] = x[row * columns.width + column], sum[2] = 0; },
        Statistics{mean, variance, rstd, columns.rows, eps}, Moments());
}

// A row of `columns` is a part of `rows`.
extern "C" __global__ void __launch_bounds__(BLOCK)
    batchnorm_join_f32(float* partials, const float* moments, float* mean, float* variance, float* rstd, Columns columns, unsigned rows, float eps) {
    sum_columns<3>(
        columns, partials,
        [=](size_t part, unsigned column, float (&sum)[3]) {
#pragma unroll
            for (unsigned word = 0; word < 3; word++) sum[word] = moments[(part * 3 + word) * columns.width + column];
        },
        Statistics{mean, variance, rstd, rows, eps}, Moments());
}

// `residual` is null where there is none.
extern "C" __global__ void __launch_bounds__(BLOCK) batchnorm_training_f32(const float* x, const float* w, const float* b, const float* mean, const float* rstd,
                                                                           const float* residual, float* y, Columns columns, unsigned has_relu) {
    const Strip s = strip_of(columns);
    if (!s.inside) return;
    const Affine by = {mean[s.column], w[s.column] * rstd[s.column], b[s.column]};
    map_strip(s, columns, [=](size_t i) {
        float z = by.value(x[i]);
        if (residual) z += residual[i];
        y[i] = has_relu ? relu(z) : z;
    });
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    batchnorm_backward_input_f32(const float* dy, const float* w, const float* variance, float* dx, Columns columns, float eps) {
    const Strip s = strip_of(columns);
    if (!s.inside) return;
    const float scale = w[s.column] * rstd_of(variance[s.column], eps);
    map_strip(s, columns, [=](size_t i) { dx[i] = dy[i] * scale; });
}

extern "C" __global__ void __launch_bounds__(BLOCK) batchnorm_backward_weight_f32(float* partials, const float* dy, const float* x, const float* mean,
                                                                                  const float* variance, float* dw, float* db, Columns columns, float eps) {
    sums_of(
        partials, x, mean, dw, db, nullptr, columns, [=](size_t i, unsigned) { return dy[i]; }, [=](unsigned column) { return rstd_of(variance[column], eps); });
}

// `sums` is read by the launch below, and so is dz in place of dy where there was a residual; else dz is null, and y with it. dz may be dy.
extern "C" __global__ void __launch_bounds__(BLOCK)
    batchnorm_training_backward_weight_f32(float* partials, const float* dy, const float* x, const float* w, const float* b, const float* mean, const float* rstd,
                                           const float* y, float* dw, float* db, float* sums, float* dz, Columns columns, unsigned has_relu) {
    const auto passed = [=](size_t i, unsigned column) {
        if (dz) return dz[i] = y[i] > 0 ? dy[i] : 0;
        return has_relu ? Affine{mean[column], w[column] * rstd[column], b[column]}.passed(dy[i], x[i], true) : dy[i];
    };
    sums_of(partials, x, mean, dw, db, sums, columns, passed, [=](unsigned column) { return rstd[column]; });
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    batchnorm_training_backward_input_f32(const float* dy, const float* x, const float* w, const float* b, const float* mean, const float* rstd_of_batch,
                                          const float* sums, float* dx, Columns columns, unsigned has_relu) {
    const Strip s = strip_of(columns);
    if (!s.inside) return;
    const float rstd = rstd_of_batch[s.column], part = 1.0f / columns.rows;
    const Affine by = {mean[s.column], w[s.column] * rstd, b[s.column]};
    const float offset = by.scale * sums[columns.width + s.column] * part, slope = by.scale * rstd * sums[s.column] * part;
    map_strip(s, columns, [=](size_t i) { dx[i] = by.scale * by.passed(dy[i], x[i], has_relu) - (offset + slope * (x[i] - by.mean)); });
}

// A thread an element of the filters; the first of them make the bias as well. c is the convolution's own bias, or null.
extern "C" __global__ void __launch_bounds__(BLOCK)
    batchnorm_fold_f32(const float* filters, const float* w, const float* b, const float* mean, const float* variance, const float* c, float* folded, float* bias,
                       size_t n, unsigned count, float eps) {
    const size_t i = element(), each = n / count;
    if (i < n) folded[i] = filters[i] * (w[i / each] * rstd_of(variance[i / each], eps));
    if (i < count) bias[i] = ((c ? c[i] : 0) - mean[i]) * (w[i] * rstd_of(variance[i], eps)) + b[i];
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    batchnorm_stage_f32(float* staged, const float* running, const float* batch, const int* micro_step, size_t n, float keep, float take) {
    const size_t i = element();
    if (i < n) staged[i] = keep * (micro_step[0] == 0 ? running[i] : staged[i]) + take * batch[i];
}
