// Dropout: y = x keep / (1 - p), keep is 0 with probability p, else 1; dx is the same of dy. The mask is a function of the element's address.
//
// A block takes 1024 elements: each thread asks the generator once, for the four elements of a group, and leaves what is kept of them as four bits in 1 KiB of
// shared memory, so that elements are then read and written neighbour beside neighbour. Some 30 integer operations an element: bound by memory. y may be x.
#include "common/philox.cuh"

namespace of_dropout {
template <class T>
__device__ __forceinline__ void drop(const T* x, const int* rng, T* y, size_t n, unsigned key_low, unsigned key_high, unsigned threshold, float factor) {
    SHARED(kept, unsigned[BLOCK]);
    const size_t first = (size_t)blockIdx.x * BLOCK;
    // Words below the threshold are dropped.
    const Words words = philox(first + threadIdx.x, rng, key_low, key_high);
    unsigned bits = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) bits |= (unsigned)(words.at[i] >= threshold) << i;
    kept[threadIdx.x] = bits;
    __syncthreads();
    for (unsigned at = threadIdx.x; at < 4 * BLOCK; at += BLOCK) {
        const size_t i = first * 4 + at;
        if (i < n) y[i] = Element<T>::of(to_float(x[i]) * (kept[at / 4] >> at % 4 & 1 ? factor : 0));
    }
}
}  // namespace of_dropout
using namespace of_dropout;

#define KERNELS(suffix, T)                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(BLOCK) dropout_forward_##suffix(const T* x, const int* rng, T* y, size_t n, unsigned key_low, \
                                                                                 unsigned key_high, unsigned threshold, float factor) {     \
        drop(x, rng, y, n, key_low, key_high, threshold, factor);                                                                           \
    }
FOR_EACH_TYPE(KERNELS)
