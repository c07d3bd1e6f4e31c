// Barriers in shared memory that count arrivals of threads and bytes of copies, phase by phase.
//
// The counts are kept beside the memory; the word in memory holds a mark, so that a kernel that writes there is noticed.
#include "asynchronous.h"
#include <unordered_map>

namespace sim {
struct Mbarrier {
    unsigned arrivals, pending;
    int64_t bytes;
    uint64_t phase;
    Moment made;
    bool is_fenced;
    // What those left word of that arrived in the phase that goes on, and in those that are complete.
    Clock coming, complete;
};

namespace {
std::unordered_map<const Barrier*, Mbarrier> barriers;
constexpr Barrier MARK = 0x6d62617272696572;
constexpr unsigned MOST = (1u << 20) - 1;

void settle(Mbarrier& b) {
    if (b.pending || b.bytes) return;
    b.phase++, b.pending = b.arrivals;
    join(b.complete, b.coming);
}

void arrive(Mbarrier& b, const void* site) {
    if (b.pending == 0) fail(LAUNCH_FAILED, site, "arrives at an mbarrier at which all %u of its phase have arrived; %lld bytes are missing", b.arrivals, (long long)b.bytes);
    release(b.coming);
    b.pending--;
    settle(b);
}
}  // namespace

void begin_barriers() { barriers.clear(); }

Mbarrier& barrier_at(Barrier* p, const char* what, bool asynchronous, const void* site) {
    if (size_t(p) % 8) fail(MISALIGNED, site, "%s: %p is not aligned to 8 bytes", what, static_cast<void*>(p));
    const auto found = barriers.find(p);
    if (found == barriers.end()) fail(LAUNCH_FAILED, site, "%s: no mbarrier was initialised there", what);
    Mbarrier& b = found->second;
    if (*p != MARK) fail(LAUNCH_FAILED, site, "%s: something else was written over the mbarrier", what);
    if (!knows(b.made)) fail(LAUNCH_FAILED, site, "%s: the mbarrier is initialised by another thread, with no barrier between", what);
    if (asynchronous && !b.is_fenced && !is_published(b.made)) fail(LAUNCH_FAILED, site, "%s: no fence made the mbarrier's initialisation visible (fence.mbarrier_init, fence.proxy.async)", what);
    return b;
}

void complete_bytes(Mbarrier& b, unsigned bytes, Moment m) {
    finish(b.coming, m);
    b.bytes -= bytes;
    settle(b);
}

std::string state_of_barrier(const uint64_t* phase) {
    for (const auto& [p, b] : barriers)
        if (&b.phase == phase) return " of byte " + std::to_string(size_t(reinterpret_cast<const char*>(p) - shared_base(0)) % SHARED_EACH) + " in phase " + std::to_string(b.phase) + ", which lacks " + std::to_string(b.pending) + " arrivals and " + std::to_string(b.bytes) + " bytes";
    return "";
}

bool overlaps_barrier(const void* p, size_t bytes) {
    for (const auto& barrier : barriers)
        if (reinterpret_cast<const char*>(barrier.first + 1) > p && reinterpret_cast<const char*>(barrier.first) < static_cast<const char*>(p) + bytes) return true;
    return false;
}

void mbarrier_init(Barrier* p, unsigned arrivals) {
    void* site = __builtin_return_address(0);
    if (size_t(p) % 8) fail(MISALIGNED, site, "mbarrier.init: %p is not aligned to 8 bytes", static_cast<void*>(p));
    if (size_t(reinterpret_cast<char*>(p) - shared_base(self->block)) >= SHARED_EACH) fail(ILLEGAL_ADDRESS, site, "mbarrier.init: not in the block's shared memory");
    if (!arrivals || arrivals > MOST) fail(LAUNCH_FAILED, site, "mbarrier.init for %u arrivals", arrivals);
    if (barriers.count(p)) fail(LAUNCH_FAILED, site, "mbarrier.init where an mbarrier is already");
    accessed(p, 8, true, false, site);
    *p = MARK;
    barriers[p] = Mbarrier{arrivals, arrivals, 0, 0, now(), false, {}, {}};
}

void mbarrier_invalidate(Barrier* p) {
    void* site = __builtin_return_address(0);
    barrier_at(p, "mbarrier.inval", false, site);
    accessed(p, 8, true, false, site);
    *p = 0;
    barriers.erase(p);
}

void mbarrier_init_fence() {
    for (auto& [p, b] : barriers)
        if (b.made.rank == self->rank) b.is_fenced = true;
}

void mbarrier_arrive(Barrier* p, unsigned rank) {
    void* site = __builtin_return_address(0);
    if (rank != OWN) p = static_cast<Barrier*>(cluster_map(p, rank)), visit(p, site);
    arrive(barrier_at(p, "mbarrier.arrive", rank != OWN, site), site);
}

void mbarrier_expect(Barrier* p, unsigned bytes) {
    void* site = __builtin_return_address(0);
    Mbarrier& b = barrier_at(p, "mbarrier.arrive.expect_tx", false, site);
    b.bytes += bytes;
    if (bytes > MOST || b.bytes > MOST || b.bytes < -int64_t(MOST)) fail(LAUNCH_FAILED, site, "mbarrier.arrive.expect_tx: a phase that waits for %lld bytes, at most 2^20 - 1 are counted", (long long)b.bytes);
    arrive(b, site);
}

void mbarrier_wait(Barrier* p, unsigned parity) {
    void* site = __builtin_return_address(0);
    if (parity > 1) fail(LAUNCH_FAILED, site, "mbarrier.try_wait for a parity of %u", parity);
    Mbarrier& b = barrier_at(p, "mbarrier.try_wait", false, site);
    while ((b.phase & 1) == parity) wait_while(&b.phase, b.phase, "mbarrier.try_wait", site);
    acquire(b.complete);
}
}  // namespace sim
