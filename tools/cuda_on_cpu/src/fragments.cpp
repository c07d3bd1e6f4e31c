// ldmatrix and mma.sync: the layouts of the PTX documentation, sections "ldmatrix" and "Matrix Fragments for mma.m16n8k16 with floating point type".
//
// Each lane offers what it has, and the last one that comes does the work of all: their registers lie on the threads' stacks.
#include "state.h"
#include <algorithm>

namespace sim {
namespace {
struct Rows {
    unsigned* registers;
    unsigned count;
    bool transposed;
    const char* row;
    void* site;
};

// Calls `each` with every lane as the thread that acts, and what it offers.
template <class Offer, class Each> void for_lanes(Fiber* first, Each each) {
    Fiber* me = self;
    for (unsigned l = 0; l < 32; l++) self = &first[l], each(l, *static_cast<Offer*>(first[l].offer));
    self = me;
}

void hand_out(Fiber* first) {
    const Rows like = *static_cast<Rows*>(first->offer);
    const char* rows[32];
    for_lanes<Rows>(first, [&](unsigned l, const Rows& r) {
        if (r.count != like.count || r.transposed != like.transposed) fail(LAUNCH_FAILED, r.site, "ldmatrix of another kind than lane 0's");
        rows[l] = r.row;
        if (l >= 8 * r.count) return;
        if (uintptr_t(r.row) % 16) fail(MISALIGNED, r.site, "ldmatrix: row %u of matrix %u at %p, which is not aligned to 16 bytes", l % 8, l / 8, static_cast<const void*>(r.row));
        if (!in_shared(r.row)) fail(ILLEGAL_ADDRESS, r.site, "ldmatrix from %p, which is no shared memory", static_cast<const void*>(r.row));
    });
    for_lanes<Rows>(first, [&](unsigned l, const Rows& r) {
        for (unsigned i = 0; i < r.count; i++) {
            if (r.transposed) {
                unsigned short pair[2];
                for (unsigned k = 0; k < 2; k++) {
                    const char* from = rows[8 * i + l % 4 * 2 + k] + l / 4 * 2;
                    accessed(from, 2, false, false, r.site);
                    memcpy(&pair[k], from, 2);
                }
                memcpy(&r.registers[i], pair, 4);
            } else {
                const char* from = rows[8 * i + l / 4] + l % 4 * 4;
                accessed(from, 4, false, false, r.site);
                memcpy(&r.registers[i], from, 4);
            }
        }
    });
}

struct Factors {
    Half half;
    float* d;
    const unsigned *a, *b;
    void* site;
};

// The lower or the upper half of a register, as a number.
float number(Half half, unsigned word, unsigned upper) {
    const auto bits = static_cast<unsigned short>(word >> 16 * upper);
    return half == Half::BF16 ? cuda_on_cpu_bits<float>(unsigned(bits) << 16) : float(cuda_on_cpu_bits<_Float16>(bits));
}

void sum_up(Fiber* first) {
    const Half half = static_cast<Factors*>(first->offer)->half;
    float a[16][16], b[16][8], d[16][8];
    for_lanes<Factors>(first, [&](unsigned l, const Factors& f) {
        if (f.half != half) fail(LAUNCH_FAILED, f.site, "mma of another kind than lane 0's");
        const unsigned row = l / 4, k = l % 4 * 2;
        for (unsigned i = 0; i < 8; i++) a[row + i / 2 % 2 * 8][k + i / 4 * 8 + i % 2] = number(half, f.a[i / 2], i % 2);
        for (unsigned i = 0; i < 4; i++) b[k + i / 2 * 8 + i % 2][l / 4] = number(half, f.b[i / 2], i % 2), d[row + i / 2 * 8][k + i % 2] = f.d[i];
    });
    for (unsigned row = 0; row < 16; row++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned column = 0; column < 8; column++) d[row][column] += a[row][k] * b[k][column];
    for_lanes<Factors>(first, [&](unsigned l, const Factors& f) {
        for (unsigned i = 0; i < 4; i++) f.d[i] = d[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
    });
}

void together(void* offer, void* site, const char* what, void (*work)(Fiber*)) {
    const unsigned threads = launch->block.x * launch->block.y * launch->block.z;
    if (self->rank % threads - self->lane + 32 > threads) fail(LAUNCH_FAILED, site, "%s in a warp that has not all of its lanes", what);
    self->offer = offer;
    meet_lanes(~0u, site, what, false, work);
}
}  // namespace

void load_matrices(unsigned* registers, unsigned count, bool transposed, const void* row) {
    void* site = __builtin_return_address(0);
    Rows mine{registers, count, transposed, static_cast<const char*>(row), site};
    together(&mine, site, "ldmatrix", hand_out);
}

void multiply(Half half, float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    void* site = __builtin_return_address(0);
    Factors mine{half, d, a, b, site};
    together(&mine, site, "mma", sum_up);
}
}  // namespace sim
