// The order of numbers for what looks for the largest: the larger first, among equals the one of the lower index.
//
// Numbers are compared as integers in the same order, by which 0 is -0 and NaN is as small as minus infinity.
#pragma once
#include "common/reduce.cuh"

#define RANK_OF_ZERO 0x7fffffffu
#define LAST (RANK_OF_ZERO + 0x7f800000u)

// The larger a number, the lower its rank.
__device__ __forceinline__ unsigned rank_of(float x) {
    const unsigned word = __float_as_uint(x), size = word & 0x7fffffffu;
    if (size > 0x7f800000u) return LAST;
    return word >> 31 ? RANK_OF_ZERO + size : RANK_OF_ZERO - size;
}

// A number of a row: its rank above its index. The least comes first.
typedef unsigned long long Entry;
#define NONE (~0ull)

__device__ __forceinline__ Entry entry_of(float x, unsigned index) { return (Entry)rank_of(x) << 32 | index; }

// The least of a block, for all of its threads.
__device__ __forceinline__ Entry block_least(Entry e) {
    return block_joined(e, [](Entry a, Entry b) { return b < a ? b : a; });
}
