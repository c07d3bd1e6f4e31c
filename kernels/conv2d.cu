// Convolution as a matrix product whose factors are never in memory (implicit GEMM, common/gemm.cuh). x is [B, H, W, I], w is [O, KH, KW, I], y is [B, OH, OW, O];
// pixel (oy, ox) of y meets pixel (oy s + ky - p, ox s + kx - p) of x at tap (ky, kx), and x outside the picture is 0.
//
//   forward           A = patches of x [B OH OW, KH KW I], B = w^T        y = act(A B + bias + residual), done to the sums in registers
//   backward_input    A = patches of dy [pixels, taps O],  B = w          dx = A B
//   backward_weight   A = dy^T [O, B OH OW], B = patches of x             dw = A B
//   backward_bias     sums of columns                                     db = sum over pixels of dy
//
// With stride s the pixels of x fall into s x s phases, each of which meets its own taps: ky = fy + a s with fy = (py + p) mod s for the phase's first row py.
// backward_input is a batch of products, a phase each, in which nothing is multiplied by zeros in between.
//
// A patch's number lies where its pixel's corner and its tap say: the one is found once for all of K, the other once for a thread's four numbers of a strip, and
// what is left is a sum and whether it is in the picture. 2 B OH OW O KH KW I FLOPs each; bound by arithmetic, by memory for 1 x 1 filters of few channels.
#include "common/activation.cuh"
#include "common/column_sums.cuh"
#include "common/gemm.cuh"

struct Conv {
    unsigned height, width, channels, filters, kernel_height, kernel_width, out_height, out_width, stride, padding;
};

namespace of_conv2d {
// A share of an address, and of a row and a column of the picture. Those of a corner may be negative: they wrap, and sums wrap back.
struct Place {
    size_t at;
    unsigned y, x;
};

// The patches of x: a pixel of y, and [KH, KW, I] counted from its corner.
struct Patch {
    Conv c;
    __device__ __forceinline__ Place corner(unsigned index) const {
        const unsigned row = index / c.out_width;
        const unsigned y0 = row % c.out_height * c.stride - c.padding, x0 = index % c.out_width * c.stride - c.padding;
        return {(((size_t)(row / c.out_height) * c.height + (int)y0) * c.width + (int)x0) * c.channels, y0, x0};
    }
    __device__ __forceinline__ Place tap(unsigned index) const {
        const unsigned tap = index / c.channels, ky = tap / c.kernel_width, kx = tap % c.kernel_width;
        return {((size_t)ky * c.width + kx) * c.channels + index % c.channels, ky, kx};
    }
    template <class T> __device__ __forceinline__ float number(const T* x, Place a, Place b) const {
        return a.y + b.y < c.height && a.x + b.x < c.width ? to_float(x[a.at + b.at]) : 0;
    }
};

template <class T> struct PatchRows {
    typedef Place Across;
    typedef Place Along;
    const T* x;
    Patch patch;
    __device__ __forceinline__ Place across(unsigned, unsigned pixel) const { return patch.corner(pixel); }
    __device__ __forceinline__ Place along(unsigned, unsigned k) const { return patch.tap(k); }
    __device__ __forceinline__ float at(unsigned, Place corner, Place tap) const { return patch.number(x, corner, tap); }
};

template <class T> struct PatchColumns {
    typedef Place Across;
    typedef Place Along;
    const T* x;
    Patch patch;
    __device__ __forceinline__ Place across(unsigned, unsigned column) const { return patch.tap(column); }
    __device__ __forceinline__ Place along(unsigned, unsigned pixel) const { return patch.corner(pixel); }
    __device__ __forceinline__ float at(unsigned, Place tap, Place corner) const { return patch.number(x, tap, corner); }
};

// A factor as it lies: its number at across * by_across + k * by_k.
template <class T> struct Plain {
    typedef size_t Across;
    typedef size_t Along;
    const T* numbers;
    size_t by_across, by_k;
    __device__ __forceinline__ size_t across(unsigned, unsigned index) const { return index * by_across; }
    __device__ __forceinline__ size_t along(unsigned, unsigned k) const { return k * by_k; }
    __device__ __forceinline__ float at(unsigned, size_t across, size_t k) const { return to_float(numbers[across + k]); }
};

// Rows, or columns, of x in one phase: the first, how many there are, the first tap that it meets, and how many it meets.
struct Phase {
    unsigned start, count, tap, taps;
};

struct Phases {
    Conv c;
    __device__ __forceinline__ Phase phase(unsigned start, unsigned extent, unsigned kernel) const {
        const unsigned tap = (start + c.padding) % c.stride;
        return {start, (max(extent, start) - start + c.stride - 1) / c.stride, tap, (max(kernel, tap) - tap + c.stride - 1) / c.stride};
    }
    __device__ __forceinline__ Phase down(unsigned batch) const { return phase(batch / c.stride, c.height, c.kernel_height); }
    __device__ __forceinline__ Phase right(unsigned batch) const { return phase(batch % c.stride, c.width, c.kernel_width); }

    // As common/gemm.cuh asks.
    __device__ __forceinline__ unsigned rows(const Gemm& g, unsigned batch) const {
        const unsigned most = down(0).count * right(0).count;
        return g.m / most * (down(batch).count * right(batch).count);
    }
    __device__ __forceinline__ unsigned depth(const Gemm&, unsigned batch) const { return down(batch).taps * right(batch).taps * c.filters; }
};

// The patches of dy that a phase's pixels meet: the pixel above the first tap, from which the others lead back.
template <class T> struct BackRows {
    typedef Place Across;
    typedef Place Along;
    const T* dy;
    Phases phases;
    __device__ __forceinline__ Place across(unsigned batch, unsigned index) const {
        const Conv& c = phases.c;
        const Phase down = phases.down(batch), right = phases.right(batch);
        const unsigned row = index / right.count;
        const unsigned y0 = row % down.count + (down.start + c.padding) / c.stride, x0 = index % right.count + (right.start + c.padding) / c.stride;
        return {(((size_t)(row / down.count) * c.out_height + y0) * c.out_width + x0) * c.filters, y0, x0};
    }
    __device__ __forceinline__ Place along(unsigned batch, unsigned k) const {
        const Conv& c = phases.c;
        const unsigned at = k / c.filters, taps = phases.right(batch).taps, y = at / taps, x = at % taps;
        return {k % c.filters - ((size_t)y * c.out_width + x) * c.filters, 0 - y, 0 - x};
    }
    __device__ __forceinline__ float at(unsigned, Place pixel, Place back) const {
        return pixel.y + back.y < phases.c.out_height && pixel.x + back.x < phases.c.out_width ? to_float(dy[pixel.at + back.at]) : 0;
    }
};

// The filters' numbers at those taps.
template <class T> struct BackFilters {
    typedef unsigned Across;
    typedef size_t Along;
    const T* w;
    Phases phases;
    __device__ __forceinline__ unsigned across(unsigned, unsigned channel) const { return channel; }
    __device__ __forceinline__ size_t along(unsigned batch, unsigned k) const {
        const Conv& c = phases.c;
        const Phase down = phases.down(batch), right = phases.right(batch);
        const unsigned at = k / c.filters, ky = down.tap + at / right.taps * c.stride, kx = right.tap + at % right.taps * c.stride;
        return (((size_t)(k % c.filters) * c.kernel_height + ky) * c.kernel_width + kx) * c.channels;
    }
    __device__ __forceinline__ float at(unsigned, unsigned channel, size_t tap) const { return to_float(w[tap + channel]); }
};

// bias and residual are null where there are none; y may be the residual.
template <class T> struct Epilogue {
    const T *bias, *residual;
    T* y;
    unsigned has_relu, n;
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum) const {
        const size_t i = (size_t)row * n + column;
        if (bias) sum += to_float(bias[column]);
        if (residual) sum += to_float(residual[i]);
        y[i] = Element<T>::of(has_relu ? relu(sum) : sum);
    }
};

template <class T> struct Store {
    T* dw;
    unsigned n;
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum) const { dw[(size_t)row * n + column] = Element<T>::of(sum); }
};

template <class T> struct Scatter {
    T* dx;
    Phases phases;
    __device__ __forceinline__ void operator()(unsigned batch, unsigned row, unsigned column, float sum) const {
        const Conv& c = phases.c;
        const Phase down = phases.down(batch), right = phases.right(batch);
        const unsigned line = row / right.count, y = line % down.count * c.stride + down.start, x = row % right.count * c.stride + right.start;
        dx[(((size_t)(line / down.count) * c.height + y) * c.width + x) * c.channels + column] = Element<T>::of(sum);
    }
};
}  // namespace of_conv2d
using namespace of_conv2d;

#define KERNELS(suffix, T)                                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2)                                                                                                         \
        conv2d_forward_##suffix(float* partials, const T* x, const T* w, const T* bias, const T* residual, T* y, Gemm g, Conv c, unsigned has_relu) {           \
        gemm_of<true, true>(g, partials, PatchRows<T>{x, {c}}, Plain<T>{w, g.k, 1}, Epilogue<T>{bias, residual, y, has_relu, g.n}, Alike());                    \
    }                                                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2)                                                                                                         \
        conv2d_forward_sum_##suffix(const float* partials, const T* bias, const T* residual, T* y, Gemm g, Conv, unsigned has_relu) {                           \
        gemm_sum(g, partials, Epilogue<T>{bias, residual, y, has_relu, g.n});                                                                                   \
    }                                                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_input_##suffix(float* partials, const T* dy, const T* w, T* dx, Gemm g, Conv c) {        \
        gemm_of<true, false>(g, partials, BackRows<T>{dy, {c}}, BackFilters<T>{w, {c}}, Scatter<T>{dx, {c}}, Phases{c});                                        \
    }                                                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_input_sum_##suffix(const float* partials, T* dx, Gemm g, Conv c) {                       \
        gemm_sum(g, partials, Scatter<T>{dx, {c}}, Phases{c});                                                                                                  \
    }                                                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_weight_##suffix(float* partials, const T* dy, const T* x, T* dw, Gemm g, Conv c) {       \
        gemm_of<false, false>(g, partials, Plain<T>{dy, 1, g.m}, PatchColumns<T>{x, {c}}, Store<T>{dw, g.n}, Alike());                                          \
    }                                                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_weight_sum_##suffix(const float* partials, T* dw, Gemm g, Conv) {                        \
        gemm_sum(g, partials, Store<T>{dw, g.n});                                                                                                               \
    }                                                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_bias_##suffix(float* partials, const T* dy, T* db, Columns columns) {                    \
        sum_columns<1>(                                                                                                                                         \
            columns, partials, [=](size_t row, unsigned column, float (&sum)[1]) { sum[0] = to_float(dy[row * columns.width + column]); },                      \
            [=](size_t, unsigned column, const float (&sum)[1]) { db[column] = Element<T>::of(sum[0]); });                                                      \
    }
FOR_EACH_TYPE(KERNELS)
