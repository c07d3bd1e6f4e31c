// CUDA threads as fibers: one OS thread runs a block's threads by turns, each until it has to wait for others.
#include "asynchronous.h"
#include <algorithm>
#include <cstdarg>
#include <deque>
#include <dlfcn.h>
#include <map>

namespace sim {
Fiber* self;
Fiber fibers[FIBERS];
unsigned count;
const Launch* launch;
uint3 block_of[16];
std::string report;
Kernel* Kernel::head;
Kernel::Kernel(const char* n, const char* f, unsigned b, unsigned m, unsigned a, void (*c)(void**), const Parameter* p, unsigned k) : name(n), file(f), bound(b), blocks(m), arch(a), call(c), parameters(p), count(k), next(head) { head = this; }

namespace {
unsigned live;
void* outside;
Status status;

struct Meeting {
    uint64_t turn;
    unsigned arrived;
    void* site;
};
Meeting block_meeting[16];
unsigned block_live[16];
// Of the lanes of one mask; a warp may have several at a time.
struct Part {
    unsigned mask;
    Meeting meeting;
};
std::deque<Part> parts[FIBERS / 32];  // whose entries stay where they are

struct Site {
    const void* key;
    unsigned at, bytes;
};
std::vector<Site> sites[16];
unsigned bump[16];

// In which order threads run: 0 as numbered, 1 the other way round, else by dice. Which of them is right does not depend on it, but a fault may show under one alone.
const unsigned seed = getenv("CUDA_ON_CPU_SEED") ? unsigned(atoi(getenv("CUDA_ON_CPU_SEED"))) : 0;
uint64_t dice;

extern "C" void sim_switch(void** save, void* to);
asm(".text\n.globl sim_switch\n.hidden sim_switch\nsim_switch:\n push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    " mov %rsp,(%rdi)\n mov %rsi,%rsp\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");

bool ready(const Fiber& f) { return !f.done && (!f.word || *f.word != f.value); }

[[noreturn]] void deadlock() {
    std::string all;
    unsigned named = 0;
    for (unsigned i = 0; i < count && named < 8; i++)
        if (!fibers[i].done && (i == 0 || fibers[i].waits != fibers[i - 1].waits || fibers[i].site != fibers[i - 1].site)) {
            all += (named++ ? "; " : "") + ("thread " + std::to_string(i)) + " at " + (fibers[i].waits ? fibers[i].waits : "nothing") + state_of_barrier(fibers[i].word);
        }
    // Told of the first that waits: the one that came last may have ended.
    self = std::find_if(fibers, fibers + count, [](const Fiber& f) { return !f.done; });
    fail(LAUNCH_FAILED, self->site, "deadlock: %s", all.c_str());
}

uint64_t roll() {
    dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
    return dice;
}

Fiber* next_ready() {
    unsigned from = self ? self->rank : count - 1;
    if (seed > 1) from = unsigned(roll() % count);
    for (unsigned i = 1; i <= count; i++) {
        unsigned at = seed == 1 ? (from + count - i) % count : (from + i) % count;
        if (ready(fibers[at])) return &fibers[at];
    }
    return nullptr;
}

void run_next() {
    Fiber *me = self, *next;
    if (seed > 1 && roll() % 4 == 0) complete_work();
    while (!(next = next_ready()))
        if (!complete_work()) deadlock();
    self = next;
    if (next != me) sim_switch(&me->sp, next->sp);
}

}  // namespace

// True where both addresses are of one line: the compiler may have made two calls of it.
bool same_line(const void* a, const void* b) {
    if (a == b) return true;
    static std::map<std::pair<const void*, const void*>, bool> known;
    auto [at, is_new] = known.try_emplace({a, b}, false);
    if (is_new) at->second = line_of(a) == line_of(b);
    return at->second;
}

void wait_while(const uint64_t* word, uint64_t value, const char* what, void* site) {
    self->word = word, self->value = value, self->waits = what, self->site = site;
    if (!ready(*self)) run_next();
    self->word = nullptr, self->waits = nullptr;
}

namespace {
void everyone_of_block(unsigned block) {
    unsigned ranks[1024], n = 0;
    for (unsigned i = 0; i < count; i++)
        if (fibers[i].block == block && !fibers[i].done) ranks[n++] = i;
    met(ranks, n);
}

// What waits for all that are left may be complete without the one that ends.
void leave(unsigned block) {
    Meeting& m = block_meeting[block];
    if (--block_live[block] && m.arrived == block_live[block]) {
        everyone_of_block(block);
        m.arrived = 0, m.turn++;
    }
}

void body() {
    launch->kernel->call(launch->parameters);
    Fiber* me = self;
    end_of_thread();
    me->done = true;
    leave(me->block);
    if (--live == 0) {
        end_of_unit();
        sim_switch(&me->sp, outside);
    }
    run_next();
    abort();
}

unsigned product(uint3 d) { return d.x * d.y * d.z; }

// The place of the `n`th of `extent`, x fastest.
uint3 place(unsigned n, uint3 extent) { return {n % extent.x, n / extent.x % extent.y, n / extent.x / extent.y}; }

void start_unit(uint3 first, const Launch& l) {
    const unsigned blocks = product(l.cluster), threads = product(l.block);
    count = live = blocks * threads;
    begin_unit(count);
    begin_asynchronous();
    for (unsigned b = 0; b < blocks; b++) {
        const uint3 in = place(b, l.cluster);
        block_of[b] = {first.x + in.x, first.y + in.y, first.z + in.z};
        block_meeting[b] = {}, block_live[b] = threads;
        sites[b].clear();
        bump[b] = (l.dynamic_bytes + 1023) / 1024 * 1024, shared_end[b] = bump[b];
    }
    for (unsigned i = 0; i < count; i++) {
        Fiber& f = fibers[i];
        f = Fiber{};
        f.thread = place(i % threads, l.block);
        f.rank = i, f.block = i / threads, f.lane = i % threads % 32;
        f.warp = f.block * ((threads + 31) / 32) + i % threads / 32;
        if (f.lane == 0) parts[f.warp].clear();
        // As sim_switch leaves it: six registers, where to go on, and a stack that is aligned as behind a call.
        void** top = reinterpret_cast<void**>(stacks + (i + 1) * STACK) - 1;
        *top = nullptr, *--top = reinterpret_cast<void*>(&body);
        f.sp = top - 6;
    }
    self = nullptr;
    self = next_ready();
    sim_switch(&outside, self->sp);
    self = nullptr;
}
}  // namespace

// The line of the call that returns to `pc`, and those that it is inlined in.
std::string line_of(const void* pc) {
    std::string where;
    Dl_info image;
    char command[512], line[512];
    if (!dladdr(reinterpret_cast<void*>(&run), &image)) return "an unknown line";
    snprintf(command, sizeof command, "addr2line -ise '%s' %#zx 2>/dev/null", image.dli_fname, size_t(static_cast<const char*>(pc) - static_cast<char*>(image.dli_fbase)) - 1);
    if (FILE* pipe = popen(command, "r")) {
        while (fgets(line, sizeof line, pipe)) {
            line[strcspn(line, " \n")] = 0;
            if (!strchr(line, '?') && !strstr(line, "cuda_on_cpu.h")) where += (where.empty() ? "" : " in ") + std::string(line);
        }
        pclose(pipe);
    }
    return where.empty() ? "an unknown line" : where;
}

void fail(Status why, const void* pc, const char* format, ...) {
    char text[1024];
    va_list rest;
    va_start(rest, format);
    vsnprintf(text, sizeof text, format, rest);
    va_end(rest);
    const std::string where = pc ? " at " + line_of(pc) : "";
    const uint3 b = block_of[self->block], t = self->thread;
    char head[512];
    snprintf(head, sizeof head, "%s block (%u, %u, %u) thread (%u, %u, %u)%s: ", launch->kernel->name, b.x, b.y, b.z, t.x, t.y, t.z, where.c_str());
    report = std::string(head) + text;
    status = why;
    void* nobody;
    sim_switch(&nobody, outside);
    abort();
}

std::string name_of(unsigned rank) {
    const uint3 t = fibers[rank].thread;
    char text[64];
    snprintf(text, sizeof text, "thread (%u, %u, %u)", t.x, t.y, t.z);
    return text;
}

bool completes_at_once() { return seed == 1 || (seed > 1 && roll() & 1 << 20); }
unsigned one_of(unsigned count) { return seed > 1 ? unsigned(roll() % count) : 0; }
bool takes_the_last() { return seed == 1; }

Status run(const Launch& l) {
    launch = &l;
    status = OK;
    dice = 0x9e3779b97f4a7c15 * (seed + 1);
    begin_launch();
    for (unsigned z = 0; z < l.grid.z && !status; z += l.cluster.z)
        for (unsigned y = 0; y < l.grid.y && !status; y += l.cluster.y)
            for (unsigned x = 0; x < l.grid.x && !status; x += l.cluster.x) start_unit({x, y, z}, l);
    launch = nullptr, self = nullptr;
    return status;
}

uint3 thread_index() { return self->thread; }
uint3 block_index() { return block_of[self->block]; }
uint3 block_extent() { return launch->block; }
uint3 grid_extent() { return launch->grid; }
unsigned lane() { return self->lane; }

void* shared(const void* site, size_t bytes, size_t alignment, const char* name) {
    const unsigned block = self->block;
    for (const Site& s : sites[block])
        if (s.key == site) return shared_base(block) + s.at;
    // A gap between two arrays, that one which is overrun is seen.
    const unsigned at = unsigned((bump[block] + alignment - 1) / alignment * alignment);
    bump[block] = unsigned(at + bytes + 64);
    if (bump[block] - (launch->dynamic_bytes + 1023) / 1024 * 1024 - 64 * (sites[block].size() + 1) > (48 << 10)) fail(OUT_OF_RESOURCES, __builtin_return_address(0), "static shared memory of more than 48 KiB with `%s`", name);
    shared_end[block] = bump[block];
    sites[block].push_back({site, at, unsigned(bytes)});
    return shared_base(block) + at;
}

void* dynamic_shared(size_t bytes) {
    if (bytes > launch->dynamic_bytes) fail(ILLEGAL_ADDRESS, __builtin_return_address(0), "wants %zu bytes of dynamic shared memory, launched with %u", bytes, launch->dynamic_bytes);
    return shared_base(self->block);
}

bool of_static_shared(unsigned block, unsigned at) {
    for (const Site& s : sites[block])
        if (at >= s.at && at < s.at + s.bytes) return true;
    return false;
}

void meet_lanes(unsigned mask, void* site, const char* what, bool orders, void (*work)(Fiber*)) {
    const unsigned first = self->rank - self->lane, block = self->block;
    unsigned there = 0, ended = 0;
    for (unsigned l = 0; l < 32 && first + l < count && fibers[first + l].block == block; l++) (fibers[first + l].done ? ended : there) |= 1u << l;
    if (!(mask >> self->lane & 1)) fail(LAUNCH_FAILED, site, "%s without its own lane in the mask %#x", what, mask);
    if (mask & ended) fail(LAUNCH_FAILED, site, "%s with the mask %#x, though lanes %#x have ended", what, mask, ended);
    // A mask of all lanes is said by warps that are cut short, too.
    const unsigned wanted = mask & there;
    size_t k = 0;
    while (k < parts[self->warp].size() && parts[self->warp][k].mask != wanted) k++;
    if (k == parts[self->warp].size()) parts[self->warp].push_back({wanted, {}});
    Meeting& m = parts[self->warp][k].meeting;
    if (m.arrived == 0) m.site = site;
    if (!same_line(m.site, site)) fail(LAUNCH_FAILED, site, "%s where other lanes of its warp wait elsewhere", what);
    if (++m.arrived < unsigned(__builtin_popcount(wanted))) return wait_while(&m.turn, m.turn, what, site);
    if (orders) {
        unsigned ranks[32], n = 0;
        for (unsigned l = 0; l < 32; l++)
            if (wanted >> l & 1) ranks[n++] = first + l;
        met(ranks, n);
    }
    if (work) work(&fibers[first]);
    m.arrived = 0, m.turn++;
}

void exchange(unsigned mask, const void* in, void* out, unsigned bytes, int from) {
    Fiber* me = self;
    const unsigned phase = me->phase++ & 1;
    memcpy(me->slot[phase], in, bytes);
    void* site = __builtin_return_address(0);
    meet_lanes(mask, site, "a shuffle", false);
    if (from < 0 || from > 31 || !(mask >> from & 1)) fail(LAUNCH_FAILED, site, "a shuffle from lane %d, which is not in the mask %#x", from, mask);
    const Fiber& other = fibers[me->rank - me->lane + unsigned(from)];
    if (me->rank - me->lane + unsigned(from) >= count || other.block != me->block) fail(LAUNCH_FAILED, site, "a shuffle from lane %d, which the block does not have", from);
    memcpy(out, other.slot[phase], bytes);
}

void gather(unsigned mask, unsigned in, unsigned (&out)[32]) {
    Fiber* me = self;
    const unsigned phase = me->phase++ & 1;
    memcpy(me->slot[phase], &in, sizeof in);
    meet_lanes(mask, __builtin_return_address(0), "a vote", false);
    const unsigned first = me->rank - me->lane;
    for (unsigned l = 0; l < 32; l++)
        if (mask >> l & 1 && first + l < count && fibers[first + l].block == me->block) memcpy(&out[l], fibers[first + l].slot[phase], sizeof in);
}

unsigned atomic32(unsigned* p, Atomic what, unsigned value, unsigned expected, bool is_signed) {
    accessed(p, 4, true, true, __builtin_return_address(0));
    const unsigned old = *p;
    const bool less = is_signed ? int(old) < int(value) : old < value;
    switch (what) {
        case Atomic::Add: *p = old + value; break;
        case Atomic::Max: if (less) *p = value; break;
        case Atomic::Min: if (!less) *p = value; break;
        case Atomic::Or: *p = old | value; break;
        case Atomic::Exchange: *p = value; break;
        case Atomic::CompareAndSwap: if (old == expected) *p = value; break;
    }
    return old;
}

unsigned long long atomic64(unsigned long long* p, Atomic what, unsigned long long value, unsigned long long expected) {
    accessed(p, 8, true, true, __builtin_return_address(0));
    const unsigned long long old = *p;
    switch (what) {
        case Atomic::Add: *p = old + value; break;
        case Atomic::Max: if (old < value) *p = value; break;
        case Atomic::Min: if (old > value) *p = value; break;
        case Atomic::Or: *p = old | value; break;
        case Atomic::Exchange: *p = value; break;
        case Atomic::CompareAndSwap: if (old == expected) *p = value; break;
    }
    return old;
}
}  // namespace sim

using namespace sim;

void __syncthreads() {
    Meeting& m = block_meeting[self->block];
    void* site = __builtin_return_address(0);
    if (m.arrived == 0) m.site = site;
    if (!same_line(m.site, site)) fail(LAUNCH_FAILED, site, "__syncthreads() where other threads of the block wait at another");
    if (++m.arrived == block_live[self->block]) {
        everyone_of_block(self->block);
        m.arrived = 0, m.turn++;
        return;
    }
    wait_while(&m.turn, m.turn, "__syncthreads()", site);
}

void __syncwarp(unsigned mask) { meet_lanes(mask, __builtin_return_address(0), "__syncwarp()", true); }
