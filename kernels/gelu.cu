// Gaussian error linear unit, exact: y = x/2 (1 + erf(x / sqrt 2)); dx = dy (Phi(x) + x phi(x)), from the saved x.
//
// Reads and writes an element forward, reads two and writes one backward: bound by memory. y may be x, and dx dy.
#include "common/activation.cuh"
#include "common/map.cuh"

#define KERNELS(suffix, T)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(BLOCK) gelu_forward_##suffix(const T* x, T* y, size_t n) {                          \
        map(x, y, n, [](float v, size_t) { return gelu(v); });                                                                          \
    }                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(BLOCK) gelu_backward_##suffix(const T* dy, const T* saved, T* dx, size_t n) {       \
        map_backward(dy, saved, dx, n, [](float x) { return gelu_derivative(x); });                                                               \
    }
FOR_EACH_TYPE(KERNELS)
