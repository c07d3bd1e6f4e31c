// What the parts for asynchronous work (mbarrier.cpp, tma.cpp, wgmma.cpp, cluster.cpp) know of each other, and what memory.cpp knows of such work.
//
// A worker is what does asynchronous work: each warpgroup's tensor core, which does one thing after another, and copies, any of which may run beside others.
// Its accesses are looked at when it is told to make them. They count as made at any time from then on until someone learns that the work is finished.
#pragma once
#include "state.h"

namespace sim {
// --- What happened before what (memory.cpp)
constexpr unsigned FIRST_ANY = 32, WORKERS = FIRST_ANY + 64, ANY = ~0u;
// When a thread did something, or a worker finishes something.
struct Moment {
    unsigned rank;
    uint32_t clock;
};
// What is known at a place where threads leave word for each other, or by a thread.
using Clock = std::vector<uint32_t>;
using View = Clock;

// The thread leaves word of all that it did and knows; takes note of what was left.
void release(Clock&);
void acquire(const Clock&);
void join(Clock&, const Clock&);
Moment now();
bool knows(Moment);
// fence.proxy.async: writes that the thread made or knows of are visible to asynchronous work from now on.
void publish();
bool is_published(Moment);
// A worker's next piece of work: a warpgroup's by its number, else ANY. `what` it is, for reports.
Moment begin_work(unsigned worker, const char* what);
// It is finished: word of it is left, or the thread knows it.
void finish(Clock&, Moment);
void finish(Moment);
// What the thread knows; what all of these threads know.
View view();
View common_view(const unsigned* ranks, unsigned count);
// Bytes that a piece of work touches, given what was known when it was begun.
void worked(const void* p, size_t bytes, bool write, Moment, const View&, const void* pc);

// A thread touches shared memory, which may be another block's; it ends, after which nobody may.
void visit(const void* p, const void* pc);
void leave_block();

// --- Barriers in shared memory (mbarrier.cpp)
struct Mbarrier;
// The one that is there, for a thread that uses it; `asynchronous`: a copy will.
Mbarrier& barrier_at(Barrier*, const char* what, bool asynchronous, const void* site);
void complete_bytes(Mbarrier&, unsigned bytes, Moment);
// An end of a deadlock's report: what the barrier lacks whose phase this is.
std::string state_of_barrier(const uint64_t* phase);
bool overlaps_barrier(const void* p, size_t bytes);

// --- Work that is under way (tma.cpp)
// Does one piece of it; false where there is none.
bool complete_work();

// --- Registers of products that are under way (wgmma.cpp)
extern bool registers_are_watched;
void register_accessed(const void* p, size_t bytes, bool write, const void* pc);

// --- Warpgroups and clusters (cluster.cpp)
// The number of the thread's warpgroup among all that are there; an error where its block has none for it.
unsigned warpgroup(const char* what, void* site);
// Waits for the warpgroup's 128 threads, which are at one line. It orders nothing. The thread that comes last does `work` before the others go on.
template <class Work> void with_warpgroup(const char* what, void* site, Work work);
bool is_last_of_warpgroup(const char* what, void* site);
void let_warpgroup_go();

// --- Launches that overlap (overlap.cpp)
// An access to device memory, which has to be behind what was launched before.
void look_at_order(const void* p, bool write, const void* pc);

// --- Beginning and end
void begin_asynchronous();
void begin_barriers();
void begin_tma();
void begin_products();
void begin_overlap();
void end_of_thread();
void end_of_stores();
void end_of_products();
void end_of_tma();
void end_of_overlap();
void end_of_unit();

template <class Work> void with_warpgroup(const char* what, void* site, Work work) {
    if (!is_last_of_warpgroup(what, site)) return;
    work();
    let_warpgroup_go();
}
}  // namespace sim
