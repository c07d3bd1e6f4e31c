// Tensors laid end to end along one dimension: with the dimensions before it as rows, each row of y is a row of every part.
//
// One launch a part, so that any number of them goes; no place is written twice. Elements are moved as the words they are. A thread an element of the
// part: bound by memory.
#include "common/types.cuh"

// width: elements of the part's rows; whole: of y's; before: those of them before the part.
#define KERNELS(suffix, Word)                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(BLOCK) concat_forward_##suffix(const Word* x, Word* y, size_t n, unsigned width, unsigned whole,   \
                                                                                unsigned before) {                                                 \
        const size_t i = element();                                                                                                                \
        if (i < n) y[i / width * whole + before + i % width] = x[i];                                                                               \
    }
FOR_EACH_WORD(KERNELS)
