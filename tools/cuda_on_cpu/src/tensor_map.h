// What cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col write here in place of NVIDIA's own 128 bytes.
#pragma once
#include <cstdint>

namespace sim {
struct alignas(64) TensorMap {
    static constexpr uint32_t MARK = 0x544d4150;
    uint32_t mark;
    uint16_t rank, element;  // bytes of one
    uint32_t swizzle;        // 0 none, else of 16 << swizzle bytes
    char* base;
    uint64_t dims[5], strides[4];
    // What a copy takes along each dimension; of an im2col map channels of a pixel, pixels, and 1.
    uint16_t box[5];
    // An im2col map's alone. Along W, H, D: how far its bounding box goes beyond the first and the last element (inwards, with the other sign), and how many
    // elements it is from a pixel to the next.
    bool is_im2col;
    uint8_t steps[3];
    int16_t lower[3], upper[3];
    unsigned box_bytes() const {
        unsigned bytes = element;
        for (unsigned d = 0; d < rank; d++) bytes *= box[d];
        return bytes;
    }
};
static_assert(sizeof(TensorMap) == 128);
}  // namespace sim
