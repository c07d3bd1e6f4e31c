// The k largest of each row, falling, with their indices; among equals the lower index first. NaN comes last, as minus infinity.
//
// A block takes a part of a row, of which each thread holds EACH in registers, and finds in k rounds one after another: in each every thread offers the first of
// its own that comes behind the last one found. The parts' k are put through the same in a second launch, a block a row. x is read once, 4 bytes an element:
// bound by memory for few k, else by the rounds, a reduction each.
#include "common/order.cuh"
#include "common/overlap.cuh"

// Elements of a thread: the host's.
#define EACH 8

namespace of_top_k {
__device__ __forceinline__ void put(const float* x, float* values, int* indices, unsigned at, Entry first, unsigned width, unsigned row) {
    const unsigned index = (unsigned)first;
    values[at] = first >> 32 < LAST ? x[(size_t)row * width + index] : -INFINITY;
    indices[at] = index;
}
}  // namespace of_top_k
using namespace of_top_k;

// A block a part. found is null where there is one part a row.
extern "C" __global__ void __launch_bounds__(BLOCK)
    top_k_parts_f32(const float* x, Entry* found, float* values, int* indices, unsigned width, unsigned parts, unsigned k) {
    launch_wait(), launch_next();
    const unsigned row = blockIdx.x / parts, begin = blockIdx.x % parts * (BLOCK * EACH) + threadIdx.x;
    Entry own[EACH];
#pragma unroll
    for (unsigned i = 0; i < EACH; i++) own[i] = begin + i * BLOCK < width ? entry_of(x[(size_t)row * width + begin + i * BLOCK], begin + i * BLOCK) : NONE;
    // Behind every entry that there is stands NONE, before it 0: no number's rank is 0.
    Entry last = 0;
    for (unsigned round = 0; round < k; round++) {
        Entry first = NONE;
#pragma unroll
        for (unsigned i = 0; i < EACH; i++)
            if (own[i] > last && own[i] < first) first = own[i];
        last = block_least(first);
        if (threadIdx.x != 0) continue;
        if (found) found[(size_t)blockIdx.x * k + round] = last;
        else put(x, values, indices, row * k + round, last, width, row);
    }
}

// A block a row.
extern "C" __global__ void __launch_bounds__(BLOCK)
    top_k_forward_f32(const float* x, const Entry* found, float* values, int* indices, unsigned width, unsigned parts, unsigned k) {
    launch_wait(), launch_next();
    const unsigned row = blockIdx.x, count = parts * k;
    Entry last = 0;
    for (unsigned round = 0; round < k; round++) {
        Entry first = NONE;
        for (unsigned i = threadIdx.x; i < count; i += BLOCK) {
            const Entry e = found[(size_t)row * count + i];
            if (e > last && e < first) first = e;
        }
        last = block_least(first);
        if (threadIdx.x == 0) put(x, values, indices, row * k + round, last, width, row);
    }
}
