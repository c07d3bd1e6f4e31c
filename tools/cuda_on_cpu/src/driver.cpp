// The CUDA driver API as far as the library calls it, on top of the emulator. What a call has to be refused for is refused as the real driver does;
// a kernel that goes wrong leaves an error that every later call returns, as a lost context does.
//
// Streams do their work at once, so nothing is learnt here of an order between two streams. Captured work is kept, and done when its graph is launched.
#include "state.h"
#include <chrono>
#include <memory>
#include <mutex>

namespace {
using namespace sim;
std::recursive_mutex mutex;
int sticky = OK;
const int arch = getenv("CUDA_ON_CPU_ARCH") ? atoi(getenv("CUDA_ON_CPU_ARCH")) : 90;

struct Function {
    const Kernel* kernel;
    unsigned most_dynamic = 48 << 10;
};
// A launch or a copy that a graph keeps, with its own copy of all it needs.
struct Work {
    Function* function;
    Launch launch;
    std::vector<std::vector<unsigned char>> parameters;
    void *to, *from;
    size_t bytes;
    unsigned word;
};
struct Graph { std::vector<Work> work; };
struct Stream {
    std::unique_ptr<Graph> capture;
};
struct Event { std::chrono::steady_clock::time_point at; };
Stream default_stream;
Stream* stream_of(void* s) { return s ? static_cast<Stream*>(s) : &default_stream; }
// What stands for "nothing yet", by the words that a checked session lays down: reading it is an error, as reading fresh memory is.
bool is_undefined(unsigned word) { return word == 0x7fc07fc0 || word == 0x80008000; }

int perform(Work& w) {
    if (!w.function) {
        if (w.from) memcpy(w.to, w.from, w.bytes);
        else for (size_t i = 0; i < w.bytes; i += 4) memcpy(static_cast<char*>(w.to) + i, &w.word, 4);
        host_wrote(w.to, w.bytes, w.from || !is_undefined(w.word));
        return OK;
    }
    std::vector<void*> pointers;
    for (auto& p : w.parameters) pointers.push_back(p.data());
    w.launch.parameters = pointers.data();
    if (Status status = run(w.launch)) {
        fprintf(stderr, "cuda_on_cpu: %s\n", report.c_str());
        sticky = status;
    }
    return OK;
}

int submit(void* stream, Work w) {
    if (sticky) return sticky;
    Stream* s = stream_of(stream);
    if (!s->capture) return perform(w);
    s->capture->work.push_back(std::move(w));
    return OK;
}

// The check of a launch's arguments that only a compiler could make otherwise.
int refuse(const char* name, const std::string& why) {
    report = std::string(name) + ": " + why;
    fprintf(stderr, "cuda_on_cpu: %s\n", report.c_str());
    return INVALID_VALUE;
}
}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int
#define LOCKED std::lock_guard<std::recursive_mutex> guard(mutex)
#define HEALTHY LOCKED; if (sticky) return sticky
using Pointer = unsigned long long;

API cuInit(unsigned) { return getenv("CUDA_ON_CPU_NO_DEVICE") ? NO_DEVICE : OK; }
API cuDriverGetVersion(int* v) { *v = getenv("CUDA_ON_CPU_DRIVER") ? atoi(getenv("CUDA_ON_CPU_DRIVER")) : 13000; return OK; }
// NVRTC asks any driver that it finds for this, and does without it; what it finds it calls without a look.
API cuGetExportTable(const void** table, const void*) { if (table) *table = nullptr; return NOT_FOUND; }
API cuDeviceGetCount(int* n) { *n = 1; return OK; }
API cuDeviceGet(int* d, int ordinal) { *d = ordinal; return ordinal == 0 ? OK : INVALID_DEVICE; }
API cuDeviceGetName(char* s, int n, int) { snprintf(s, size_t(n), "CUDA on CPU (sm_%d)", arch); return OK; }
API cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = arena_bytes; return OK; }
API cuDeviceGetAttribute(int* v, int attribute, int) {
    switch (attribute) {
        case 1: *v = 1024; break;                       // threads a block
        case 2: case 3: *v = 1024; break;               // block extents
        case 4: *v = 64; break;
        case 5: *v = 0x7fffffff; break;                 // grid extents
        case 6: case 7: *v = 65535; break;
        case 8: *v = 48 << 10; break;                   // shared memory a block
        case 10: *v = 32; break;                        // lanes a warp
        case 16: *v = 4; break;                         // multiprocessors
        case 75: *v = arch / 10; break;
        case 76: *v = arch % 10; break;
        case 97: *v = arch >= 90 ? 227 << 10 : 163 << 10; break;  // the same, where asked for
        case 115: *v = 1; break;                        // memory pools
        default: *v = 0;
    }
    return OK;
}
API cuDevicePrimaryCtxRetain(void** c, int) { static int context; *c = &context; return OK; }
API cuDevicePrimaryCtxRelease_v2(int) { return OK; }
API cuCtxSetCurrent(void*) { return OK; }
API cuCtxSynchronize() { HEALTHY; return OK; }
API cuMemGetInfo_v2(size_t* free, size_t* total) { LOCKED; *total = arena_bytes, *free = arena_bytes - in_use(); return OK; }

API cuStreamCreate(void** s, unsigned) { HEALTHY; *s = new Stream; return OK; }
API cuStreamDestroy_v2(void* s) { LOCKED; delete static_cast<Stream*>(s); return OK; }
API cuStreamSynchronize(void* s) { HEALTHY; return stream_of(s)->capture ? int(CAPTURE_UNSUPPORTED) : int(OK); }
API cuStreamWaitEvent(void*, void*, unsigned) { HEALTHY; return OK; }
API cuEventCreate(void** e, unsigned) { HEALTHY; *e = new Event; return OK; }
API cuEventDestroy_v2(void* e) { LOCKED; delete static_cast<Event*>(e); return OK; }
API cuEventRecord(void* e, void*) { HEALTHY; static_cast<Event*>(e)->at = std::chrono::steady_clock::now(); return OK; }
API cuEventSynchronize(void*) { HEALTHY; return OK; }
API cuEventElapsedTime(float* ms, void* from, void* to) { HEALTHY; *ms = std::chrono::duration<float, std::milli>(static_cast<Event*>(to)->at - static_cast<Event*>(from)->at).count(); return OK; }

API cuMemAlloc_v2(Pointer* p, size_t bytes) {
    HEALTHY;
    if (!bytes) return INVALID_VALUE;
    void* made = allocate(bytes);
    if (!made) return OUT_OF_MEMORY;
    *p = Pointer(made);
    return OK;
}
API cuMemFree_v2(Pointer p) { LOCKED; return !p || release(reinterpret_cast<void*>(p)) ? OK : INVALID_VALUE; }
API cuMemAllocHost_v2(void** p, size_t bytes) { *p = malloc(bytes); return *p ? OK : OUT_OF_MEMORY; }
API cuMemFreeHost(void* p) { free(p); return OK; }
static int copy(void* stream, void* to, const void* from, size_t bytes, bool to_device, bool from_device) {
    if (!bytes) return OK;
    if ((to_device && !is_device(to, bytes)) || (from_device && !is_device(from, bytes))) return INVALID_VALUE;
    if (!to_device) {
        if (stream_of(stream)->capture) return CAPTURE_UNSUPPORTED;
        if (sticky) return sticky;
        memcpy(to, from, bytes);
        return OK;
    }
    return submit(stream, {nullptr, {}, {}, to, const_cast<void*>(from), bytes, 0});
}
API cuMemcpyHtoD_v2(Pointer to, const void* from, size_t bytes) { LOCKED; return copy(nullptr, reinterpret_cast<void*>(to), from, bytes, true, false); }
API cuMemcpyDtoH_v2(void* to, Pointer from, size_t bytes) { LOCKED; return copy(nullptr, to, reinterpret_cast<void*>(from), bytes, false, true); }
API cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* s) { LOCKED; return copy(s, reinterpret_cast<void*>(to), from, bytes, true, false); }
API cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* s) { LOCKED; return copy(s, to, reinterpret_cast<void*>(from), bytes, false, true); }
API cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* s) { LOCKED; return copy(s, reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes, true, true); }
API cuMemsetD32Async(Pointer to, unsigned word, size_t n, void* s) {
    LOCKED;
    if (to % 4 || !is_device(reinterpret_cast<void*>(to), 4 * n)) return INVALID_VALUE;
    return n ? submit(s, {nullptr, {}, {}, reinterpret_cast<void*>(to), nullptr, 4 * n, word}) : int(OK);
}

// An image says nothing here: all kernels are in this library. Its bytes are what the real driver would be given.
// All kernels are in here, so an image is looked at only to be refused: CUDA_ON_CPU_REFUSE=first the first fatbin, as by a driver that takes PTX alone,
// =fatbins every fatbin, =all everything.
API cuModuleLoadData(void** m, const void* image) {
    static unsigned loads = 0;
    HEALTHY;
    if (!image) return INVALID_VALUE;
    *m = const_cast<void*>(image);
    const std::string refused = getenv("CUDA_ON_CPU_REFUSE") ? getenv("CUDA_ON_CPU_REFUSE") : "";
    const bool fatbin = !memcmp(image, "\x50\xed\x55\xba", 4);
    return refused == "all" || (fatbin && (refused == "fatbins" || (refused == "first" && loads++ == 0))) ? NO_BINARY : OK;
}
API cuModuleUnload(void*) { return OK; }
API cuModuleGetFunction(void** f, void*, const char* name) {
    HEALTHY;
    for (const Kernel* k = Kernel::head; k; k = k->next)
        if (!strcmp(k->name, name)) {
            *f = new Function{k};
            return OK;
        }
    return NOT_FOUND;
}
API cuFuncSetAttribute(void* f, int attribute, int value) {
    HEALTHY;
    if (attribute != 8) return OK;
    if (value < 0 || value > int(SHARED_MOST)) return INVALID_VALUE;
    static_cast<Function*>(f)->most_dynamic = unsigned(value);
    return OK;
}

struct LaunchAttribute {
    int id;
    char pad[4];
    union {
        struct { unsigned x, y, z; } cluster;
        char bytes[64];
    } value;
};
struct LaunchConfig {
    unsigned grid[3], block[3], dynamic_bytes;
    void* stream;
    LaunchAttribute* attributes;
    unsigned count;
};
API cuLaunchKernelEx(const LaunchConfig* c, void* f, void** parameters, void** extra) {
    LOCKED;
    auto* function = static_cast<Function*>(f);
    const Kernel& k = *function->kernel;
    uint3 cluster = {1, 1, 1};
    for (unsigned i = 0; i < c->count; i++)
        if (c->attributes[i].id == 4) cluster = {c->attributes[i].value.cluster.x, c->attributes[i].value.cluster.y, c->attributes[i].value.cluster.z};
    if (extra) return refuse(k.name, "parameters in one piece are not known here");
    const unsigned long threads = (unsigned long)c->block[0] * c->block[1] * c->block[2];
    const unsigned long blocks = (unsigned long)cluster.x * cluster.y * cluster.z;
    const bool has_cluster = blocks > 1;
    if (!threads || threads > 1024 || c->block[2] > 64) return refuse(k.name, "a block of " + std::to_string(threads) + " threads");
    if (threads > k.bound) return refuse(k.name, "a block of " + std::to_string(threads) + " threads, compiled for " + std::to_string(k.bound));
    if (!c->grid[0] || !c->grid[1] || !c->grid[2] || c->grid[0] > 0x7fffffff || c->grid[1] > 65535 || c->grid[2] > 65535) return refuse(k.name, "a grid of " + std::to_string(c->grid[0]) + " x " + std::to_string(c->grid[1]) + " x " + std::to_string(c->grid[2]));
    if (c->dynamic_bytes > function->most_dynamic) return refuse(k.name, std::to_string(c->dynamic_bytes) + " bytes of dynamic shared memory, allowed are " + std::to_string(function->most_dynamic));
    if (!blocks || blocks > 8 || (has_cluster && arch < 90) || c->grid[0] % cluster.x || c->grid[1] % cluster.y || c->grid[2] % cluster.z) return refuse(k.name, "a cluster that the grid is no multiple of, or the GPU does not have");
    Work w{function, {&k, {c->grid[0], c->grid[1], c->grid[2]}, {c->block[0], c->block[1], c->block[2]}, cluster, c->dynamic_bytes, nullptr}, {}, nullptr, nullptr, 0, 0};
    for (unsigned i = 0; i < k.count; i++) {
        const auto* p = static_cast<const unsigned char*>(parameters[i]);
        w.parameters.emplace_back(p, p + k.parameters[i].bytes);
        if (!k.parameters[i].is_pointer) continue;
        void* to;
        memcpy(&to, p, sizeof to);
        if (to && !is_device(to, 1)) return refuse(k.name, "parameter " + std::to_string(i) + " is a pointer, and was given none of the device's");
    }
    return submit(c->stream, std::move(w));
}

API cuStreamBeginCapture_v2(void* s, int) {
    HEALTHY;
    if (stream_of(s)->capture) return INVALID_VALUE;
    stream_of(s)->capture = std::make_unique<Graph>();
    return OK;
}
API cuStreamEndCapture(void* s, void** graph) {
    HEALTHY;
    if (!stream_of(s)->capture) return INVALID_VALUE;
    *graph = stream_of(s)->capture.release();
    return OK;
}
API cuGraphInstantiateWithFlags(void** made, void* graph, unsigned long long) { HEALTHY; *made = new Graph(*static_cast<Graph*>(graph)); return OK; }
API cuGraphDestroy(void* graph) { LOCKED; delete static_cast<Graph*>(graph); return OK; }
API cuGraphExecDestroy(void* graph) { LOCKED; delete static_cast<Graph*>(graph); return OK; }
API cuGraphLaunch(void* graph, void*) {
    HEALTHY;
    for (Work& w : static_cast<Graph*>(graph)->work) {
        perform(w);
        if (sticky) break;
    }
    return OK;
}

API cuGetErrorName(int e, const char** s) {
    switch (e) {
        case OK: *s = "CUDA_SUCCESS"; break;
        case INVALID_VALUE: *s = "CUDA_ERROR_INVALID_VALUE"; break;
        case OUT_OF_MEMORY: *s = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case NO_DEVICE: *s = "CUDA_ERROR_NO_DEVICE"; break;
        case INVALID_DEVICE: *s = "CUDA_ERROR_INVALID_DEVICE"; break;
        case NO_BINARY: *s = "CUDA_ERROR_NO_BINARY_FOR_GPU"; break;
        case NOT_FOUND: *s = "CUDA_ERROR_NOT_FOUND"; break;
        case ILLEGAL_ADDRESS: *s = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
        case MISALIGNED: *s = "CUDA_ERROR_MISALIGNED_ADDRESS"; break;
        case LAUNCH_FAILED: *s = "CUDA_ERROR_LAUNCH_FAILED"; break;
        case CAPTURE_UNSUPPORTED: *s = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"; break;
        default: *s = "CUDA_ERROR_UNKNOWN";
    }
    return OK;
}
// The last report stands for what the real driver has a phrase for.
API cuGetErrorString(int e, const char** s) {
    LOCKED;
    if (!report.empty() && (e == INVALID_VALUE || e == ILLEGAL_ADDRESS || e == MISALIGNED || e == LAUNCH_FAILED || e == OUT_OF_RESOURCES)) *s = report.c_str();
    else cuGetErrorName(e, s);
    return OK;
}
