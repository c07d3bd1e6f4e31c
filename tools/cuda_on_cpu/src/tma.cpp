// Copies of tiles between global and shared memory by the tensor memory accelerator, as their maps say: boxes, or by an im2col map the pixels under one tap of a
// filter that goes over pictures.
//
// When a copy's bytes move is left open: at once, or as late as can be (when nobody else can go on, or somebody waits for it). CUDA_ON_CPU_SEED decides.
#include "asynchronous.h"
#include "tensor_map.h"
#include <algorithm>
#include <deque>
#include <memory>

namespace sim {
namespace {
struct Copy {
    TensorMap map;
    int at[5];
    // Of an im2col map, along W, H, D.
    unsigned offsets[3];
    char* shared;
    // A load's; null for a store.
    Mbarrier* barrier;
    Moment load, read, write;
};
using Work = std::shared_ptr<Copy>;
std::deque<Work> under_way;

// A thread's stores: those of no group yet, and groups, the oldest first; of so many it knows that shared memory was read.
struct Stores {
    std::vector<Work> open;
    std::deque<std::vector<Work>> groups;
    size_t read = 0;
};
std::vector<Stores> stores;

constexpr const char *LOAD = "a cp.async.bulk.tensor", *STORE = "a cp.async.bulk.tensor to global memory";

unsigned span(const TensorMap& m) { return m.swizzle ? 16u << m.swizzle : 0; }

// Where the rows of a copy lie along a dimension: from the copy's coordinate on by steps, and behind the last one from the first one on again, one further along
// the next dimension.
struct Walk {
    int64_t first, last, step, offset;
};

Walk walk_of(const Copy& c, unsigned d) {
    const TensorMap& m = c.map;
    if (!m.is_im2col) return {c.at[d], int64_t(c.at[d]) + m.box[d] - 1, 1, 0};
    // Pictures follow one another without end.
    if (d + 1 == m.rank) return {c.at[d], INT64_MAX, 1, 0};
    return {m.lower[d - 1], int64_t(m.dims[d]) - 1 + m.upper[d - 1], m.steps[d - 1], c.offsets[d - 1]};
}

// Each row along the first dimension: where its elements inside the tensor begin in global memory, where they lie in the row, how many bytes they are.
template <class Row> void rows(const Copy& c, Row row) {
    const TensorMap& m = c.map;
    unsigned others = 1;
    for (unsigned d = 1; d < m.rank; d++) others *= m.box[d];
    const int64_t from = std::max<int64_t>(c.at[0], 0), to = std::min<int64_t>(int64_t(c.at[0]) + m.box[0], m.dims[0]);
    Walk walks[5];
    int64_t at[5];
    for (unsigned d = 1; d < m.rank; d++) walks[d] = walk_of(c, d), at[d] = c.at[d];
    for (unsigned r = 0; r < others; r++) {
        int64_t offset = 0;
        bool inside = to > from;
        for (unsigned d = 1; d < m.rank; d++) {
            const int64_t i = at[d] + walks[d].offset;
            inside = inside && i >= 0 && i < int64_t(m.dims[d]);
            offset += i * int64_t(m.strides[d - 1]);
        }
        row(r, m.base + (inside ? offset + from * m.element : 0), inside ? size_t(from - c.at[0]) * m.element : 0, inside ? size_t(to - from) * m.element : 0);
        for (unsigned d = 1; d < m.rank; at[d] = walks[d].first, d++)
            if ((at[d] += walks[d].step) <= walks[d].last) break;
    }
}

// The address with its bits from 4 on changed by those from 7 on.
char* swizzled(char* p, const TensorMap& m) {
    const size_t at = size_t(p - arena), bits = at >> 7 & ((1u << m.swizzle) - 1);
    return arena + (at ^ bits << 4);
}

void move(const Copy& c) {
    const size_t row_bytes = size_t(c.map.box[0]) * c.map.element;
    rows(c, [&](unsigned r, char* global, size_t skip, size_t bytes) {
        char* row = c.shared + r * row_bytes;
        for (size_t i = 0; i < row_bytes; i += c.map.element) {
            char* p = swizzled(row + (i & ~size_t(15)), c.map) + (i & 15);
            const bool inside = i >= skip && i < skip + bytes;
            if (c.barrier && inside) memcpy(p, global + (i - skip), c.map.element);
            else if (c.barrier) memset(p, 0, c.map.element);
            else if (inside) memcpy(global + (i - skip), p, c.map.element);
        }
    });
    if (c.barrier) complete_bytes(*c.barrier, c.map.box_bytes(), c.load);
}

void do_now(Work c) {
    const auto found = std::find(under_way.begin(), under_way.end(), c);
    if (found == under_way.end()) return;
    under_way.erase(found);
    move(*c);
}

TensorMap map_of(const void* p, const char* what, unsigned rank, bool is_im2col, void* site) {
    TensorMap map;
    if (size_t(p) % 64) fail(MISALIGNED, site, "%s: the tensor map is not aligned to 64 bytes", what);
    if (is_device(p, 1)) fail(LAUNCH_FAILED, site, "%s: a tensor map in memory, which is not known here: give it as a __grid_constant__ parameter", what);
    memcpy(&map, p, sizeof map);
    if (map.mark != TensorMap::MARK) fail(LAUNCH_FAILED, site, "%s: not a tensor map", what);
    if (map.rank != rank) fail(LAUNCH_FAILED, site, "%s: %u coordinates for a tensor of %u dimensions", what, rank, map.rank);
    if (map.is_im2col != is_im2col) fail(LAUNCH_FAILED, site, "%s by a map %s", what, is_im2col ? "that is none for im2col" : "for im2col");
    return map;
}

// Where the filter lies has to be in the bounding box, and its offsets have as many bits as the manual gives them.
void check_pixel(const Copy& c, void* site) {
    const unsigned bits = c.map.rank == 3 ? 16 : c.map.rank == 4 ? 8 : 5;
    for (unsigned d = 1; d + 1 < c.map.rank; d++) {
        const Walk walk = walk_of(c, d);
        const char axis = "WHD"[d - 1];
        if (c.at[d] < walk.first || c.at[d] > walk.last)
            fail(LAUNCH_FAILED, site, "%s of pixels from %c = %d on, outside of the bounding box from %ld to %ld", LOAD, axis, c.at[d], long(walk.first), long(walk.last));
        if ((c.at[d] - walk.first) % walk.step)
            fail(LAUNCH_FAILED, site, "%s of pixels from %c = %d on, which steps of %ld from %ld on do not meet: not known here", LOAD, axis, c.at[d], long(walk.step), long(walk.first));
        if (c.offsets[d - 1] >> bits) fail(LAUNCH_FAILED, site, "%s with an offset of %u along %c, beyond %u bits", LOAD, c.offsets[d - 1], axis, bits);
    }
}

void check_shared(const char* p, const TensorMap& m, const char* what, void* site) {
    const unsigned alignment = std::max(128u, 8 * span(m));
    if (size_t(p - shared_base(self->block)) >= SHARED_EACH) fail(ILLEGAL_ADDRESS, site, "%s: its tile is not in the block's shared memory", what);
    if (size_t(p - arena) % alignment) fail(MISALIGNED, site, "%s: its tile begins at byte %zu of shared memory, which is not aligned to %u bytes", what, size_t(p - arena) % SHARED_EACH, alignment);
    if (m.swizzle && m.box[0] * m.element != span(m)) fail(LAUNCH_FAILED, site, "%s: rows of %u bytes with a swizzle of %u bytes are not known here", what, m.box[0] * m.element, span(m));
    if (overlaps_barrier(p, m.box_bytes())) fail(LAUNCH_FAILED, site, "%s: its tile lies over an mbarrier", what);
}

void begin(Work c) {
    if (completes_at_once()) move(*c);
    else under_way.push_back(std::move(c));
}
}  // namespace

void begin_tma() {
    under_way.clear();
    if (launch->kernel->arch >= 90) stores.assign(count, {});
}

bool complete_work() {
    if (under_way.empty()) return false;
    do_now(under_way[one_of(unsigned(under_way.size()))]);
    return true;
}

void tma_load(void* to, const void* p, Barrier* barrier, unsigned rank, const int* at, const unsigned* offsets, unsigned blocks) {
    void* site = __builtin_return_address(0);
    const TensorMap map = map_of(p, LOAD, rank, offsets, site);
    check_shared(static_cast<char*>(to), map, LOAD, site);
    const uint3 cluster = launch->cluster;
    if (blocks == 0) blocks = 1u << self->block;
    if (blocks >> (cluster.x * cluster.y * cluster.z)) fail(LAUNCH_FAILED, site, "%s: to the blocks %#x, which the cluster does not have", LOAD, blocks);
    for (unsigned b = 0; b < 16; b++) {
        if (!(blocks >> b & 1)) continue;
        auto c = std::make_shared<Copy>();
        const auto in_block = [&](void* q) { return shared_base(b) + (static_cast<char*>(q) - shared_base(self->block)); };
        c->map = map, c->shared = in_block(to);
        std::copy(at, at + rank, c->at);
        if (offsets) std::copy(offsets, offsets + rank - 2, c->offsets), check_pixel(*c, site);
        c->barrier = &barrier_at(reinterpret_cast<Barrier*>(in_block(barrier)), LOAD, true, site);
        c->load = begin_work(ANY, LOAD);
        const View known = view();
        rows(*c, [&](unsigned, char* global, size_t, size_t bytes) { worked(global, bytes, false, c->load, known, site); });
        worked(c->shared, map.box_bytes(), true, c->load, known, site);
        begin(std::move(c));
    }
}

void tma_store(const void* p, const void* from, unsigned rank, const int* at) {
    void* site = __builtin_return_address(0);
    auto c = std::make_shared<Copy>();
    c->map = map_of(p, STORE, rank, false, site), c->shared = static_cast<char*>(const_cast<void*>(from)), c->barrier = nullptr;
    check_shared(c->shared, c->map, STORE, site);
    std::copy(at, at + rank, c->at);
    // Two workers, since one may wait for the reads alone.
    c->read = begin_work(ANY, STORE), c->write = begin_work(ANY, STORE);
    const View known = view();
    worked(c->shared, c->map.box_bytes(), false, c->read, known, site);
    rows(*c, [&](unsigned, char* global, size_t, size_t bytes) { worked(global, bytes, true, c->write, known, site); });
    stores[self->rank].open.push_back(c);
    begin(std::move(c));
}

void tma_commit() {
    Stores& s = stores[self->rank];
    s.groups.push_back(std::move(s.open));
    s.open.clear();
}

void tma_wait(unsigned pending, bool only_read) {
    Stores& s = stores[self->rank];
    for (; s.groups.size() > s.read + pending; s.read++)
        for (const Work& c : s.groups[s.read]) do_now(c), finish(c->read);
    if (only_read) return;
    for (; s.groups.size() > pending; s.groups.pop_front(), s.read--)
        for (const Work& c : s.groups.front()) finish(c->write);
}

void end_of_stores() {
    if (launch->kernel->arch < 90) return;
    const Stores& s = stores[self->rank];
    if (!s.open.empty() || s.read < s.groups.size()) fail(LAUNCH_FAILED, nullptr, "ends while its stores may still read shared memory: no cp.async.bulk.wait_group");
}

void end_of_tma() {
    for (const Work& c : under_way)
        if (c->barrier) fail(LAUNCH_FAILED, nullptr, "ends while a copy into its shared memory, which nobody waited for, is under way");
    while (complete_work()) {}
}
}  // namespace sim
