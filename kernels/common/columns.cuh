// A matrix seen as [rows, width], for kernels that have something to know or to sum of every column.
//
// A block takes COLUMNS = 32 columns of a part of the rows, its threads 32 side by side and eight rows at once: a warp reads a row's whole cache line,
// and what belongs to a column is read once for all of a thread's rows. Which blocks there are is device/columns.rs.
#pragma once
#include "common/types.cuh"

#define COLUMNS 32
#define DOWN (BLOCK / COLUMNS)

struct Columns {
    unsigned rows, width;
    // Rows of a part; the last may have fewer.
    unsigned span, parts;
    // 0: each part is a result of its own. 1: parts leave their sums in memory. 2: those are joined.
    unsigned stage;
};

// What a thread goes through: a column's rows from `row` on, each DOWN-th, up to `end`.
struct Strip {
    unsigned part, column, row, end;
    // False beyond the last column: no rows then.
    bool inside;
};

__device__ __forceinline__ Strip strip_of(const Columns& columns) {
    const unsigned blocks = (columns.width + COLUMNS - 1) / COLUMNS;
    Strip s;
    s.part = blockIdx.x / blocks;
    s.column = blockIdx.x % blocks * COLUMNS + threadIdx.x % COLUMNS;
    s.inside = s.column < columns.width;
    s.row = s.part * columns.span + threadIdx.x / COLUMNS;
    s.end = s.inside ? min((s.part + 1) * columns.span, columns.rows) : 0;
    return s;
}
