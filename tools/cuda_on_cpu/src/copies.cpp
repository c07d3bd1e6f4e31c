// cp.async: each thread's copies from device memory to shared memory, in groups.
//
// Until the thread that began a copy has waited for its group, its bytes are nobody's: whoever reads or writes them is told so, whether or not the copy would
// have been done by then; so is whoever writes what it reads. When the thread has waited, it has written the bytes, so that others want a barrier as after any write.
// A copy is done as late as can be, or at once: see completes_at_once().
#include "state.h"
#include <algorithm>
#include <unordered_map>

namespace sim {
unsigned copies_under_way;

namespace {
struct Copy {
    char* to;
    const char* from;
    unsigned bytes, size;
    uint64_t group;
    void* site;
    bool done;
};
std::vector<Copy> copies[FIBERS];
// Groups of each thread so far, which is also the number of the one that it fills now.
uint64_t groups[FIBERS];

// Who does something to bytes, and where it was told to.
struct Holder {
    unsigned rank;
    void* site;
};
// Who copies to each word of four bytes of shared memory, a site of null where nobody does. A copy has whole words.
Holder targets[16 * SHARED_EACH / 4];
Holder* target(const void* p) { return &targets[(static_cast<const char*>(p) - arena) / 4]; }
// What is copied from, by 16 bytes of device memory: a copy lies within one of these.
struct Source {
    const char* from;
    unsigned size;
    Holder by;
};
std::unordered_multimap<uintptr_t, Source> sources;

unsigned threads_of_unit;

void perform(Copy& c) {
    if (c.done) return;
    memcpy(c.to, c.from, c.size);
    memset(c.to + c.size, 0, c.bytes - c.size);
    c.done = true;
}

// What a copy does to memory, for whoever looks at the order of accesses.
void account(const Copy& c) {
    accessed(c.to, c.bytes, true, false, c.site);
    if (c.size) accessed(c.from, c.size, false, false, c.site);
}

void hold(const Copy& c) {
    copies_under_way++;
    std::fill_n(target(c.to), c.bytes / 4, Holder{self->rank, c.site});
    if (c.size) sources.insert({uintptr_t(c.from) / 16, {c.from, c.size, {self->rank, c.site}}});
}

void let_go(const Copy& c) {
    copies_under_way--;
    std::fill_n(target(c.to), c.bytes / 4, Holder{});
    auto [from, to] = sources.equal_range(uintptr_t(c.from) / 16);
    const auto found = std::find_if(from, to, [&](const auto& s) { return s.second.from == c.from && s.second.by.rank == self->rank && s.second.by.site == c.site; });
    if (found != to) sources.erase(found);
}

[[noreturn]] void refuse(const void* p, bool write, const char* what, const Holder& by, const void* pc) {
    fail(LAUNCH_FAILED, pc, "%s %s, which %s is copying %s at %s, and did not wait for", write ? "writes" : "reads", place(p).c_str(), name_of(by.rank).c_str(), what, line_of(by.site).c_str());
}
}  // namespace

void begin_copies(unsigned threads) {
    // A kernel may end with copies under way.
    for (unsigned i = 0; i < threads_of_unit; i++) {
        for (const Copy& c : copies[i]) std::fill_n(target(c.to), c.bytes / 4, Holder{});
        copies[i].clear(), groups[i] = 0;
    }
    sources.clear(), copies_under_way = 0, threads_of_unit = threads;
}

void look_at_copies(const void* p, size_t bytes, bool write, const void* pc) {
    const char *from = static_cast<const char*>(p), *end = from + bytes;
    if (in_shared(p)) {
        for (const Holder* by = target(from); by <= target(end - 1); by++)
            if (by->site) refuse(p, write, "to", *by, pc);
    } else if (write) {
        for (uintptr_t line = uintptr_t(from) / 16; line <= (uintptr_t(end) - 1) / 16; line++) {
            auto [at, last] = sources.equal_range(line);
            for (; at != last; ++at)
                if (const Source& s = at->second; s.from < end && from < s.from + s.size) refuse(s.from, true, "from", s.by, pc);
        }
    }
}

void copy_async(void* to, const void* from, unsigned bytes, unsigned size) {
    void* site = __builtin_return_address(0);
    if ((uintptr_t(to) | uintptr_t(from)) % bytes) fail(MISALIGNED, site, "cp.async of %u bytes from %p to %p, one of which is not aligned to them", bytes, from, to);
    if (size > bytes) fail(LAUNCH_FAILED, site, "cp.async of %u bytes, %u of which are to be copied", bytes, size);
    if (!in_shared(to)) fail(ILLEGAL_ADDRESS, site, "cp.async to %p, which is no shared memory", to);
    if (size && in_shared(from)) fail(ILLEGAL_ADDRESS, site, "cp.async from shared memory");
    Copy c{static_cast<char*>(to), static_cast<const char*>(from), bytes, size, groups[self->rank], site, false};
    if (checked) account(c), hold(c);
    if (completes_at_once()) perform(c);
    copies[self->rank].push_back(c);
}

void commit_copies() { groups[self->rank]++; }

void wait_copies(unsigned left) {
    std::vector<Copy>& mine = copies[self->rank];
    // Groups are waited for in the order in which they were made.
    size_t n = 0;
    for (; n < mine.size() && mine[n].group + left < groups[self->rank]; n++) {
        perform(mine[n]);
        if (checked) let_go(mine[n]), account(mine[n]);
    }
    mine.erase(mine.begin(), mine.begin() + long(n));
}
}  // namespace sim
