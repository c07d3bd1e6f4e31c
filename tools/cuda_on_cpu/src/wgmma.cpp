// Products on the tensor cores of a warpgroup: wgmma.mma_async, m64 by n by k16, of 16-bit numbers with sums in f32.
//
// The sums are computed when the warpgroup has said a product, and kept from its threads until they wait for it: their registers hold NaN up to then, and to touch
// them is an error. A product's reads of shared memory count as made until then, too. Descriptors are taken apart as the PTX manual has them; where a number lies
// follows from their fields alone.
#include "asynchronous.h"
#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <limits>
#include <memory>

namespace sim {
bool registers_are_watched;

namespace {
constexpr unsigned THREADS = 128, M = 64, K = 16;
const char* const NAME = "a wgmma.mma_async";

// Sums of a warpgroup that products under way add to: of each thread, where its registers are and what they will be.
struct Sums {
    unsigned n;
    std::array<float*, THREADS> at;
    std::vector<float> of[THREADS];
};
struct Work {
    std::shared_ptr<Sums> sums;
    std::array<const unsigned*, THREADS> a;  // registers, or null
    Moment moment;
};
// Registers that a thread gave to a product.
struct Registers {
    const char* at;
    size_t bytes;
    bool are_sums;
    unsigned in_flight;
    // Since the last fence.
    bool touched;
};
struct Thread {
    std::vector<Registers> registers;
    // A wgmma.fence since the thread began or last waited.
    bool has_fenced;
    // Products so far, and how many of them each group that is not waited for ends with; those that it waited for.
    size_t said, waited;
    std::deque<size_t> groups;
};
struct Group {
    std::deque<Work> work;
    // The number of the first of `work` among all products of the warpgroup.
    size_t first;
    const Product* told[THREADS];
    float* sums[THREADS];
};
std::vector<Thread> threads;
std::vector<Group> groups;

unsigned in_group() { return self->rank % (launch->block.x * launch->block.y * launch->block.z) % THREADS; }

Registers& registers_of(Thread& t, const void* at, size_t bytes, bool are_sums, void* site) {
    for (Registers& r : t.registers)
        if (r.at == at && r.bytes == bytes && r.are_sums == are_sums) {
            if (!r.in_flight && r.touched) fail(LAUNCH_FAILED, site, "%s of registers that were used since the last wgmma.fence", NAME);
            return r;
        }
    if (!t.has_fenced) fail(LAUNCH_FAILED, site, "%s with no wgmma.fence between it and earlier uses of its registers", NAME);
    t.registers.push_back({static_cast<const char*>(at), bytes, are_sums, 0, false});
    return t.registers.back();
}

// A matrix descriptor, field by field.
struct Descriptor {
    unsigned start, leading, stride, base, swizzle;
    explicit Descriptor(unsigned long long d)
        : start(unsigned(d & 0x3fff) << 4), leading(unsigned(d >> 16 & 0x3fff) << 4), stride(unsigned(d >> 32 & 0x3fff) << 4), base(unsigned(d >> 49 & 7)), swizzle(unsigned(d >> 62)) {}
    // How often a swizzle's pattern repeats: eight rows of its width.
    unsigned pattern() const { return 128u << log(); }
    // log2 of the swizzle's chunks of 16 bytes: fields say 1 for 128 bytes, 2 for 64, 3 for 32.
    unsigned log() const { return swizzle ? 4 - swizzle : 0; }

    // Of the 16 bytes that hold element (i, k); i is along M or N. `within` is where among the eight in them it is.
    unsigned chunk(unsigned i, unsigned k, bool across, unsigned& within) const {
        const unsigned chunks = 1u << log();
        unsigned at;
        if (!across) {  // K is contiguous: cores of eight rows by 16 bytes
            within = k % 8;
            at = i / 8 * stride + i % 8 * (chunks * 16) + (swizzle ? k / 8 * 16 : k / 8 * leading);
        } else {  // M or N is: rows of `chunks` by eight k
            within = i % 8;
            const unsigned c = i / 8;
            at = swizzle ? c % chunks * 16 + c / chunks * leading + k % 8 * (chunks * 16) + k / 8 * stride : c * stride + k % 8 * 16 + k / 8 * leading;
        }
        at += start;
        return at ^ (at >> 7 & (chunks - 1)) << 4;
    }
};

float number(uint16_t bits, bool is_bf16) { return is_bf16 ? cuda_on_cpu_bits<float>(uint32_t(bits) << 16) : float(cuda_on_cpu_bits<_Float16>(bits)); }

// The manual has the base offset say in which row of eight (of 128 bytes) a swizzle's pattern starts where that is no multiple of the pattern's bytes, and leaves open
// how addresses follow from it. Here patterns start at such multiples, as what the tensor memory accelerator writes does, each eight rows or k anew, and the base
// offset is 0; anything else is an error, the field's use as well as its want.
void check_pattern(const Descriptor& d, unsigned rows, bool across, void* site) {
    if (d.base) fail(LAUNCH_FAILED, site, "%s: a descriptor with a base offset of %u: a swizzle's pattern that starts at byte %u of 1024 is not known here", NAME, d.base, d.base << 7);
    if (!d.swizzle) return;
    if (d.start % d.pattern() >> 7)
        fail(LAUNCH_FAILED, site, "%s: a descriptor's start %u is not in the first 128 bytes of its swizzle's pattern of %u bytes, and its base offset is 0", NAME, d.start, d.pattern());
    const bool has_leading = across && rows > 8u << d.log();
    if (d.stride % d.pattern() || (has_leading && d.leading % d.pattern()))
        fail(LAUNCH_FAILED, site, "%s: a descriptor's stride %u or leading %u is no multiple of %u bytes, by which its swizzle's pattern repeats", NAME, d.stride, d.leading, d.pattern());
}

// A factor of `rows` along M or N from shared memory, as [k][row].
void read_shared(float* to, unsigned rows, unsigned long long bits, bool across, bool is_bf16, Moment moment, const View& view, void* site) {
    const Descriptor d(bits);
    if (bits & 0xc000'c000'c000ull || bits >> 46 & 7 || bits >> 52 & 0x3ff) fail(LAUNCH_FAILED, site, "%s: a descriptor of %#llx, where bits are set that say nothing", NAME, bits);
    check_pattern(d, rows, across, site);
    const char* base = shared_base(self->block);
    for (unsigned i = 0; i < rows; i += across ? 8 : 1)
        for (unsigned k = 0; k < K; k += across ? 1 : 8) {
            unsigned within;
            const unsigned at = d.chunk(i, k, across, within);
            if (at + 16 > SHARED_EACH) fail(ILLEGAL_ADDRESS, site, "%s: a descriptor that leads to byte %u of shared memory", NAME, at);
            worked(base + at, 16, false, moment, view, site);
            uint16_t eight[8];
            memcpy(eight, base + at, 16);
            for (unsigned e = 0; e < 8; e++) to[across ? k * rows + i + e : (k + e) * rows + i] = number(eight[e], is_bf16);
        }
}

// A from registers: thread t has rows t / 4 and 8 below in its warp's 16, columns 2 (t % 4) and the next, and 8 to the right.
void read_registers(float* to, const Work& w, bool is_bf16) {
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned half = 0; half < 8; half++) {
            const unsigned row = t / 32 * 16 + t % 32 / 4 + half / 2 % 2 * 8, k = t % 4 * 2 + half % 2 + half / 4 * 8;
            to[k * M + row] = number(uint16_t(w.a[t][half / 2] >> 16 * (half % 2)), is_bf16);
        }
}

__attribute__((optimize("O3"))) void multiply(float* sums, const float* a, const float* b, unsigned n) {
    for (unsigned row = 0; row < M; row++)
        for (unsigned k = 0; k < K; k++) {
            const float left = a[k * M + row];
            for (unsigned column = 0; column < n; column++) sums[row * n + column] += left * b[k * n + column];
        }
}

// Of register i of thread t: its row and column among the sums.
unsigned place(unsigned t, unsigned i, unsigned n) { return (t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8) * n + i / 4 * 8 + t % 4 * 2 + i % 2; }

// The warpgroup's product, all of whose threads have said it.
void perform(Group& g, unsigned number_of_group, const char* site_of) {
    void* site = const_cast<char*>(site_of);
    const Product& p = *g.told[0];
    const unsigned first = self->rank - in_group();
    for (unsigned t = 1; t < THREADS; t++) {
        const Product& q = *g.told[t];
        if (q.a != p.a || q.b != p.b || q.n != p.n || q.accumulates != p.accumulates) fail(LAUNCH_FAILED, site, "%s for which threads 0 and %u of the warpgroup give different descriptors", NAME, t);
    }
    std::shared_ptr<Sums> sums;
    for (const Work& w : g.work)
        if (w.sums->at[0] == g.sums[0]) sums = w.sums;
    if (sums && sums->n != p.n) fail(LAUNCH_FAILED, site, "%s of another shape than the one that is under way for the same registers", NAME);
    if (!sums) {
        sums = std::make_shared<Sums>();
        sums->n = p.n;
        for (unsigned t = 0; t < THREADS; t++) sums->at[t] = g.sums[t], sums->of[t].assign(g.sums[t], g.sums[t] + p.n / 2);
    }
    Work w{sums, {}, begin_work(number_of_group, NAME)};
    unsigned ranks[THREADS];
    for (unsigned t = 0; t < THREADS; t++) {
        if (sums->at[t] != g.sums[t]) fail(LAUNCH_FAILED, site, "%s of other registers in thread %u of the warpgroup", NAME, t);
        w.a[t] = g.told[t]->registers, ranks[t] = first + t;
    }
    const View known = common_view(ranks, THREADS);
    static float a[K * M], b[K * 256], all[M * 256];
    if (p.registers) read_registers(a, w, p.is_bf16);
    else read_shared(a, M, p.a, p.a_across, p.is_bf16, w.moment, known, site);
    read_shared(b, p.n, p.b, p.b_across, p.is_bf16, w.moment, known, site);
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned i = 0; i < p.n / 2; i++) all[place(t, i, p.n)] = p.accumulates ? sums->of[t][i] : 0;
    multiply(all, a, b, p.n);
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned i = 0; i < p.n / 2; i++) {
            sums->of[t][i] = all[place(t, i, p.n)];
            sums->at[t][i] = std::numeric_limits<float>::quiet_NaN();
        }
    g.work.push_back(std::move(w));
}
}  // namespace

void begin_products() {
    registers_are_watched = false;
    if (launch->kernel->arch < 90) return;
    threads.assign(count, {}), groups.clear(), groups.resize(FIRST_ANY);
}

void register_accessed(const void* p, size_t bytes, bool write, const void* pc) {
    for (Registers& r : threads[self->rank].registers) {
        if (static_cast<const char*>(p) >= r.at + r.bytes || static_cast<const char*>(p) + bytes <= r.at) continue;
        if (r.in_flight && (r.are_sums || write)) fail(LAUNCH_FAILED, pc, "%s a register that %s under way %s: no wgmma.wait_group for it", write ? "writes" : "reads", NAME, r.are_sums ? "adds to" : "reads");
        // To read what was read only orders nothing.
        if (r.are_sums || write) r.touched = true;
    }
}

void wgmma(float* sums, const Product& p) {
    void* site = __builtin_return_address(0);
    if (p.n < 8 || p.n > 256 || p.n % 8) fail(LAUNCH_FAILED, site, "%s with n = %u", NAME, p.n);
    const unsigned number_of_group = warpgroup(NAME, site);
    registers_are_watched = true;
    Thread& t = threads[self->rank];
    registers_of(t, sums, p.n / 2 * sizeof(float), true, site).in_flight++;
    if (p.registers) registers_of(t, p.registers, 4 * sizeof(unsigned), false, site).in_flight++;
    t.said++;
    Group& g = groups[number_of_group];
    g.told[in_group()] = &p, g.sums[in_group()] = sums;
    with_warpgroup(NAME, site, [&] { perform(g, number_of_group, static_cast<char*>(site)); });
}

void wgmma_fence() {
    warpgroup("wgmma.fence", __builtin_return_address(0));
    Thread& t = threads[self->rank];
    t.has_fenced = true;
    for (Registers& r : t.registers) r.touched = false;
}

void wgmma_commit() {
    warpgroup("wgmma.commit_group", __builtin_return_address(0));
    threads[self->rank].groups.push_back(threads[self->rank].said);
}

void wgmma_wait(unsigned pending) {
    Group& g = groups[warpgroup("wgmma.wait_group", __builtin_return_address(0))];
    Thread& t = threads[self->rank];
    for (; t.groups.size() > pending; t.groups.pop_front())
        for (; t.waited < t.groups.front(); t.waited++) {
            const Work& w = g.work[t.waited - g.first];
            finish(w.moment);
            for (Registers& r : t.registers) {
                const bool of_sums = r.are_sums && r.at == reinterpret_cast<const char*>(w.sums->at[in_group()]);
                if (!of_sums && !(!r.are_sums && r.at == reinterpret_cast<const char*>(w.a[in_group()]))) continue;
                r.in_flight--;
                if (of_sums && !r.in_flight) memcpy(w.sums->at[in_group()], w.sums->of[in_group()].data(), r.bytes);
            }
        }
    // What all have waited for is forgotten.
    const unsigned first = self->rank - in_group();
    size_t all = t.waited;
    for (unsigned i = 0; i < THREADS; i++) all = std::min(all, threads[first + i].waited);
    for (; g.first < all; g.first++) g.work.pop_front();
    t.has_fenced = false;
}

void end_of_products() {
    if (launch->kernel->arch >= 90 && threads[self->rank].waited < threads[self->rank].said) fail(LAUNCH_FAILED, nullptr, "ends while %s is under way", NAME);
}
}  // namespace sim
