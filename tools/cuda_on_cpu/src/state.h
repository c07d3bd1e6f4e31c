// What the emulator's parts know of each other.
#pragma once
#include "../include/cuda_on_cpu.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace sim {
// A CUDA thread. The threads of a launch's block, or of its cluster, are there together; their number is `rank`.
struct Fiber {
    void* sp;
    uint3 thread;
    unsigned rank, block, warp, lane;
    bool done;
    // It goes on when *word is no longer `value`.
    const uint64_t* word;
    uint64_t value;
    // Why it waits, and where it was told to: compared among those that meet.
    const char* waits;
    void* site;
    // What it hands to the other lanes of its warp: two by turns, so that one exchange's reader is not overtaken by the next one's writer.
    unsigned phase;
    alignas(16) unsigned char slot[2][16];
    // What it gives to a warp's common work: see meet_lanes.
    void* offer;
};
extern Fiber* self;
constexpr unsigned FIBERS = 4096;
extern Fiber fibers[FIBERS];
extern unsigned count;  // of the fibers that are there
// Waits until *word is no longer `value`.
void wait_while(const uint64_t* word, uint64_t value, const char* what, void* site);
bool same_line(const void* a, const void* b);

struct Launch {
    const Kernel* kernel;
    uint3 grid, block, cluster;
    unsigned dynamic_bytes;
    bool overlaps;  // it may begin before the launch before it has ended
    void** parameters;
};
extern const Launch* launch;
extern uint3 block_of[16];  // the blocks of the cluster that is there now

enum Status { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101, NO_BINARY = 209, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, OUT_OF_RESOURCES = 701, MISALIGNED = 716, LAUNCH_FAILED = 719, CAPTURE_UNSUPPORTED = 900 };

// Runs a launch to its end; what is wrong with it is a status, and the text of `report`.
Status run(const Launch&);
extern std::string report;
std::string line_of(const void* pc);
// Ends the launch that is under way.
[[noreturn, gnu::format(printf, 3, 4)]] void fail(Status, const void* pc, const char* format, ...);
std::string name_of(unsigned rank);
// Waits for the other lanes of the mask; with `orders`, what any of them did before is done for all of them after. The last one that comes does `work` before
// anybody goes on, with the warp's first lane.
void meet_lanes(unsigned mask, void* site, const char* what, bool orders, void (*work)(Fiber*) = nullptr);
// Whether what may be done late is done at once: by CUDA_ON_CPU_SEED 0 never, 1 always, else by dice.
bool completes_at_once();

// Whether what may be done late is done at once: by CUDA_ON_CPU_SEED 0 never, 1 always, else by dice.
bool completes_at_once();
// Which of some that could be next is: 0 but for dice.
unsigned one_of(unsigned count);
// Whether what is left open falls to the last of all.
bool takes_the_last();

// Changes a launch as CUDA_ON_CPU_ALTER says (alter.cpp); notes that one was done (launches.cpp).
void alter(const char* kernel, unsigned& grid, unsigned& block, unsigned& dynamic_bytes, bool& overlaps, std::vector<std::vector<unsigned char>>& parameters);
void launched(const Kernel&);

// --- Memory (memory.cpp)
constexpr size_t SHARED_MOST = 227 << 10, SHARED_EACH = 256 << 10;
extern char *arena, *stacks;
extern size_t arena_bytes;
constexpr size_t STACK = 64 << 10;
void* allocate(size_t bytes);
bool release(void*);
bool is_device(const void* p, size_t bytes);
// Bytes that the host wrote; `defined` is false for what stands for nothing.
void host_wrote(void* p, size_t bytes, bool defined);
// False where some of these bytes of the device nobody wrote.
bool is_defined(const void* p, size_t bytes);
size_t in_use();
inline char* shared_base(unsigned block) { return arena + block * SHARED_EACH; }
inline bool in_shared(const void* p) { return size_t(static_cast<const char*>(p) - arena) < 16 * SHARED_EACH; }
// Text for the place of an access, as someone who wrote the kernel would name it.
std::string place(const void*);
// Shared memory of each block ends at `bytes`; nothing was written there yet.
void begin_launch();
void begin_unit(unsigned threads);
extern unsigned shared_end[16];

// --- What happened before what. Empty where kernels are not instrumented.
extern const bool checked;
// All of these met: each knows from now on what any of them had done.
void met(const unsigned* ranks, unsigned count);
void accessed(const void* p, size_t bytes, bool write, bool atomic, const void* pc);

// --- Copies that nobody waited for yet (copies.cpp)
extern unsigned copies_under_way;
void begin_copies(unsigned threads);
// Fails where an access meets one of them.
void look_at_copies(const void* p, size_t bytes, bool write, const void* pc);
}  // namespace sim
