// Sums of columns, of several numbers at once. One block for some columns would leave a large GPU idle where columns are few, and a long chain of additions
// loses digits. So where there are several parts, their sums go to memory, and a second launch joins those. The order depends on the extents alone.
#pragma once
#include "common/columns.cuh"
#include "common/moments.cuh"

// How sums are joined, unless a kernel has another way.
struct Adding {
    template <int words> __device__ __forceinline__ void operator()(float (&sum)[words], const float (&other)[words]) const {
#pragma unroll
        for (int word = 0; word < words; word++) sum[word] += other[word];
    }
};

// In the first COLUMNS threads: what those that share a column have, joined. All threads come here.
template <int words, class Join> __device__ __forceinline__ void join_down(float (&sum)[words], Join join) {
    SHARED(strips, float[words][BLOCK]);
#pragma unroll
    for (int word = 0; word < words; word++) strips[word][threadIdx.x] = sum[word];
    __syncthreads();
    if (threadIdx.x >= COLUMNS) return;
    for (unsigned i = threadIdx.x + COLUMNS; i < BLOCK; i += COLUMNS) {
        float other[words];
#pragma unroll
        for (int word = 0; word < words; word++) other[word] = strips[word][i];
        join(sum, other);
    }
}

// term(row, column, numbers) gives what is summed; put(part, column, sums) takes where a sum goes.
template <int words, class Term, class Put, class Join = Adding>
__device__ __forceinline__ void sum_columns(const Columns& columns, float* partials, Term term, Put put, Join join = Join()) {
    const Strip s = strip_of(columns);
    float sum[words] = {};
    if (columns.stage == 2) {
        if (s.inside)
            for (unsigned part = threadIdx.x / COLUMNS; part < columns.parts; part += DOWN) {
                float left[words];
                for (int word = 0; word < words; word++) left[word] = partials[((size_t)part * words + word) * columns.width + s.column];
                join(sum, left);
            }
    } else {
        for (unsigned row = s.row; row < s.end; row += DOWN) {
            float numbers[words];
            term((size_t)row, s.column, numbers);
            join(sum, numbers);
        }
    }
    join_down(sum, join);
    if (threadIdx.x >= COLUMNS || !s.inside) return;
    if (columns.stage == 1) {
        for (int word = 0; word < words; word++) partials[((size_t)s.part * words + word) * columns.width + s.column] = sum[word];
    } else {
        put((size_t)s.part, s.column, sum);
    }
}
