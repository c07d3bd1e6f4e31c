// What warps, warpgroups and the blocks of a cluster do together: named barriers, elections, registers handed over, barriers and shared memory of a cluster.
#include "asynchronous.h"
#include <algorithm>

namespace sim {
namespace {
unsigned block_threads() { return launch->block.x * launch->block.y * launch->block.z; }
unsigned cluster_blocks() { return launch->cluster.x * launch->cluster.y * launch->cluster.z; }

// Where the threads of a warpgroup meet, and the registers that each of them has.
struct Group {
    uint64_t turn;
    unsigned arrived;
    void* site;
    unsigned registers;
};
Group groups[FIRST_ANY];

// A barrier at which some threads only arrive.
struct Gathering {
    uint64_t turn;
    unsigned arrived, expected;
    Clock coming, complete;

    void arrive() {
        release(coming);
        if (++arrived == expected) go();
    }
    void go() { arrived = 0, turn++, complete = coming; }
};
Gathering named[16][16], of_cluster;
// The turn of the cluster's barrier that a thread arrived for and has not waited for; 0 for none.
std::vector<uint64_t> arrived_for;

// Registers of a block that no thread has, and a count of how often there came more.
struct Pool {
    unsigned left;
    uint64_t turn;
};
Pool pools[16];
// What a thread is compiled for, so that the blocks fit into the register file.
unsigned registers_at_first() { return std::min(248u, 65536 / (launch->kernel->bound * std::max(launch->kernel->blocks, 1u)) / 8 * 8); }
}  // namespace

unsigned warpgroup(const char* what, void* site) {
    const unsigned threads = block_threads(), within = self->rank % threads;
    if (within / 128 * 128 + 128 > threads) fail(LAUNCH_FAILED, site, "%s in a warpgroup of %u threads", what, threads % 128);
    return self->block * (threads / 128) + within / 128;
}

bool is_last_of_warpgroup(const char* what, void* site) {
    Group& g = groups[warpgroup(what, site)];
    if (g.arrived == 0) g.site = site;
    if (!same_line(g.site, site)) fail(LAUNCH_FAILED, site, "%s where other threads of its warpgroup wait elsewhere", what);
    if (++g.arrived == 128) return true;
    wait_while(&g.turn, g.turn, what, site);
    return false;
}

void let_warpgroup_go() {
    Group& g = groups[warpgroup("", nullptr)];
    g.arrived = 0, g.turn++;
}

bool elect_one() {
    unsigned lanes[32] = {}, least = 32, most = 0;
    gather(~0u, 1, lanes);
    for (unsigned l = 0; l < 32; l++)
        if (lanes[l]) least = std::min(least, l), most = l;
    // Which one it is, is left open.
    return self->lane == (takes_the_last() ? most : least);
}

void set_registers(unsigned wanted, bool more) {
    void* site = __builtin_return_address(0);
    const char* what = more ? "setmaxnreg.inc" : "setmaxnreg.dec";
    if (wanted % 8 || wanted < 24 || wanted > 256) fail(LAUNCH_FAILED, site, "%s to %u registers: not a multiple of 8 from 24 to 256", what, wanted);
    if (!launch->kernel->blocks) fail(LAUNCH_FAILED, site, "%s, which compilers ignore in a kernel whose launch bounds do not say how many blocks", what);
    Group& g = groups[warpgroup(what, site)];
    if (more ? wanted < g.registers : wanted > g.registers) fail(LAUNCH_FAILED, site, "%s from %u registers to %u", what, g.registers, wanted);
    with_warpgroup(what, site, [&] {
        Pool& pool = pools[self->block];
        if (!more) pool.left += (g.registers - wanted) * 128, pool.turn++;
        while (more && pool.left < (wanted - g.registers) * 128) wait_while(&pool.turn, pool.turn, what, site);
        if (more) pool.left -= (wanted - g.registers) * 128;
        g.registers = wanted;
    });
}

void named_barrier(unsigned id, unsigned threads, bool waits) {
    void* site = __builtin_return_address(0);
    if (id > 15 || threads % 32 || !threads || threads > block_threads()) fail(LAUNCH_FAILED, site, "bar of the number %u for %u threads", id, threads);
    Gathering& b = named[self->block][id];
    if (b.arrived && b.expected != threads) fail(LAUNCH_FAILED, site, "bar %u for %u threads, at which others wait for %u", id, threads, b.expected);
    b.expected = threads;
    const uint64_t turn = b.turn;
    b.arrive();
    if (!waits) return;
    if (b.turn == turn) wait_while(&b.turn, turn, "bar.sync", site);
    acquire(b.complete);
}

unsigned cluster_rank() { return self->block; }

void cluster_arrive() {
    void* site = __builtin_return_address(0);
    if (arrived_for[self->rank]) fail(LAUNCH_FAILED, site, "barrier.cluster.arrive for the second time, with no wait between");
    arrived_for[self->rank] = of_cluster.turn + 1;
    of_cluster.arrive();
}

void cluster_wait() {
    void* site = __builtin_return_address(0);
    const uint64_t mine = arrived_for[self->rank];
    if (!mine) fail(LAUNCH_FAILED, site, "barrier.cluster.wait without an arrival");
    if (of_cluster.turn < mine) wait_while(&of_cluster.turn, of_cluster.turn, "barrier.cluster.wait", site);
    acquire(of_cluster.complete);
    arrived_for[self->rank] = 0;
}

void* cluster_map(const void* p, unsigned rank) {
    void* site = __builtin_return_address(0);
    const size_t at = size_t(static_cast<const char*>(p) - shared_base(self->block));
    if (at >= SHARED_EACH) fail(ILLEGAL_ADDRESS, site, "mapa of what is not in the block's shared memory");
    if (rank >= cluster_blocks()) fail(LAUNCH_FAILED, site, "mapa to block %u of a cluster of %u", rank, cluster_blocks());
    return shared_base(rank) + at;
}

unsigned shared_address(const void* p) {
    const size_t at = size_t(static_cast<const char*>(p) - shared_base(self->block));
    if (at >= SHARED_EACH) fail(ILLEGAL_ADDRESS, __builtin_return_address(0), "the shared address of what is not in the block's shared memory");
    return unsigned(at);
}

void async_proxy_fence() { publish(); }

void begin_asynchronous() {
    begin_barriers(), begin_tma(), begin_products(), begin_overlap();
    if (launch->kernel->arch < 90) return;
    const unsigned first = registers_at_first();
    for (Group& g : groups) g = {0, 0, nullptr, first};
    for (Pool& pool : pools) pool = {0, 0};
    for (auto& block : named)
        for (Gathering& b : block) b = {};
    of_cluster = {}, of_cluster.expected = count;
    arrived_for.assign(count, 0);
}

void end_of_thread() {
    if (launch->kernel->arch < 90) return;
    end_of_stores();
    end_of_products();
    leave_block();
    // A cluster's barrier does not wait for threads that have ended.
    if (--of_cluster.expected && of_cluster.arrived == of_cluster.expected) of_cluster.go();
}

void end_of_unit() { end_of_tma(), end_of_overlap(); }
}  // namespace sim
