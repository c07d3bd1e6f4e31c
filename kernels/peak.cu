// What a device can do at most: every number goes through `rounds` of v <- a v + b, and with none of them is copied.
//
// A thread has four numbers, 16 bytes that are read and written at once, and four chains of multiply-adds that do not wait for each other: with eight warps a
// scheduler these hide their latency of four cycles several times over. 2 FLOPs a number and round, 8 bytes a number.
#include "common/types.cuh"

extern "C" __global__ void __launch_bounds__(BLOCK) peak_forward_f32(const float4* x, float4* y, size_t fours, unsigned rounds, float a, float b) {
    const size_t i = element();
    if (i >= fours) return;
    float4 v = x[i];
#pragma unroll 16
    for (unsigned round = 0; round < rounds; round++) {
        v.x = v.x * a + b;
        v.y = v.y * a + b;
        v.z = v.z * a + b;
        v.w = v.w * a + b;
    }
    y[i] = v;
}
