// Counts applied updates: step <- step + 1 where the flag is not 0, and no further than the largest number there is.
//
// One number: the launch is all the work.
#include "common/overlap.cuh"

extern "C" __global__ void advance_forward_i32(int* step, const int* finite) {
    launch_wait(), launch_next();
    if (finite[0] != 0 && step[0] != 0x7fffffff) step[0] += 1;
}
