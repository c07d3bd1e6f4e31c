// The maximum of each window of KERNEL x KERNEL pixels of pictures [B, H, W, C]; of equal ones the first, and NaN wins. The winner's pixel is saved.
//
// A thread an element, channels side by side: neighbours read neighbours. Forward, windows overlap in the cache. Backward gathers: an element of dx goes through
// the windows that cover its pixel, in order, and adds up those that it won. Bound by memory.
#include "common/types.cuh"

struct Windows {
    unsigned height, width, channels, down, across, kernel, stride, padding;
};

namespace of_maxpool2d {
// won may be null.
template <class T> __device__ __forceinline__ void forward(const T* x, T* y, int* won, size_t n, const Windows& w) {
    const size_t i = element();
    if (i >= n) return;
    const unsigned c = i % w.channels, column0 = i / w.channels % w.across, row0 = i / w.channels / w.across % w.down;
    const T* picture = x + i / w.channels / w.across / w.down * w.height * w.width * w.channels + c;
    const unsigned first_row = max(row0 * w.stride, w.padding) - w.padding, first_column = max(column0 * w.stride, w.padding) - w.padding;
    const unsigned end_row = min(row0 * w.stride + w.kernel - w.padding, w.height), end_column = min(column0 * w.stride + w.kernel - w.padding, w.width);
    unsigned winner = first_row * w.width + first_column;
    float best = to_float(picture[(size_t)winner * w.channels]);
    for (unsigned row = first_row; row < end_row; row++)
        for (unsigned column = first_column; column < end_column; column++) {
            const unsigned pixel = row * w.width + column;
            const float v = to_float(picture[(size_t)pixel * w.channels]);
            if ((v > best || v != v) && best == best) best = v, winner = pixel;
        }
    y[i] = Element<T>::of(best);
    if (won) won[i] = winner;
}

template <class T> __device__ __forceinline__ void backward(const T* dy, const int* won, T* dx, size_t n, const Windows& w) {
    const size_t i = element();
    if (i >= n) return;
    const unsigned c = i % w.channels, x = i / w.channels % w.width, y = i / w.channels / w.width % w.height;
    const size_t picture = i / w.channels / w.width / w.height * w.down * w.across;
    const int pixel = y * w.width + x;
    // The windows that cover the pixel: the last starts at or before it, the first is the first to end behind it.
    const unsigned last_row = y + w.padding, last_column = x + w.padding;
    const unsigned first_row = (max(last_row + 1, w.kernel) - w.kernel + w.stride - 1) / w.stride;
    const unsigned first_column = (max(last_column + 1, w.kernel) - w.kernel + w.stride - 1) / w.stride;
    float sum = 0;
    for (unsigned row = first_row; row < min(last_row / w.stride + 1, w.down); row++)
        for (unsigned column = first_column; column < min(last_column / w.stride + 1, w.across); column++) {
            const size_t window = (picture + row * w.across + column) * w.channels + c;
            if (won[window] == pixel) sum += to_float(dy[window]);
        }
    dx[i] = Element<T>::of(sum);
}
}  // namespace of_maxpool2d
using namespace of_maxpool2d;

#define KERNELS(suffix, T)                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(BLOCK) maxpool2d_forward_##suffix(const T* x, T* y, int* won, size_t n, Windows w) { forward(x, y, won, n, w); } \
    extern "C" __global__ void __launch_bounds__(BLOCK) maxpool2d_backward_##suffix(const T* dy, const int* won, T* dx, size_t n, Windows w) { backward(dy, won, dx, n, w); }
FOR_EACH_TYPE(KERNELS)
