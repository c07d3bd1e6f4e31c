// Device memory, shared memory, and what every two bytes of them have seen: who wrote them last, who read them since.
//
// Kernels that are compiled with -fsanitize=thread call a function for each access to memory. These functions are here, in place of a sanitizer's own, and
// know what CUDA's threads are. Two accesses to the same bytes, one of them a write, want an order: by a barrier that both threads met at in between
// (vector clocks: Lamport 1978, Mattern 1989; the last write and reads as single epochs: Flanagan and Freund, FastTrack, 2009), or by the end of a launch.
#include "asynchronous.h"
#include <algorithm>
#include <map>
#include <sys/mman.h>

// The linker's: where this library begins and ends.
extern "C" {
extern char __ehdr_start __attribute__((visibility("hidden"))), _end __attribute__((visibility("hidden")));
}

namespace sim {
char *arena, *stacks;
size_t arena_bytes = size_t(4) << 30;
unsigned shared_end[16];

namespace {
// When a thread did something: the number of its unit, a block or a cluster, counted through all launches; its rank; its own clock; whether atomically.
using Epoch = uint64_t;
constexpr Epoch FREE = 0, UNDEFINED = 1;
constexpr unsigned CLOCK_BITS = 21, RANK_BITS = 12;
Epoch epoch(uint64_t unit, unsigned rank, unsigned clock, bool atomic) { return unit << (CLOCK_BITS + RANK_BITS + 1) | Epoch(rank) << (CLOCK_BITS + 1) | Epoch(clock) << 1 | Epoch(atomic); }
uint64_t unit_of(Epoch e) { return e >> (CLOCK_BITS + RANK_BITS + 1); }
unsigned rank_of(Epoch e) { return unsigned(e >> (CLOCK_BITS + 1)) & ((1u << RANK_BITS) - 1); }
unsigned clock_of(Epoch e) { return unsigned(e >> 1) & ((1u << CLOCK_BITS) - 1); }
bool is_atomic(Epoch e) { return e & 1; }

// Of two bytes. Reads by threads of two warps, or two units: with a third, some read is forgotten, but no race of it alone.
struct Cell {
    Epoch write, read[2];
    uint32_t write_at, read_at[2];
} __attribute__((packed));
Cell* cells;

uint64_t unit = 2, launch_unit = 2;
const char* image;

// clocks[i * width + j]: what thread i knows of the clock of j, a thread or, behind those, one that does asynchronous work. In kernels that have such work a
// second half of the row says up to where writes by threads are visible to it, too.
std::vector<uint32_t> clocks;
unsigned n, half, width;

// One that does asynchronous work: its clock, and who told it to do what.
struct Worker {
    uint32_t clock;
    unsigned issuer;
    const char* what;
};
Worker workers[WORKERS];
unsigned next_worker;

// Of each block: when threads of others last touched its shared memory, and what its threads knew of that when they ended, if all have.
struct Visits {
    Clock last, known;
    unsigned ended;
};
Visits visits[16];

// Who makes an access, and what was done before it: by `known`; writes by threads, in asynchronous work, by `visible`.
struct Actor {
    Epoch now;
    unsigned rank;
    const uint32_t *known, *visible;
    const char* what;  // null for a thread
};

std::map<char*, size_t> blocks;
char* top;
size_t used;

size_t padded(size_t bytes) { return (bytes + 255) / 256 * 256 + 256; }
Cell& cell(const void* p) { return cells[(static_cast<const char*>(p) - arena) / 2]; }

void set(void* p, size_t bytes, Epoch e) {
    for (size_t i = 0; i < (bytes + 1) / 2; i++) (&cell(p))[i] = Cell{e, {0, 0}, 0, {0, 0}};
}

struct Start {
    Start() {
        auto reserve = [](size_t bytes) {
            void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (p == MAP_FAILED) fprintf(stderr, "cuda_on_cpu: no %zu bytes of address space\n", bytes), abort();
            return static_cast<char*>(p);
        };
        if (const char* limit = getenv("CUDA_ON_CPU_MEMORY")) arena_bytes = size_t(atoll(limit)) + 16 * SHARED_EACH;
        arena = reserve(arena_bytes), stacks = reserve(FIBERS * STACK);
        if (checked) cells = reinterpret_cast<Cell*>(reserve(arena_bytes / 2 * sizeof(Cell)));
        top = arena + 16 * SHARED_EACH;
        image = &__ehdr_start;
    }
} start;

uint32_t* row_of(unsigned rank) { return &clocks[size_t(rank) * width]; }
bool in_arena(const void* p) { return size_t(static_cast<const char*>(p) - arena) < arena_bytes; }

}  // namespace

std::string place(const void* p) {
    char text[128];
    const size_t at = size_t(static_cast<const char*>(p) - arena);
    if (at < 16 * SHARED_EACH) {
        snprintf(text, sizeof text, "byte %zu of shared memory", at % SHARED_EACH);
        return text;
    }
    auto next = blocks.upper_bound(static_cast<char*>(const_cast<void*>(p)));
    if (next == blocks.begin()) return "no allocation";
    --next;
    snprintf(text, sizeof text, "byte %zu of an allocation of %zu", size_t(static_cast<const char*>(p) - next->first), next->second);
    return text;
}

void* allocate(size_t bytes) {
    const size_t room = padded(bytes);
    // The first gap between two that is large enough, else behind the last.
    char* p = arena + 16 * SHARED_EACH;
    for (const auto& [from, size] : blocks) {
        if (from - p >= long(room)) break;
        p = from + padded(size);
    }
    if (p + room > arena + arena_bytes) return nullptr;
    blocks[p] = bytes, used += bytes;
    memset(p, 0xff, bytes);
    if (checked) set(p, bytes, UNDEFINED);
    return p;
}

bool release(void* p) {
    auto found = blocks.find(static_cast<char*>(p));
    if (found == blocks.end()) return false;
    used -= found->second;
    if (checked) set(p, found->second, FREE);
    blocks.erase(found);
    return true;
}

bool is_device(const void* p, size_t bytes) {
    auto next = blocks.upper_bound(static_cast<char*>(const_cast<void*>(p)));
    if (next == blocks.begin()) return false;
    --next;
    return static_cast<const char*>(p) + bytes <= next->first + next->second;
}

void host_wrote(void* p, size_t bytes, bool defined) {
    if (checked) set(p, bytes, defined ? epoch(1, 0, 0, false) : UNDEFINED);
}

bool is_defined(const void* p, size_t bytes) {
    const Cell* first = &cell(p);
    return !checked || std::none_of(first, first + (bytes + 1) / 2, [](const Cell& c) { return c.write == UNDEFINED; });
}

size_t in_use() { return used; }
void begin_launch() { launch_unit = unit + 1; }

void begin_unit(unsigned threads) {
    unit++;
    begin_copies(threads);
    if (!checked) return;
    const bool has_workers = launch->kernel->arch >= 90;
    n = threads, half = n + (has_workers ? WORKERS : 0), width = has_workers ? 2 * half : half;
    clocks.assign(size_t(n) * width, 0);
    for (unsigned i = 0; i < n; i++) clocks[size_t(i) * width + i] = 1;
    memset(workers, 0, sizeof workers), next_worker = 0;
    for (Visits& v : visits) v = {};
}

void met(const unsigned* ranks, unsigned count) {
    if (!checked || !count) return;
    static std::vector<uint32_t> all;
    all.assign(width, 0);
    for (unsigned k = 0; k < count; k++) {
        const uint32_t* row = row_of(ranks[k]);
        for (unsigned j = 0; j < width; j++) all[j] = std::max(all[j], row[j]);
    }
    for (unsigned k = 0; k < count; k++) {
        uint32_t* row = row_of(ranks[k]);
        memcpy(row, all.data(), width * sizeof *row);
        row[ranks[k]]++;
    }
}

// True where what was done at `e` was done before what one of this rank does that knows this.
static bool before(Epoch e, unsigned rank, const uint32_t* known) {
    if (unit_of(e) < launch_unit) return true;
    if (unit_of(e) != unit) return false;
    const unsigned other = rank_of(e);
    return (other == rank && rank < n) || known[other] >= clock_of(e);
}

void release(Clock& clock) {
    if (!checked) return;
    clock.resize(width);
    uint32_t* row = row_of(self->rank);
    for (unsigned j = 0; j < width; j++) clock[j] = std::max(clock[j], row[j]);
    row[self->rank]++;
}

void acquire(const Clock& clock) {
    uint32_t* row = checked ? row_of(self->rank) : nullptr;
    for (size_t j = 0; j < clock.size(); j++) row[j] = std::max(row[j], clock[j]);
}

void join(Clock& clock, const Clock& other) {
    clock.resize(std::max(clock.size(), other.size()));
    for (size_t j = 0; j < other.size(); j++) clock[j] = std::max(clock[j], other[j]);
}

Moment now() { return {self->rank, checked ? row_of(self->rank)[self->rank] : 0}; }
bool knows(Moment m) { return !checked || m.rank == self->rank || row_of(self->rank)[m.rank] >= m.clock; }

void publish() {
    if (!checked || width == half) return;
    uint32_t* row = row_of(self->rank);
    for (unsigned j = 0; j < half; j++) row[half + j] = std::max(row[half + j], row[j]);
    row[self->rank]++;
}

bool is_published(Moment m) { return !checked || row_of(self->rank)[half + m.rank] >= m.clock; }

Moment begin_work(unsigned worker, const char* what) {
    if (!checked) return {};
    if (worker == ANY) worker = FIRST_ANY + next_worker++ % (WORKERS - FIRST_ANY);
    Worker& w = workers[worker];
    w = {w.clock + 1, self->rank, what};
    return {n + worker, w.clock};
}

void finish(Clock& clock, Moment m) {
    if (!checked) return;
    clock.resize(width);
    clock[m.rank] = std::max(clock[m.rank], m.clock);
}

void finish(Moment m) {
    if (!checked) return;
    uint32_t& known = row_of(self->rank)[m.rank];
    known = std::max(known, m.clock);
}

View view() { return checked ? View(row_of(self->rank), row_of(self->rank) + width) : View(); }

View common_view(const unsigned* ranks, unsigned count) {
    if (!checked) return {};
    View least(row_of(ranks[0]), row_of(ranks[0]) + width);
    for (unsigned k = 1; k < count; k++) {
        const uint32_t* row = row_of(ranks[k]);
        for (unsigned j = 0; j < width; j++) least[j] = std::min(least[j], row[j]);
    }
    return least;
}

// Who did something, as a report says it.
static std::string who(Epoch e) {
    if (unit_of(e) != unit) return "another block";
    if (rank_of(e) < n) return name_of(rank_of(e));
    const Worker& w = workers[rank_of(e) - n];
    return std::string(w.what) + " of " + name_of(w.issuer);
}

[[noreturn]] static void race(const void* p, bool write, Epoch other, bool other_wrote, uint32_t other_at, const Actor& actor, const void* pc) {
    const bool is_seen = actor.what && rank_of(other) < n && before(other, actor.rank, actor.known);
    fail(LAUNCH_FAILED, pc, "race: %s%s%s %s, which %s %s at %s, with no %s between", actor.what ? actor.what : "", actor.what ? " " : "", write ? "writes" : "reads", place(p).c_str(), who(other).c_str(),
         other_wrote ? "wrote" : "read", line_of(image + other_at).c_str(), is_seen ? "fence.proxy.async" : "barrier");
}

// True where one read may be forgotten for a later one: of the same warp, or the same worker, or done before.
static bool replaces(Epoch old, const Actor& actor) {
    if (old == 0 || unit_of(old) < launch_unit) return true;
    if (unit_of(old) != unit) return false;
    const unsigned other = rank_of(old);
    return actor.rank < n && other < n ? other / 32 == actor.rank / 32 : before(old, actor.rank, actor.known);
}

static unsigned block_threads() { return launch->block.x * launch->block.y * launch->block.z; }

void visit(const void* p, const void* pc) {
    const size_t block = size_t(static_cast<const char*>(p) - arena) / SHARED_EACH;
    if (!checked || block == self->block) return;
    Visits& v = visits[block];
    if (v.ended == block_threads()) fail(LAUNCH_FAILED, pc, "touches the shared memory of a block of the cluster that has ended");
    v.last.resize(n);
    v.last[self->rank] = row_of(self->rank)[self->rank];
}

void leave_block() {
    if (!checked) return;
    Visits& v = visits[self->block];
    join(v.known, view());
    if (++v.ended < block_threads()) return;
    for (unsigned i = 0; i < v.last.size(); i++)
        if (v.last[i] > v.known[i]) fail(LAUNCH_FAILED, nullptr, "its block ends, while %s of another may still touch its shared memory: no barrier of the cluster between", name_of(i).c_str());
}

static void touch(const void* p, size_t bytes, bool write, bool atomic, const Actor& actor, const void* pc) {
    const size_t at = size_t(static_cast<const char*>(p) - arena);
    const bool is_shared = in_shared(p);
    if (is_shared && at % SHARED_EACH + bytes > shared_end[at / SHARED_EACH]) fail(ILLEGAL_ADDRESS, pc, "%s %s, of %u bytes that the block has", write ? "writes" : "reads", place(p).c_str(), shared_end[at / SHARED_EACH]);
    if (copies_under_way) look_at_copies(p, bytes, write, pc);
    if (is_shared && !actor.what) visit(p, pc);
    if (!is_shared) look_at_order(p, write, pc);
    const uint32_t here = uint32_t(static_cast<const char*>(pc) - image);
    const size_t last = (at + bytes - 1) / 2;
    for (size_t i = at / 2; i <= last; i++) {
        Cell& c = cells[i];
        const bool nobody = is_shared ? unit_of(c.write) != unit : c.write <= UNDEFINED;
        if (!is_shared && c.write == FREE) fail(ILLEGAL_ADDRESS, pc, "%s %zu bytes from %s", write ? "writes" : "reads", bytes, place(p).c_str());
        if (nobody && (!write || atomic)) fail(LAUNCH_FAILED, pc, "reads %s, where nothing was written", place(p).c_str());
        if (!nobody && !before(c.write, actor.rank, rank_of(c.write) < n ? actor.visible : actor.known) && !(atomic && is_atomic(c.write))) race(p, write, c.write, true, c.write_at, actor, pc);
        if (write) {
            for (int r = 0; r < 2; r++)
                if (c.read[r] && (!is_shared || unit_of(c.read[r]) == unit) && !before(c.read[r], actor.rank, actor.known)) race(p, true, c.read[r], false, c.read_at[r], actor, pc);
            c = Cell{actor.now, {0, 0}, here, {0, 0}};
        } else {
            // The first place is for the latest reader of its warp, the second for another warp's.
            const int r = replaces(c.read[0], actor) ? 0 : 1;
            c.read[r] = actor.now, c.read_at[r] = here;
        }
    }
}

void accessed(const void* p, size_t bytes, bool write, bool atomic, const void* pc) {
    if (!checked) return;
    if (size_t(static_cast<const char*>(p) - stacks) < FIBERS * STACK) {
        if (registers_are_watched && self) register_accessed(p, bytes, write, pc);
        return;
    }
    if (!in_arena(p) || !self) {
        // Tables of constants lie in the library; the emulator's own memory is not touched by kernels.
        if (!self || (static_cast<const char*>(p) >= image && static_cast<const char*>(p) < &_end && !write)) return;
        fail(ILLEGAL_ADDRESS, pc, "%s %zu bytes at %p, which is not the device's memory", write ? "writes" : "reads", bytes, p);
    }
    const uint32_t* known = row_of(self->rank);
    touch(p, bytes, write, atomic, {epoch(unit, self->rank, known[self->rank], atomic), self->rank, known, known, nullptr}, pc);
}

void worked(const void* p, size_t bytes, bool write, Moment m, const View& view, const void* pc) {
    if (!checked || !bytes) return;
    const char* what = workers[m.rank - n].what;
    if (!in_arena(p) || !in_arena(static_cast<const char*>(p) + bytes)) fail(ILLEGAL_ADDRESS, pc, "%s %s %zu bytes at %p, which is not the device's memory", what, write ? "writes" : "reads", bytes, p);
    touch(p, bytes, write, false, {epoch(unit, m.rank, m.clock, false), m.rank, view.data(), view.data() + half, what}, pc);
}
}  // namespace sim

#ifdef CUDA_ON_CPU_CHECKED
const bool sim::checked = true;
#else
const bool sim::checked = false;
#endif

// What the compiler puts before each access of a kernel.
using sim::accessed;
#define PC __builtin_return_address(0)
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read1(void* p) { accessed(p, 1, false, false, PC); }
void __tsan_read2(void* p) { accessed(p, 2, false, false, PC); }
void __tsan_read4(void* p) { accessed(p, 4, false, false, PC); }
void __tsan_read8(void* p) { accessed(p, 8, false, false, PC); }
void __tsan_read16(void* p) { accessed(p, 16, false, false, PC); }
void __tsan_write1(void* p) { accessed(p, 1, true, false, PC); }
void __tsan_write2(void* p) { accessed(p, 2, true, false, PC); }
void __tsan_write4(void* p) { accessed(p, 4, true, false, PC); }
void __tsan_write8(void* p) { accessed(p, 8, true, false, PC); }
void __tsan_write16(void* p) { accessed(p, 16, true, false, PC); }
void __tsan_unaligned_read2(void* p) { accessed(p, 2, false, false, PC); }
void __tsan_unaligned_read4(void* p) { accessed(p, 4, false, false, PC); }
void __tsan_unaligned_read8(void* p) { accessed(p, 8, false, false, PC); }
void __tsan_unaligned_read16(void* p) { accessed(p, 16, false, false, PC); }
void __tsan_unaligned_write2(void* p) { accessed(p, 2, true, false, PC); }
void __tsan_unaligned_write4(void* p) { accessed(p, 4, true, false, PC); }
void __tsan_unaligned_write8(void* p) { accessed(p, 8, true, false, PC); }
void __tsan_unaligned_write16(void* p) { accessed(p, 16, true, false, PC); }
void __tsan_read_range(void* p, size_t bytes) { accessed(p, bytes, false, false, PC); }
void __tsan_write_range(void* p, size_t bytes) { accessed(p, bytes, true, false, PC); }

// And before each use of a pointer or an index that -fsanitize=alignment,bounds looks at.
struct SourcePlace { const char* file; unsigned line, column; };
struct Mismatch { SourcePlace place; void* type; unsigned char log_alignment, kind; };
void __ubsan_handle_type_mismatch_v1(Mismatch* m, void* p) { sim::fail(sim::MISALIGNED, PC, "%p is not aligned to %u bytes", p, 1u << m->log_alignment); }
void __ubsan_handle_out_of_bounds(SourcePlace*, size_t index) { sim::fail(sim::ILLEGAL_ADDRESS, PC, "index %zd is out of its array's bounds", ssize_t(index)); }
}
