// The norm of all gradients together, sqrt(sum of g^2), and whether all of them are finite.
//
// A sweep over all gradients in one launch: a block takes TASK elements and leaves what it found; a last launch of one block joins that. Squares of f32 overflow and
// vanish: numbers from 2^20 on are summed scaled down, the others scaled up, which is right from 2^-89 to the largest f32 for any count. What is not finite is
// told by its bits and kept out of the sums. 4 bytes an element: bound by memory.
#include "common/reduce.cuh"
#include "common/sweep.cuh"

#define LARGE 0x1p20f
#define SCALE_DOWN 0x1p-80f
#define SCALE_UP 0x1p26f
#define INFINITE 0x7f800000u

namespace of_grad_norm {
struct Found {
    // Of the numbers from LARGE on, times SCALE_DOWN; of the others, times SCALE_UP.
    float large, small;
    // Bits of magnitudes are in the order of the magnitudes, and NaN is above infinity.
    unsigned most;
};

__device__ __forceinline__ unsigned block_most(unsigned x) {
    return block_joined(x, [](unsigned a, unsigned b) { return max(a, b); });
}

__device__ __forceinline__ Found joined(const Found& part) { return {block_sum(part.large), block_sum(part.small), block_most(part.most)}; }
}  // namespace of_grad_norm
using namespace of_grad_norm;

extern "C" __global__ void __launch_bounds__(BLOCK) grad_norm_blocks_f32(const uint2* tasks, const uint4* sets, float* const* pointers, Found* found) {
    const Task task = task_of({tasks, sets, pointers}, 1);
    Found part = {0, 0, 0};
    each_of<1, 0>(task, [&](const float (&x)[1]) {
        const unsigned magnitude = __float_as_uint(x[0]) & 0x7fffffffu;
        part.most = max(part.most, magnitude);
        const float number = magnitude >= INFINITE ? 0 : __uint_as_float(magnitude);
        if (number >= LARGE) {
            part.large += (number * SCALE_DOWN) * (number * SCALE_DOWN);
        } else {
            part.small += (number * SCALE_UP) * (number * SCALE_UP);
        }
    });
    const Found whole = joined(part);
    if (threadIdx.x == 0) found[blockIdx.x] = whole;
}

extern "C" __global__ void __launch_bounds__(BLOCK) grad_norm_forward_f32(const Found* found, float* norm, int* finite, unsigned blocks) {
    Found part = {0, 0, 0};
    for (unsigned block = threadIdx.x; block < blocks; block += BLOCK) {
        part.large += found[block].large;
        part.small += found[block].small;
        part.most = max(part.most, found[block].most);
    }
    const Found whole = joined(part);
    if (threadIdx.x != 0) return;
    // Both scaled down; of squares of numbers from LARGE on the root is at least 2^-60.
    const float large = sqrtf(whole.large), small = sqrtf(whole.small) / SCALE_UP;
    float root = small;
    if (large > 0) {
        const float ratio = small * SCALE_DOWN / large;
        // The largest f32 and above come out infinite.
        root = large * sqrtf(1 + ratio * ratio) / SCALE_DOWN;
    }
    norm[0] = whole.most >= INFINITE ? __uint_as_float(whole.most) : root;
    finite[0] = whole.most < INFINITE;
}
