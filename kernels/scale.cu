// Product with a fixed number: y = factor x. The gradient is the same with dy for x. y may be x.
//
// Reads and writes an element, 1 FLOP: bound by memory.
#include "common/map.cuh"

#define KERNELS(suffix, T)                                                                                                \
    extern "C" __global__ void __launch_bounds__(BLOCK) scale_forward_##suffix(const T* x, T* y, size_t n, float factor) { \
        map(x, y, n, [=](float v, size_t) { return factor * v; });                                                        \
    }
FOR_EACH_TYPE(KERNELS)
