// Factors of convolutions for common/gemm_wgmma.cuh, by tensor maps: patches of pictures, which no memory holds as such, by im2col maps, and filters tap by
// tap.
//
// K, and the columns of a filter's gradient, go from tap to tap, and in each through `depth` channels: those that are there, and zeros up to a multiple of 64,
// which the accelerator fills in. So 64 of them are channels of one tap, and they are one load.
#pragma once
#include "common/gemm_wgmma.cuh"

#ifdef SM_90A
namespace of_im2col {
using of_wgmma::BOX;

__device__ __forceinline__ unsigned depth_of(unsigned channels) { return (channels + 63) / 64 * 64; }

// Which patches there are: in each picture so many below and beside each other, a step apart, the first one with its corner at (left, top), which may be outside of
// the picture. An im2col map of it has the same step and the same first corner, and its last one so that there are as many. A patch has so many taps a row.
struct Grid {
    unsigned high, wide, step;
    int left, top;
    unsigned taps, depth;
    struct Corner {
        int x, y, picture;
    };
    __device__ __forceinline__ Corner corner(unsigned patch) const {
        const unsigned row = patch / wide;
        return {(int)(patch % wide * step) + left, (int)(row % high * step) + top, (int)(row / high)};
    }
    // Begins to load 64 channels, from number `index` of a patch on, of as many patches as the map says.
    __device__ __forceinline__ void load(unsigned short* to, const TensorMap& map, Mbarrier& full, const Corner& first, unsigned index) const {
        const unsigned tap = index / depth;
        tma_load_im2col(to, map, full, (int)(index % depth), first.x, first.y, first.picture, (unsigned short)(tap % taps), (unsigned short)(tap / taps));
    }
};

// Rows of A: a patch each, by a map of as many patches as a tile has rows.
struct PatchRows {
    static constexpr bool along_k = true;
    typedef Grid::Corner Start;
    const TensorMap& map;
    Grid grid;
    __device__ __forceinline__ Start start(unsigned, unsigned patch) const { return grid.corner(patch); }
    template <unsigned lines> __device__ __forceinline__ void load(unsigned short* to, Mbarrier& full, const Start& first, unsigned k) const {
        grid.load(to, map, full, first, k);
    }
};

// Columns of B: a number of the patches each, K being the patches, by a map of 64 of them.
struct PatchColumns {
    static constexpr bool along_k = false;
    typedef unsigned Start;
    const TensorMap& map;
    Grid grid;
    __device__ __forceinline__ Start start(unsigned, unsigned column) const { return column; }
    template <unsigned lines> __device__ __forceinline__ void load(unsigned short* to, Mbarrier& full, Start column, unsigned k) const {
        const Grid::Corner first = grid.corner(k);
#pragma unroll
        for (unsigned i = 0; i < lines / 64; i++) grid.load(to + i * BOX, map, full, first, column + 64 * i);
    }
};

// Columns of B: a filter each, by a map of [filters, taps, channels].
struct FilterColumns {
    static constexpr bool along_k = true;
    typedef int Start;
    const TensorMap& map;
    unsigned depth;
    __device__ __forceinline__ Start start(unsigned, unsigned filter) const { return (int)filter; }
    template <unsigned lines> __device__ __forceinline__ void load(unsigned short* to, Mbarrier& full, Start filter, unsigned k) const {
        tma_load(to, map, full, (int)(k % depth), (int)(k / depth), filter);
    }
};

// Columns of B: a channel each, K being taps and filters, by the same map. Taps come back from the last one on, `taps` a row, a stride apart in the filter.
struct ChannelColumns {
    static constexpr bool along_k = false;
    typedef int Start;
    const TensorMap& map;
    unsigned taps, depth, last, right, down;
    __device__ __forceinline__ Start start(unsigned, unsigned channel) const { return (int)channel; }
    template <unsigned lines> __device__ __forceinline__ void load(unsigned short* to, Mbarrier& full, Start channel, unsigned k) const {
        const unsigned at = k / depth, tap = last - at / taps * down - at % taps * right;
#pragma unroll
        for (unsigned i = 0; i < lines / 64; i++) tma_load(to + i * BOX, map, full, channel + 64 * (int)i, (int)tap, (int)(k % depth));
    }
};
}  // namespace of_im2col
#endif
