// Moments: three numbers for a set of others: how many there are, their mean, the sum of squared distances from it. Nothing cancels, however far the mean is
// from 0. Whoever writes a matrix can leave those of its columns, of PART_ROWS rows each, [parts, 3, width]: who wants mean and variance joins them then, and reads
// a 64th of it, three times over.
#pragma once
#include "common/types.cuh"

// The host's ROWS, of ops/support/moments.rs.
#define PART_ROWS 64u

// Joined as in Chan, Golub and LeVeque 1979.
struct Moments {
    __device__ __forceinline__ void operator()(float (&sum)[3], const float (&other)[3]) const {
        const float n = sum[0] + other[0], part = other[0] / fmaxf(n, 1), step = other[1] - sum[1];
        sum[2] += other[2] + step * step * sum[0] * part;
        sum[1] += step * part;
        sum[0] = n;
    }
};

// Those of number(0) and on, `count` of them: each is asked for twice, since the mean comes first.
template <class Number> __device__ __forceinline__ void take_moments(float (&moments)[3], unsigned count, Number number) {
    float sum = 0, squares = 0;
    for (unsigned i = 0; i < count; i++) sum += number(i);
    const float mean = sum / max(count, 1u);
    for (unsigned i = 0; i < count; i++) {
        const float away = number(i) - mean;
        squares += away * away;
    }
    moments[0] = count, moments[1] = mean, moments[2] = squares;
}

// Writes those of a column for the part that begins at `row`.
__device__ __forceinline__ void leave_moments(float* to, const float (&moments)[3], unsigned row, unsigned column, unsigned width) {
#pragma unroll
    for (unsigned word = 0; word < 3; word++) to[((size_t)(row / PART_ROWS) * 3 + word) * width + column] = moments[word];
}
