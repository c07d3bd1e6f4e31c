// Rows of a table by id, with position and token-type rows added: y[.., l] = table[ids[.., l]] + positions[offset + l] + types[0]. An id or a position that
// its table does not have adds nothing.
//
//   forward             a thread an element of y, neighbours along a row of the table: 8 bytes an element; positions and types come from the cache.
//   backward, table     gather.cu's backward pass.
//   backward, position  dpositions[offset + l] = sum over the batch of dy[.., l]: a thread an element of the table, 4 bytes of dy, which is read once.
//   backward, type      dtypes[0] = sum of all rows of dy, the others are zero: sums of columns.
//
// All bound by memory. The tables are parameters, which stay f32.
#include "common/column_sums.cuh"
#include "common/overlap.cuh"

// width: elements of a row; columns: ids of a sequence. positions and types are null where nothing of theirs is added.
extern "C" __global__ void __launch_bounds__(BLOCK)
    embedding_forward_f32(const int* ids, const float* table, const float* positions, const int* offset, const float* types, float* y, size_t n, unsigned width,
                          unsigned columns, unsigned vocabulary, unsigned position_rows) {
    launch_wait(), launch_next();
    const size_t i = element();
    if (i >= n) return;
    const size_t at = i / width;
    const unsigned d = i % width;
    // As an unsigned number a negative one is a large one.
    const unsigned id = ids[at];
    float sum = id < vocabulary ? table[(size_t)id * width + d] : 0;
    if (positions) {
        const unsigned position = offset[0] + (unsigned)(at % columns);
        if (position < position_rows) sum += positions[(size_t)position * width + d];
    }
    if (types) sum += types[d];
    y[i] = sum;
}

// count: rows of dy; columns: those of a sequence.
extern "C" __global__ void __launch_bounds__(BLOCK)
    embedding_backward_position_f32(const float* dy, const int* offset, float* dtable, size_t n, unsigned width, unsigned count, unsigned columns) {
    const size_t i = element();
    if (i >= n) return;
    const unsigned column = (unsigned)(i / width) - offset[0];
    float sum = 0;
    if (column < columns)
        for (size_t row = column; row < count; row += columns) sum += dy[row * width + i % width];
    dtable[i] = sum;
}

// rows: of the table.
extern "C" __global__ void __launch_bounds__(BLOCK)
    embedding_backward_type_f32(float* partials, const float* dy, float* dtable, Columns columns, unsigned rows) {
    sum_columns<1>(columns, partials, [=](size_t row, unsigned column, float (&sum)[1]) { sum[0] = dy[row * columns.width + column]; },
                   [=](size_t, unsigned column, const float (&sum)[1]) {
                       dtable[column] = sum[0];
                       for (unsigned row = 1; row < rows; row++) dtable[(size_t)row * columns.width + column] = 0;
                   });
}
