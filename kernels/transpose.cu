// Reorders dimensions: y is x with dimension i the one of x that was asked for. The host drops extents of 1 and joins what stays side by side.
//
// Elements are moved as the words they are; each is read once and written once, bound by memory as long as both go by whole cache lines:
//
//   rows    the last dimension stays the last: a thread an element, which runs along it in x and in y alike.
//   tiles   it does not: `a`, the last of x, and `b`, the last of y, are turned in shared memory, 1024 elements a block. Reading, neighbours run along a, where
//           x lies side by side; writing, along b, where y does. The host makes the tile as slim as the smaller of the two asks for: the three channels of
//           a picture are 4 x 256, not 32 x 32 with 29 empty columns.
#include "common/types.cuh"

#define RANK 6
#define ELEMENTS 1024

// As the host lays it down. The other dimensions of y, the last first: extent, elements from one to the next in x, and in y. Of a and b the extents, the tile's, and how many tiles;
// elements from one index of b to the next in x, and of a in y.
struct Layout {
    unsigned extent[RANK], in_x[RANK], in_y[RANK];
    unsigned rank, a, b, tile_a, tile_b, tiles_a, tiles_b, b_in_x, a_in_y;
};

namespace of_transpose {
struct Place {
    size_t in_x, in_y;
};

// Where the index with this number among the other dimensions lies.
__device__ __forceinline__ Place place(const Layout& layout, size_t number) {
    Place at = {0, 0};
    for (unsigned d = 0; d < layout.rank; d++) {
        const size_t index = number % layout.extent[d];
        at.in_x += index * layout.in_x[d], at.in_y += index * layout.in_y[d];
        number /= layout.extent[d];
    }
    return at;
}

template <class Word> __device__ __forceinline__ void tiles(const Word* x, Word* y, const Layout& layout) {
    // Rows are padded so that neither direction meets in one bank.
    SHARED(tile, Word[2 * ELEMENTS]);
    const unsigned pitch = layout.tile_a + max(1u, 32 / layout.tile_b);
    const unsigned a = blockIdx.x % layout.tiles_a * layout.tile_a, b = blockIdx.x / layout.tiles_a % layout.tiles_b * layout.tile_b;
    const Place at = place(layout, blockIdx.x / layout.tiles_a / layout.tiles_b);
    for (unsigned i = threadIdx.x; i < layout.tile_a * layout.tile_b; i += BLOCK) {
        const unsigned p = i % layout.tile_a, q = i / layout.tile_a;
        if (a + p < layout.a && b + q < layout.b) tile[q * pitch + p] = x[at.in_x + (size_t)(b + q) * layout.b_in_x + a + p];
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < layout.tile_a * layout.tile_b; i += BLOCK) {
        const unsigned p = i / layout.tile_b, q = i % layout.tile_b;
        if (a + p < layout.a && b + q < layout.b) y[at.in_y + (size_t)(a + p) * layout.a_in_y + b + q] = tile[q * pitch + p];
    }
}
}  // namespace of_transpose
using namespace of_transpose;

#define KERNELS(suffix, Word)                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(BLOCK) transpose_rows_##suffix(const Word* x, Word* y, const Layout* layout, size_t n) {          \
        const size_t i = element();                                                                                                               \
        if (i < n) y[i] = x[place(*layout, i / layout->a).in_x + i % layout->a];                                                                  \
    }                                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(BLOCK) transpose_tiles_##suffix(const Word* x, Word* y, const Layout* layout) { tiles(x, y, *layout); }
FOR_EACH_WORD(KERNELS)
