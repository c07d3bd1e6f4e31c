// Rows by index: y[n] = x[indices[n]], zeros for an index that x does not have; rows of state exchanged in place; and the gradient of the first, which is that of
// embedding's table too: dx[v] = sum of dy[n] over indices[n] = v.
//
//   forward   a thread an element of y, neighbours along a row: 8 bytes an element of four.
//   reorder   state[b] = old state[indices[b]]: a block takes some columns of all rows into shared memory and puts them back in their new order, in one launch.
//
// backward: there are some thousand indices and many more rows, most of them without an index; and one index may be half of all, as what fills short sentences
// up is. Without atomics, in a few launches:
//
//   fill      zeros in dx: the floor, 4 bytes an element of dx.
//   sort      the indices are cut into runs of RUN, which a block holds in shared memory. Each index counts those of its run before it, which is its place.
//             Leaves `sorted`, the indices in order, and `order`, where in dy each came from.
//   merge     WAYS neighbouring runs become one: an index finds by bisection how many of each other run stand before it. Again until one run is left, so that N
//             indices take log(N / RUN) / log(WAYS) launches, none where they are one run from the start.
//   runs      a block takes SHARE of the sorted indices and 256 columns, and adds up dy along each run of equal ones. A run that begins here goes to dx, the
//             rest of one that began before to `heads`, a row for each share.
//   join      where a run goes on behind its share, the heads of the shares behind it are added, in their order.
//
// dy is read once, by neighbours along its rows. Every order depends on the indices alone, so that two runs are equal bit by bit. All bound by memory.
#include "common/overlap.cuh"

// The host's: words that a block holds while rows are exchanged; indices that are sorted by counting; runs that are merged at once; sorted indices of a block.
#define HELD 2048
#define RUN 1024u
#define WAYS 16u
#define SHARE 32u

namespace of_gather {
// length, null where all of a row moves, counts units of so many elements; span: columns of a block.
template <class Word>
__device__ __forceinline__ void reorder(Word* state, const int* indices, const int* length, unsigned rows, unsigned width, unsigned unit, unsigned span) {
    SHARED(held, Word[HELD]);
    launch_wait(), launch_next();
    // Within the row before it is multiplied.
    const unsigned moved = length ? min((unsigned)max(length[0], 0), width / unit) * unit : width;
    const unsigned start = blockIdx.x * span, columns = min(moved - min(start, moved), span);
    for (unsigned i = threadIdx.x; i < rows * columns; i += BLOCK) {
        const unsigned row = i / columns, index = indices[row];
        // A row whose index is none stays.
        held[i] = state[(size_t)(index < rows ? index : row) * width + start + i % columns];
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < rows * columns; i += BLOCK) state[(size_t)(i / columns) * width + start + i % columns] = held[i];
}

// How many of the sorted indices from `first` to `end` come before `own`; of equal ones all do where they are `earlier`.
__device__ __forceinline__ unsigned before(const int* sorted, int own, unsigned first, unsigned end, bool earlier) {
    unsigned low = first, high = end;
    while (low < high) {
        const unsigned middle = low + (high - low) / 2;
        if (sorted[middle] < own || (earlier && sorted[middle] == own)) low = middle + 1;
        else high = middle;
    }
    return low - first;
}

// True where the first of a share's indices is the last of the share before.
__device__ __forceinline__ bool goes_on(const int* sorted, unsigned share) { return share > 0 && sorted[share * SHARE - 1] == sorted[share * SHARE]; }

// A block's share, and the column of its thread.
struct Place {
    unsigned share, column;
};

__device__ __forceinline__ Place place_of(unsigned width) {
    const unsigned across = (width + BLOCK - 1) / BLOCK;
    return {blockIdx.x / across, blockIdx.x % across * BLOCK + threadIdx.x};
}

// The sums of a share's runs. rows: of dx; count: indices.
template <class T>
__device__ __forceinline__ void add_runs(const T* dy, const int* sorted, const unsigned* order, float* heads, T* dx, unsigned rows, unsigned width, unsigned count) {
    SHARED(index, int[SHARE]);
    SHARED(row, unsigned[SHARE]);
    const Place place = place_of(width);
    const unsigned start = place.share * SHARE, own = min(SHARE, count - start);
    if (threadIdx.x < own) {
        index[threadIdx.x] = sorted[start + threadIdx.x];
        row[threadIdx.x] = order[start + threadIdx.x];
    }
    __syncthreads();
    if (place.column >= width) return;
    bool began_before = goes_on(sorted, place.share);
    float sum = 0;
    for (unsigned i = 0; i < own; i++) {
        sum += to_float(dy[(size_t)row[i] * width + place.column]);
        if (i + 1 < own && index[i + 1] == index[i]) continue;
        if (began_before) heads[(size_t)place.share * width + place.column] = sum;
        else if ((unsigned)index[i] < rows) dx[(size_t)index[i] * width + place.column] = Element<T>::of(sum);
        began_before = false;
        sum = 0;
    }
}

// What a share's last run has in the shares behind it.
template <class T> __device__ __forceinline__ void join_runs(const int* sorted, const float* heads, T* dx, unsigned rows, unsigned width, unsigned shares) {
    const Place place = place_of(width);
    // The last share has none behind it.
    if (place.share + 1 >= shares || place.column >= width) return;
    const int last = sorted[(place.share + 1) * SHARE - 1];
    // One that fills its share and began before is joined from where it began.
    const bool began_here = !(goes_on(sorted, place.share) && sorted[place.share * SHARE] == last);
    if (!began_here || !goes_on(sorted, place.share + 1) || (unsigned)last >= rows) return;
    float sum = 0;
    for (unsigned behind = place.share + 1; behind < shares && sorted[behind * SHARE] == last; behind++) sum += heads[(size_t)behind * width + place.column];
    T& to = dx[(size_t)last * width + place.column];
    to = Element<T>::of(to_float(to) + sum);
}
}  // namespace of_gather
using namespace of_gather;

// width: elements of a row; rows: of x. An index as an unsigned number is a large one where it is negative; the word of 0.0 is 0.
#define MOVES(suffix, Word)                                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                                                     \
        gather_forward_##suffix(const Word* x, const int* indices, Word* y, size_t n, unsigned width, unsigned rows) {                                      \
        const size_t i = element();                                                                                                                         \
        if (i >= n) return;                                                                                                                                 \
        const unsigned row = indices[i / width];                                                                                                            \
        y[i] = row < rows ? x[(size_t)row * width + i % width] : 0;                                                                                         \
    }                                                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(BLOCK) gather_reorder_##suffix(Word* state, const int* indices, const int* length, unsigned rows,         \
                                                                                unsigned width, unsigned unit, unsigned span) {                            \
        reorder(state, indices, length, rows, width, unit, span);                                                                                           \
    }                                                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(BLOCK) gather_backward_fill_##suffix(Word* dx, size_t n) {                                                 \
        const size_t i = element();                                                                                                                         \
        if (i < n) dx[i] = 0;                                                                                                                               \
    }
FOR_EACH_WORD(MOVES)

// RUN is a multiple of BLOCK: a block's indices are of one run.
extern "C" __global__ void __launch_bounds__(BLOCK) gather_backward_sort_i32(const int* indices, int* sorted, unsigned* order, unsigned count) {
    SHARED(run, int[RUN]);
    const unsigned n = blockIdx.x * BLOCK + threadIdx.x, first = n / RUN * RUN, end = min(first + RUN, count);
    for (unsigned i = first + threadIdx.x; i < end; i += BLOCK) run[i - first] = indices[i];
    __syncthreads();
    if (n >= count) return;
    const int own = run[n - first];
    unsigned place = first;
    for (unsigned i = first; i < end; i++) place += run[i - first] < own || (run[i - first] == own && i < n);
    sorted[place] = own;
    order[place] = n;
}

// run: sorted indices of what is merged; the last may have fewer.
extern "C" __global__ void __launch_bounds__(BLOCK)
    gather_backward_merge_i32(const int* sorted, const unsigned* order, int* merged, unsigned* merged_order, unsigned run, unsigned count) {
    const unsigned n = blockIdx.x * BLOCK + threadIdx.x;
    if (n >= count) return;
    const int own = sorted[n];
    const unsigned own_run = n / run, first = own_run / WAYS * WAYS, end = min(first + WAYS, (count + run - 1) / run);
    unsigned place = first * run + n - own_run * run;
    for (unsigned other = first; other < end; other++)
        if (other != own_run) place += before(sorted, own, other * run, min((other + 1) * run, count), other < own_run);
    merged[place] = own;
    merged_order[place] = order[n];
}

// A block for each share and each 256 columns.
#define SUMS(suffix, T)                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                                                     \
        gather_backward_runs_##suffix(const T* dy, const int* sorted, const unsigned* order, float* heads, T* dx, unsigned rows, unsigned width,           \
                                      unsigned count) {                                                                                                     \
        add_runs(dy, sorted, order, heads, dx, rows, width, count);                                                                                         \
    }                                                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                                                     \
        gather_backward_join_##suffix(const int* sorted, const float* heads, T* dx, unsigned rows, unsigned width, unsigned shares) {                       \
        join_runs(sorted, heads, dx, rows, width, shares);                                                                                                  \
    }
FOR_EACH_TYPE(SUMS)
