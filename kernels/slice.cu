// A run of indices along one dimension: with the dimensions before it as rows, each `whole` elements long, y's rows are elements
// `before .. before + kept` of x's. Backward: dx's rows are dy's within zeros.
//
// Elements are moved as the words they are; the word of 0.0 is 0. A thread an element of what is written; backward reads nothing for the zeros. Bound by
// memory.
#include "common/types.cuh"

#define KERNELS(suffix, Word)                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(BLOCK) slice_forward_##suffix(const Word* x, Word* y, size_t n, unsigned kept, unsigned before,    \
                                                                               unsigned whole) {                                                   \
        const size_t i = element();                                                                                                                \
        if (i < n) y[i] = x[i / kept * whole + before + i % kept];                                                                                 \
    }                                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(BLOCK) slice_backward_##suffix(const Word* dy, Word* dx, size_t n, unsigned kept, unsigned before, \
                                                                                unsigned whole) {                                                  \
        const size_t i = element();                                                                                                                \
        if (i >= n) return;                                                                                                                        \
        const size_t at = i % whole;                                                                                                               \
        dx[i] = at >= before && at - before < kept ? dy[i / whole * kept + at - before] : (Word)0;                                                \
    }
FOR_EACH_WORD(KERNELS)
