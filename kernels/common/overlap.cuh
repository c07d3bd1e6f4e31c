// Launches that overlap, from sm_90 on: a kernel that waits may be launched before the one before it has ended (`Dispatch::overlaps` on the host), so that its blocks
// are there, and their barriers set up, when that ends. On older devices, and where the host did not ask for it, neither function does anything.
//
// The rule, which the stand-in looks after: in each block threads wait before they touch memory of the device, read or write, or ask for copies of it; or they are
// behind a thread that has, by a barrier. Then nothing is read that is not there yet, nothing written that is still read, and a launch that has ended says the same of
// all before it, which the next one's wait relies on: it waits for the one before it alone. Shared memory, parameters and tensor maps need no wait.
#pragma once
#include "common/types.cuh"

// Until the launch before this one has ended and what it wrote is there.
__device__ __forceinline__ void launch_wait() {
#ifdef CUDA_ON_CPU
    sim::launch_wait();
#elif __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Leave for the launch behind this one to begin, once each block has given it or ended: then all blocks of this one have their places. It promises nothing, as
// whoever is launched then waits for the end of this one. Given behind launch_wait(), there are at most two launches on the device at a time.
__device__ __forceinline__ void launch_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
