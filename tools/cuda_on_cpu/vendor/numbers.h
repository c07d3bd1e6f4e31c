// Numbers as libraries read and write them: f32, f16 and bf16, by the type's number in either interface.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace numbers {
enum class Kind { F32, F16, BF16 };
inline size_t size_of(Kind kind) { return kind == Kind::F32 ? 4 : 2; }

inline float read(const void* from, size_t i, Kind kind) {
    const auto half = static_cast<const uint16_t*>(from);
    if (kind == Kind::F32) return static_cast<const float*>(from)[i];
    if (kind == Kind::F16) return float(static_cast<const _Float16*>(from)[i]);
    const uint32_t bits = uint32_t(half[i]) << 16;
    float x;
    return memcpy(&x, &bits, 4), x;
}

// To the nearest, of two that are as near the even one.
inline float rounded(float x, unsigned dropped) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7f800000) == 0x7f800000) return x;
    bits += ((bits >> dropped) & 1) + (1u << (dropped - 1)) - 1;
    bits &= ~0u << dropped;
    return memcpy(&x, &bits, 4), x;
}
// A factor as tensor cores take it from f32.
inline float to_tf32(float x) { return rounded(x, 13); }

inline void write(void* to, size_t i, Kind kind, float x) {
    if (kind == Kind::F32) static_cast<float*>(to)[i] = x;
    else if (kind == Kind::F16) static_cast<_Float16*>(to)[i] = _Float16(x);
    else {
        uint32_t bits;
        const float near = rounded(x, 16);
        memcpy(&bits, &near, 4);
        static_cast<uint16_t*>(to)[i] = uint16_t(bits >> 16);
    }
}
}  // namespace numbers
