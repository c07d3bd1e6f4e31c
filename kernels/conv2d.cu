// Convolution as a matrix product whose factors are never in memory (implicit GEMM). x is [B, H, W, I], w is [O, KH, KW, I], y is [B, OH, OW, O]; pixel
// (oy, ox) of y meets pixel (oy s + ky - p, ox s + kx - p) of x at tap (ky, kx), and x outside the picture is 0.
//
//   forward           A = patches of x [B OH OW, KH KW I], B = w^T        y = act(A B + bias + residual), done to the sums in registers
//   backward_input    A = patches of dy [pixels, taps O],  B = w          dx = A B
//   backward_weight   A = dy^T [O, B OH OW], B = patches of x             dw = A B
//   backward_bias     sums of columns                                     db = sum over pixels of dy
//   moments           count, mean, squares of y's columns, of each 64 pixels: common/moments.cuh. Forward leaves them where they are asked for, from the tile
//                     that it has just stored; where K is cut, this launch does, behind it
//
// With stride s the pixels of x fall into s x s phases, each of which meets its own taps: ky = fy + a s with fy = (py + p) mod s for the phase's first row py.
// backward_input is a batch of products, a phase each, in which nothing is multiplied by zeros in between.
//
// A patch's number lies where its pixel's corner and its tap say: the one is found once for all of K, the other once for what a thread reads of a strip, and
// what is left is a sum, whether it is in the picture, and an address. Tiles and strips are those of common/gemm.cuh, and for bf16 and f16 of
// common/gemm_mma.cuh: there eight neighbouring numbers of K (of dw's columns) are channels of one tap where channels come in eights, which one copy of 16
// bytes brings, or zeros for it; else each of the eight is looked up for itself. On Hopper (common/gemm_wgmma.cuh) im2col tensor maps do all of that:
// common/im2col.cuh. K, or dw's columns, go tap by tap there, and a phase is a launch, since each has its own map. 2 B OH OW O KH KW I FLOPs each; bound by
// arithmetic, by memory for 1 x 1 filters of few channels.
#include "common/activation.cuh"
#include "common/column_sums.cuh"
#include "common/gemm_mma.cuh"
#include "common/im2col.cuh"

// `phase` is the first one of a launch.
struct Conv {
    unsigned height, width, channels, filters, kernel_height, kernel_width, out_height, out_width, stride, padding, phase;
};

namespace of_conv2d {
// A share of a place in a picture: its row and column, and what is added to the address: of a patch's corner where the picture begins, of a tap the channel.
// Rows and columns of a corner may be negative: they wrap, and sums wrap back.
struct Share {
    size_t at;
    unsigned y, x;
};

// Pictures that patches are cut from, zeros around them, and a patch's taps: so many a row, to the right and down, or where `step` is -1 to the left and up.
template <class T> struct Pictures {
    const T* numbers;
    unsigned height, width, channels, taps, step;
    // The tap and the channel of a number of a patch.
    __device__ __forceinline__ Share tap(unsigned index) const {
        const unsigned tap = index / channels;
        return {index % channels, tap / taps * step, tap % taps * step};
    }
    // Leads a tap's share to the next number of the patch.
    __device__ __forceinline__ void advance(Share& tap) const {
        if (++tap.at < channels) return;
        tap.at = 0, tap.x += step;
        if (tap.x != taps * step) return;
        tap.x = 0, tap.y += step;
    }
    __device__ __forceinline__ bool has(Share a, Share b) const { return a.y + b.y < height && a.x + b.x < width; }
    __device__ __forceinline__ const T& number(Share a, Share b) const { return numbers[a.at + b.at + ((size_t)(a.y + b.y) * width + (a.x + b.x)) * channels]; }
    __device__ __forceinline__ void load(Chunk& to, Share corner, Share tap, unsigned count) const {
        if (channels % 8 == 0) {
            const bool is_there = count && has(corner, tap);
            cp_async<16>(to.at, is_there ? &number(corner, tap) : numbers, is_there ? 2 * count : 0);
        } else {
            Chunk chunk;
#pragma unroll
            for (unsigned i = 0; i < 8; i++, advance(tap)) chunk.at[i] = i < count && has(corner, tap) ? number(corner, tap).bits : 0;
            to = chunk;
        }
    }
};

// Patches as a factor, a number of each along K or across it. `corners` says where one of a pixel begins.
template <class T, bool along_k, class Corners> struct Patches {
    typedef Share Across;
    typedef Share Along;
    Pictures<T> pictures;
    Corners corners;
    __device__ __forceinline__ Share across(unsigned, unsigned index) const { return along_k ? corners.corner(index) : pictures.tap(index); }
    __device__ __forceinline__ Share along(unsigned, unsigned k) const { return along_k ? pictures.tap(k) : corners.corner(k); }
    __device__ __forceinline__ float at(unsigned, Share across, Share along) const {
        return pictures.has(across, along) ? to_float(pictures.number(across, along)) : 0;
    }
    __device__ __forceinline__ void load(Chunk& to, Share across, Share along, unsigned count) const {
        pictures.load(to, along_k ? across : along, along_k ? along : across, count);
    }
};

// The patch of x that a pixel of y sees.
struct Windows {
    Conv c;
    __device__ __forceinline__ Share corner(unsigned pixel) const {
        const unsigned row = pixel / c.out_width, picture = row / c.out_height;
        return {(size_t)picture * c.height * c.width * c.channels, row % c.out_height * c.stride - c.padding, pixel % c.out_width * c.stride - c.padding};
    }
};

// Rows, or columns, of x in one phase: the first, how many there are, the first tap that it meets, and how many it meets.
struct Side {
    unsigned start, count, tap, taps;
    __device__ __forceinline__ Side(const Conv& c, unsigned start, unsigned extent, unsigned kernel) : start(start), tap((start + c.padding) % c.stride) {
        count = (max(extent, start) - start + c.stride - 1) / c.stride;
        taps = (max(kernel, tap) - tap + c.stride - 1) / c.stride;
    }
};

// The product of a batch that backward_input is: the pixels of x in one phase.
struct Phase {
    Conv c;
    Side down, right;
    __device__ __forceinline__ Phase(const Conv& c, unsigned batch)
        : c(c), down(c, (c.phase + batch) / c.stride, c.height, c.kernel_height), right(c, (c.phase + batch) % c.stride, c.width, c.kernel_width) {}

    // As common/gemm.cuh asks. The first phase has the most rows.
    __device__ __forceinline__ unsigned rows(const Gemm& g, unsigned) const {
        const unsigned most = Side(c, c.phase / c.stride, c.height, 0).count * Side(c, c.phase % c.stride, c.width, 0).count;
        return g.m / most * (down.count * right.count);
    }
    __device__ __forceinline__ unsigned depth(const Gemm&, unsigned) const { return down.taps * right.taps * c.filters; }

    // The pixel of dy that the first tap of a pixel of x leads to; the others lead back from it.
    __device__ __forceinline__ Share corner(unsigned index) const {
        const unsigned row = index / right.count, picture = row / down.count;
        const unsigned y = row % down.count + (down.start + c.padding) / c.stride, x = index % right.count + (right.start + c.padding) / c.stride;
        return {(size_t)picture * c.out_height * c.out_width * c.filters, y, x};
    }
    // The pixel of x. One phase is all of them.
    __device__ __forceinline__ size_t pixel(unsigned index) const {
        if (c.stride == 1) return index;
        const unsigned row = index / right.count, y = row % down.count * c.stride + down.start, x = index % right.count * c.stride + right.start;
        return ((size_t)(row / down.count) * c.height + y) * c.width + x;
    }
};

template <bool along_k, class T> __device__ __forceinline__ Patches<T, along_k, Windows> patches(const T* x, const Conv& c) {
    return {{x, c.height, c.width, c.channels, c.kernel_width, 1}, {c}};
}

// The patches of dy that a phase's pixels meet.
template <class T> __device__ __forceinline__ Patches<T, true, Phase> patches_back(const T* dy, const Phase& phase) {
    return {{dy, phase.c.out_height, phase.c.out_width, phase.c.filters, phase.right.taps, 0u - 1}, phase};
}

// The filters' numbers at those taps.
template <class T> struct FiltersBack {
    typedef unsigned Across;
    typedef size_t Along;
    const T* w;
    Phase phase;
    __device__ __forceinline__ unsigned across(unsigned, unsigned channel) const { return channel; }
    __device__ __forceinline__ size_t along(unsigned, unsigned k) const {
        const Conv& c = phase.c;
        const unsigned at = k / c.filters, ky = phase.down.tap + at / phase.right.taps * c.stride, kx = phase.right.tap + at % phase.right.taps * c.stride;
        return (((size_t)(k % c.filters) * c.kernel_height + ky) * c.kernel_width + kx) * c.channels;
    }
    __device__ __forceinline__ float at(unsigned, unsigned channel, size_t tap) const { return to_float(w[tap + channel]); }
    __device__ __forceinline__ void load(Chunk& to, unsigned channel, size_t tap, unsigned count) const {
        load_chunk(to, count ? w + tap + channel : w, count, phase.c.channels);
    }
};

// bias and residual are null where there are none, and so are moments; y may be the residual.
template <class T> struct Epilogue {
    const T *bias, *residual;
    T* y;
    float* moments;
    unsigned has_relu, n;
    __device__ __forceinline__ float ahead(unsigned row, unsigned column) const {
        return (bias ? to_float(bias[column]) : 0) + (residual ? to_float(residual[(size_t)row * n + column]) : 0);
    }
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float& sum, float ahead) const {
        const size_t i = (size_t)row * n + column;
        sum += ahead;
        const T stored = Element<T>::of(has_relu ? relu(sum) : sum);
        y[i] = stored;
        // They are of what whoever reads y sees.
        if (moments) sum = to_float(stored);
    }
};
template <class T> __device__ __forceinline__ float* moments_of(const Epilogue<T>& epilogue) { return epilogue.moments; }

template <class T> struct Store {
    T* dw;
    unsigned n;
    __device__ __forceinline__ Nothing ahead(unsigned, unsigned) const { return {}; }
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum, Nothing) const { dw[(size_t)row * n + column] = Element<T>::of(sum); }
};

// The same where a tap's columns go on behind its channels.
template <class T> struct StoreTaps {
    T* dw;
    unsigned channels, depth, width;
    __device__ __forceinline__ StoreTaps(T* dw, const Gemm& g, const Conv& c) : dw(dw), channels(c.channels) {
        const unsigned taps = c.kernel_height * c.kernel_width;
        depth = g.n / taps, width = taps * channels;
    }
    __device__ __forceinline__ Nothing ahead(unsigned, unsigned) const { return {}; }
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum, Nothing) const {
        const unsigned channel = column % depth;
        if (channel < channels) dw[(size_t)row * width + column / depth * channels + channel] = Element<T>::of(sum);
    }
};

template <class T> struct Scatter {
    T* dx;
    Phase phase;
    __device__ __forceinline__ Nothing ahead(unsigned, unsigned) const { return {}; }
    __device__ __forceinline__ void operator()(unsigned, unsigned row, unsigned column, float sum, Nothing) const {
        dx[phase.pixel(row) * phase.c.channels + column] = Element<T>::of(sum);
    }
};

#ifdef SM_90A
__device__ __forceinline__ of_im2col::Grid grid(const Conv& c) {
    return {c.out_height, c.out_width, c.stride, -(int)c.padding, -(int)c.padding, c.kernel_width, of_im2col::depth_of(c.channels)};
}

// Of the patches that a phase's pixels meet, from the last tap on.
__device__ __forceinline__ of_im2col::Grid grid_back(const Phase& p) {
    const auto first = [&](const Side& side) { return (int)((side.start + p.c.padding) / p.c.stride) - (int)(side.taps - 1); };
    return {p.down.count, p.right.count, 1, first(p.right), first(p.down), p.right.taps, of_im2col::depth_of(p.c.filters)};
}

// The filters' numbers at those taps.
__device__ __forceinline__ of_im2col::ChannelColumns filters_back(const TensorMap& w, const Phase& p) {
    const auto last = [&](const Side& side) { return side.tap + (side.taps - 1) * p.c.stride; };
    const unsigned width = p.c.kernel_width;
    return {w, p.right.taps, of_im2col::depth_of(p.c.filters), last(p.down) * width + last(p.right), p.c.stride, p.c.stride * width};
}
#endif
}  // namespace of_conv2d
using namespace of_conv2d;

#define KERNELS(suffix, T)                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_forward_##suffix(                                                                            \
        float* partials, const T* x, const T* w, const T* bias, const T* residual, T* y, float* moments, Gemm g, Conv c, unsigned has_relu) {                  \
        gemm_of<true, true>(g, partials, patches<true>(x, c), Matrix<T, true>{w, g.k}, Epilogue<T>{bias, residual, y, moments, has_relu, g.n}, Alike());       \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2)                                                                                                     \
        conv2d_forward_sum_##suffix(const float* partials, const T* bias, const T* residual, T* y, float*, Gemm g, Conv, unsigned has_relu) {                  \
        gemm_sum(g, partials, Epilogue<T>{bias, residual, y, nullptr, has_relu, g.n});                                                                         \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_input_##suffix(float* partials, const T* dy, const T* w, T* dx, Gemm g, Conv c) {   \
        const Phase phase(c, tile_of<TILE>(g).batch);                                                                                                          \
        gemm_of<true, false>(g, partials, patches_back(dy, phase), FiltersBack<T>{w, phase}, Scatter<T>{dx, phase}, phase);                                    \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_input_sum_##suffix(const float* partials, T* dx, Gemm g, Conv c) {                  \
        const Phase phase(c, element() / ((size_t)g.m * g.n));                                                                                                 \
        gemm_sum(g, partials, Scatter<T>{dx, phase}, phase);                                                                                                   \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_weight_##suffix(float* partials, const T* dy, const T* x, T* dw, Gemm g, Conv c) {  \
        gemm_of<false, false>(g, partials, Matrix<T, false>{dy, g.m}, patches<false>(x, c), Store<T>{dw, g.n}, Alike());                                       \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_weight_sum_##suffix(const float* partials, T* dw, Gemm g, Conv c) {                 \
        gemm_sum(g, partials, StoreTaps<T>(dw, g, c));                                                                                                         \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_backward_bias_##suffix(float* partials, const T* dy, T* db, Columns columns) {               \
        sum_columns<1>(                                                                                                                                        \
            columns, partials, [=](size_t row, unsigned column, float (&sum)[1]) { sum[0] = to_float(dy[row * columns.width + column]); },                     \
            [=](size_t, unsigned column, const float (&sum)[1]) { db[column] = Element<T>::of(sum[0]); });                                                     \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) conv2d_moments_##suffix(const T* y, float* moments, Columns columns) {                              \
        sum_columns<3>(                                                                                                                                        \
            columns, nullptr,                                                                                                                                  \
            [=](size_t row, unsigned column, float (&sum)[3]) { sum[0] = 1, sum[1] = to_float(y[row * columns.width + column]), sum[2] = 0; },                 \
            [=](size_t part, unsigned column, const float (&sum)[3]) { leave_moments(moments, sum, part * PART_ROWS, column, columns.width); }, Moments());    \
    }
FOR_EACH_TYPE(KERNELS)

#define MMA_KERNELS(tile, suffix, T)                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(2 * tile) conv2d_forward_mma##tile##_##suffix(                                                                \
        float* partials, const T* x, const T* w, const T* bias, const T* residual, T* y, float* moments, Gemm g, Conv c, unsigned has_relu) {                  \
        const Epilogue<T> put = {bias, residual, y, moments, has_relu, g.n};                                                                                   \
        gemm_mma_of<tile, true, true, T>(g, partials, patches<true>(x, c), Matrix<T, true>{w, g.k}, put, Alike());                                             \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(2 * tile)                                                                                                     \
        conv2d_backward_input_mma##tile##_##suffix(float* partials, const T* dy, const T* w, T* dx, Gemm g, Conv c) {                                          \
        const Phase phase(c, tile_of<tile>(g).batch);                                                                                                          \
        gemm_mma_of<tile, true, false, T>(g, partials, patches_back(dy, phase), FiltersBack<T>{w, phase}, Scatter<T>{dx, phase}, phase);                       \
    }                                                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(2 * tile)                                                                                                     \
        conv2d_backward_weight_mma##tile##_##suffix(float* partials, const T* dy, const T* x, T* dw, Gemm g, Conv c) {                                         \
        gemm_mma_of<tile, false, false, T>(g, partials, Matrix<T, false>{dy, g.m}, patches<false>(x, c), Store<T>{dw, g.n}, Alike());                          \
    }
#define MMA_TILES(suffix, T) MMA_KERNELS(64, suffix, T) MMA_KERNELS(128, suffix, T)
FOR_EACH_HALF(MMA_TILES)

#ifdef SM_90A
#define WGMMA_KERNELS(wide, suffix, T)                                                                                                                         \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1) conv2d_forward_wgmma##wide##_##suffix(                                      \
        float* partials, const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, const T* bias, const T* residual, T* y, float* moments,     \
        Gemm g, Conv c, unsigned has_relu) {                                                                                                                   \
        const of_im2col::Grid patches = grid(c);                                                                                                               \
        gemm_wgmma<wide, 1, T>(g, partials, of_im2col::PatchRows{x, patches}, of_im2col::FilterColumns{w, patches.depth},                                         \
                            Epilogue<T>{bias, residual, y, moments, has_relu, g.n});                                                                           \
    }                                                                                                                                                          \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1) conv2d_backward_input_wgmma##wide##_##suffix(                               \
        float* partials, const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap w, T* dx, Gemm g, Conv c) {                                   \
        const Phase phase(c, 0);                                                                                                                               \
        gemm_wgmma<wide, 1, T>(g, partials, of_im2col::PatchRows{dy, grid_back(phase)}, filters_back(w, phase), Scatter<T>{dx, phase});                           \
    }                                                                                                                                                          \
    extern "C" __global__ void SM_90A_ONLY __launch_bounds__(of_wgmma::THREADS, 1) conv2d_backward_weight_wgmma##wide##_##suffix(                              \
        float* partials, const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x, T* dw, Gemm g, Conv c) {                                   \
        gemm_wgmma<wide, 1, T>(g, partials, Matrices<false>{dy}, of_im2col::PatchColumns{x, grid(c)}, StoreTaps<T>(dw, g, c));                                    \
    }
#define WGMMA_TILES(suffix, T) WGMMA_KERNELS(128, suffix, T) WGMMA_KERNELS(256, suffix, T)
FOR_EACH_HALF(WGMMA_TILES)
#endif
