// Dropout: y = x keep / (1 - p), keep is 0 with probability p, else 1; dx is the same of dy. The mask is a function of the element's address.
//
// A thread asks the generator once, for the four elements that it has. Some 30 integer operations an element: bound by memory. y may be x.
#include "common/map.cuh"
#include "common/philox.cuh"

namespace of_dropout {
template <class T>
__device__ __forceinline__ void drop(const T* x, const int* rng, T* y, size_t n, unsigned key_low, unsigned key_high, unsigned threshold, float factor) {
    // Words below the threshold are dropped.
    const Words words = philox(element(), rng, key_low, key_high);
    unsigned kept = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) kept |= (unsigned)(words.at[i] >= threshold) << i;
    map(x, y, n, [=](float v, size_t i) { return v * (kept >> i % 4 & 1 ? factor : 0); });
}
}  // namespace of_dropout
using namespace of_dropout;

#define KERNELS(suffix, T)                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(BLOCK) dropout_forward_##suffix(const T* x, const int* rng, T* y, size_t n, unsigned key_low, \
                                                                                 unsigned key_high, unsigned threshold, float factor) {     \
        drop(x, rng, y, n, key_low, key_high, threshold, factor);                                                                           \
    }
FOR_EACH_TYPE(KERNELS)
