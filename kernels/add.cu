// Sum of two tensors: y = a + b. y may be either.
//
// Reads two elements and writes one, 1 FLOP: bound by memory.
#include "common/map.cuh"

#define KERNELS(suffix, T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(BLOCK) add_forward_##suffix(const T* a, const T* b, T* y, size_t n) { \
        map_both(a, b, y, n, [](float a, float b) { return a + b; });                                                 \
    }
FOR_EACH_TYPE(KERNELS)
