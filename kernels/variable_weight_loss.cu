// Cross-entropy that stresses hard samples, of logits x [B, C]: loss = 1/n sum over rows of w CE, with q = 1 - p_label and class weights a:
//
//   cross-entropy    w = a_label
//   variable weight  w = a_label (1 + lambda q^gamma)     constant in the backward pass
//   focal            w = a_label q^gamma                  differentiated
//   dx_c = (w (p_c - t_c) + CE dw/dx_c) dloss / n,        dq/dx_c = p_label (p_c - [c = label])
//
// q is summed over the other classes and CE made of it where the label is the likeliest: nothing cancels where p_label nears 1. Rows are short and few (256 of 8
// classes), so one block sums them, a thread a row; backward is a thread a row too, which computes the softmax again. Bound by the launch.
#include "common/reduce.cuh"

namespace of_variable_weight_loss {
struct Loss {
    const float* x;
    const int* labels;
    // Null where there are none.
    const float *class_weights, *denominator;
    unsigned rows, width;
    float smoothing;
    // w = a_label (base + rise q^gamma)
    float base, rise, gamma;

    // 1 / n, or 0 where n is.
    __device__ __forceinline__ float share() const {
        const float n = denominator ? denominator[0] : rows;
        return n == 0 ? 0 : 1 / n;
    }

    __device__ __forceinline__ bool has_class(unsigned row) const { return labels[row] >= 0 && (unsigned)labels[row] < width; }
};

// What a row's loss and gradient are made of.
struct Sample {
    // max x
    float top;
    // Of e^(x - top).
    float sum;
    // 1 - p_label
    float others;
    float cross_entropy, weight;
};

// Of a row whose label is a class.
__device__ __forceinline__ Sample sampled(const Loss& loss, unsigned row) {
    const float* x = loss.x + (size_t)row * loss.width;
    const unsigned label = loss.labels[row];
    Sample s;
    s.top = x[0];
    for (unsigned c = 1; c < loss.width; c++) s.top = larger(s.top, x[c]);
    float rest = 0, below = 0;
    for (unsigned c = 0; c < loss.width; c++) {
        below += s.top - x[c];
        if (c != label) rest += expf(x[c] - s.top);
    }
    const float own = s.top - x[label];
    s.sum = expf(-own) + rest;
    s.others = rest / s.sum;
    const float log_sum = own == 0 ? log1pf(rest) : logf(s.sum);
    s.cross_entropy = (1 - loss.smoothing) * (own + log_sum);
    if (loss.smoothing > 0) s.cross_entropy += loss.smoothing * (below / loss.width + log_sum);
    // 0^0 is 1.
    s.weight = loss.base + loss.rise * powf(s.others, loss.gamma);
    if (loss.class_weights) s.weight *= loss.class_weights[label];
    return s;
}
}  // namespace of_variable_weight_loss
using namespace of_variable_weight_loss;

// One block.
extern "C" __global__ void __launch_bounds__(BLOCK)
    variable_weight_loss_forward_f32(const float* x, const int* labels, const float* class_weights, const float* denominator, float* y, unsigned rows, unsigned width,
                                     float smoothing, float base, float rise, float gamma) {
    const Loss loss = {x, labels, class_weights, denominator, rows, width, smoothing, base, rise, gamma};
    float part = 0;
    for (unsigned row = threadIdx.x; row < rows; row += BLOCK) {
        if (loss.has_class(row)) {
            const Sample s = sampled(loss, row);
            part += s.weight * s.cross_entropy;
        } else {
            part = NAN;
        }
    }
    const float sum = block_sum(part);
    if (threadIdx.x == 0) y[0] = sum * loss.share();
}

// differentiated: the weight is.
extern "C" __global__ void __launch_bounds__(BLOCK)
    variable_weight_loss_backward_f32(const float* x, const int* labels, const float* class_weights, const float* denominator, const float* dloss, float* dx,
                                      unsigned rows, unsigned width, float smoothing, float base, float rise, float gamma, unsigned differentiated) {
    const Loss loss = {x, labels, class_weights, denominator, rows, width, smoothing, base, rise, gamma};
    const size_t row = element(), start = row * width;
    if (row >= rows) return;
    if (!loss.has_class(row)) {
        for (unsigned c = 0; c < width; c++) dx[start + c] = NAN;
        return;
    }
    const Sample s = sampled(loss, row);
    const unsigned label = labels[row];
    const float factor = dloss[0] * loss.share(), even = smoothing / width;
    // dw/dx_c = w gamma dq/dx_c / q. Both ratios below are at most 1, and the weight falls to 0 with q.
    const float slope = differentiated ? s.weight * gamma * s.cross_entropy * (expf(x[start + label] - s.top) / s.sum) : 0;
    for (unsigned c = 0; c < width; c++) {
        const float p = expf(x[start + c] - s.top) / s.sum;
        // Probability less what it should be.
        const float excess = c == label ? smoothing - even - s.others : p - even;
        const float ratio = s.others > 0 ? (c == label ? -1 : p / s.others) : 0;
        dx[start + c] = (s.weight * excess + slope * ratio) * factor;
    }
}
