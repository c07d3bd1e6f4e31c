// The index of the largest element of each row; among equals the lowest.
//
// A block takes a part of a row, SHARE elements, element by element beside each other, and the parts' firsts are compared in a second launch: a few rows as long
// as a vocabulary then still occupy a GPU. Rows of one part need no second launch. 4 bytes an element: bound by memory.
#include "common/order.cuh"

// Elements of a part: the host's.
#define SHARE 2048

// A block a part. firsts is null where there is one part a row.
extern "C" __global__ void __launch_bounds__(BLOCK) argmax_parts_f32(const float* x, Entry* firsts, int* y, unsigned width, unsigned parts) {
    const float* row = x + (size_t)(blockIdx.x / parts) * width;
    const unsigned begin = blockIdx.x % parts * SHARE, end = min(begin + SHARE, width);
    Entry first = NONE;
    for (unsigned i = begin + threadIdx.x; i < end; i += BLOCK) first = min(first, entry_of(row[i], i));
    first = block_least(first);
    if (threadIdx.x != 0) return;
    if (firsts) firsts[blockIdx.x] = first;
    else y[blockIdx.x] = (int)(unsigned)first;
}

// A block a row.
extern "C" __global__ void __launch_bounds__(BLOCK) argmax_forward_f32(const Entry* firsts, int* y, unsigned parts) {
    Entry first = NONE;
    for (unsigned i = threadIdx.x; i < parts; i += BLOCK) first = min(first, firsts[(size_t)blockIdx.x * parts + i]);
    first = block_least(first);
    if (threadIdx.x == 0) y[blockIdx.x] = (int)(unsigned)first;
}
