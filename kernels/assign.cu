// Puts a value into state: always, or where a flag on the device is not 0. Elements are moved as the words they are.
//
// A thread an element: bound by memory; with the flag at 0 nothing but it is read.
#include "common/types.cuh"

// flag may be null: always.
#define KERNELS(suffix, Word)                                                                                                               \
    extern "C" __global__ void __launch_bounds__(BLOCK) assign_forward_##suffix(Word* state, const Word* value, const int* flag, size_t n) { \
        const size_t i = element();                                                                                                         \
        if (i < n && (!flag || flag[0] != 0)) state[i] = value[i];                                                                          \
    }
FOR_EACH_WORD(KERNELS)
