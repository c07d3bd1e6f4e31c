// What came with sm_80, as kernels/common/ptx.cuh calls it: copies that go on by themselves, and products of fragments that a warp's lanes hold together.
#pragma once

namespace sim {
// --- Copies (src/copies.cpp)
// cp.async: begins to copy `size` of `bytes` (4, 8 or 16) to shared memory, and zeros behind those.
void copy_async(void* to, const void* from, unsigned bytes, unsigned size);
// cp.async.commit_group: what the thread began since its last group is one.
void commit_copies();
// cp.async.wait_group: until at most so many of the thread's groups are under way.
void wait_copies(unsigned left);

// --- Fragments (src/fragments.cpp). All lanes of a warp come to these together.
enum class Half { BF16, F16 };
// ldmatrix: `count` (1, 2 or 4) 8 x 8 matrices of 16 bits, a register of each lane for each. Lane 8 i + r says where row r of matrix i lies.
void load_matrices(unsigned* registers, unsigned count, bool transposed, const void* row);
// mma.m16n8k16: d += a b, sums in f32.
void multiply(Half, float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
}  // namespace sim
