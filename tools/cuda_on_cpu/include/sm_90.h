// What kernels for sm_90a call in place of its instructions: each does what kernels/common/hopper.cuh says of the wrapper that calls it.
#pragma once

namespace sim {
using Barrier = unsigned long long;
void mbarrier_init(Barrier*, unsigned arrivals);
void mbarrier_invalidate(Barrier*);
void mbarrier_init_fence();
// In the block of this rank in the cluster; OWN for the thread's own.
constexpr unsigned OWN = ~0u;
void mbarrier_arrive(Barrier*, unsigned rank);
void mbarrier_expect(Barrier*, unsigned bytes);
void mbarrier_wait(Barrier*, unsigned parity);
void async_proxy_fence();

// `offsets` of an im2col map, else null; `blocks` of the cluster as bits, 0 for the thread's own.
void tma_load(void* to, const void* map, Barrier*, unsigned rank, const int* at, const unsigned* offsets, unsigned blocks);
void tma_store(const void* map, const void* from, unsigned rank, const int* at);
void tma_commit();
void tma_wait(unsigned pending, bool only_read);

// What one wgmma is told. `a` is a descriptor where `registers` is null.
struct Product {
    unsigned n;
    bool is_bf16, a_across, b_across, accumulates;
    unsigned long long a, b;
    const unsigned* registers;
};
void wgmma(float* sums, const Product&);
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(unsigned pending);
unsigned shared_address(const void*);

bool elect_one();
void set_registers(unsigned count, bool more);
void named_barrier(unsigned id, unsigned threads, bool waits);
unsigned cluster_rank();
void cluster_arrive();
void cluster_wait();
void* cluster_map(const void*, unsigned rank);

// griddepcontrol.wait
void launch_wait();
}  // namespace sim
