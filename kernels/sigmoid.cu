// Logistic function: y = 1 / (1 + e^-x); dx = dy y (1 - y), from the saved y.
//
// Reads and writes an element forward, reads two and writes one backward: bound by memory. y may be x, and dx dy.
#include "common/activation.cuh"
#include "common/map.cuh"

#define KERNELS(suffix, T)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(BLOCK) sigmoid_forward_##suffix(const T* x, T* y, size_t n) {                          \
        map(x, y, n, [](float v, size_t) { return sigmoid(v); });                                                                          \
    }                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(BLOCK) sigmoid_backward_##suffix(const T* dy, const T* saved, T* dx, size_t n) {       \
        map_backward(dy, saved, dx, n, [](float y) { return y * (1 - y); });                                                               \
    }
FOR_EACH_TYPE(KERNELS)
