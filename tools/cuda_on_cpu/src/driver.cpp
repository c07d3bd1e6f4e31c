// The CUDA driver API as far as the library calls it, on top of the emulator. What a call has to be refused for is refused as the real driver does;
// a kernel that goes wrong leaves an error that every later call returns, as a lost context does.
//
// Streams do their work at once, so nothing is learnt here of an order between two streams. Captured work is kept, and done when its graph is launched.
#include "state.h"
#include "tensor_map.h"
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
// Some of a parameter, aligned as any of them may want to be.
struct alignas(64) Piece {
    unsigned char bytes[64];
};
// A launch or a copy that a graph keeps, with its own copy of all it needs.
struct Work {
    Function* function;
    Launch launch;
    std::vector<std::vector<Piece>> parameters;
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
    launched(*w.launch.kernel);
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
API cuDeviceGetName(char* s, int n, int) {
    // As what a test has it pass for.
    if (const char* name = getenv("CUDA_ON_CPU_NAME")) snprintf(s, size_t(n), "%s", name);
    else snprintf(s, size_t(n), "CUDA on CPU (sm_%d)", arch);
    return OK;
}
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
        if (!strcmp(k->name, name) && (!k->arch || k->arch == unsigned(arch))) {
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
    std::vector<std::vector<unsigned char>> values;
    for (unsigned i = 0; i < k.count && !extra; i++) values.emplace_back(static_cast<unsigned char*>(parameters[i]), static_cast<unsigned char*>(parameters[i]) + k.parameters[i].bytes);
    LaunchConfig altered = *c;
    alter(k.name, altered.grid[0], altered.block[0], altered.dynamic_bytes, values);
    c = &altered;
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
    const Launch made{&k, {c->grid[0], c->grid[1], c->grid[2]}, {c->block[0], c->block[1], c->block[2]}, cluster, c->dynamic_bytes, nullptr};
    Work w{function, made, {}, nullptr, nullptr, 0, 0};
    for (unsigned i = 0; i < k.count; i++) {
        memcpy(w.parameters.emplace_back((values[i].size() + 63) / 64).data(), values[i].data(), values[i].size());
        if (!k.parameters[i].is_pointer) continue;
        void* to;
        memcpy(&to, values[i].data(), sizeof to);
        if (to && !is_device(to, 1)) return refuse(k.name, "parameter " + std::to_string(i) + " is a pointer, and was given none of the device's");
    }
    return submit(c->stream, std::move(w));
}

// What a tensor map may say, as the driver's manual has it. Empty where it may be said.
namespace {
std::string encode(TensorMap& map, void* to, int type, unsigned rank, void* base, const unsigned long long* dims, const unsigned long long* strides, int interleave, int swizzle, int promotion, int fill) {
    // Of unsigned and signed integers, f16, f32, f64, bf16, and the roundings of f32.
    static const uint16_t sizes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
    if (arch < 90) return "a GPU without TMA";
    if (!to || size_t(to) % 64) return "a map that is not aligned to 64 bytes";
    if (type < 0 || type > 12 || rank < 1 || rank > 5) return "type " + std::to_string(type) + ", " + std::to_string(rank) + " dimensions";
    if (interleave || fill) return "interleaved tensors, and NaN for what is outside, are not known here";
    if (swizzle < 0 || swizzle > 3 || promotion < 0 || promotion > 3) return "swizzle " + std::to_string(swizzle) + ", promotion " + std::to_string(promotion);
    if (!base || size_t(base) % 16 || !is_device(base, 1)) return "an address that is none of the device's, or not aligned to 16 bytes";
    map.mark = TensorMap::MARK, map.rank = uint16_t(rank), map.element = sizes[type], map.swizzle = unsigned(swizzle), map.base = static_cast<char*>(base);
    for (unsigned d = 0; d < rank; d++) {
        const std::string of = " of dimension " + std::to_string(d);
        if (!dims[d] || dims[d] > 1ull << 32) return "an extent of " + std::to_string(dims[d]) + of;
        if (d && (strides[d - 1] % 16 || strides[d - 1] >= 1ull << 40)) return "a stride of " + std::to_string(strides[d - 1]) + of + ": a multiple of 16 below 2^40";
        map.dims[d] = dims[d], map.box[d] = 1;
        if (d) map.strides[d - 1] = strides[d - 1];
    }
    return {};
}

std::string check_rows(const TensorMap& map) {
    const unsigned row = map.box[0] * map.element;
    return row % 16 || (map.swizzle && row > 16u << map.swizzle) ? "a box with rows of " + std::to_string(row) + " bytes and swizzle " + std::to_string(map.swizzle) : std::string();
}

// What was wrong with it, or the map.
int encoded(const char* name, const std::string& wrong, void* to, const TensorMap& map) {
    if (!wrong.empty()) return refuse(name, wrong);
    memcpy(to, &map, sizeof map);
    return OK;
}
}  // namespace

API cuTensorMapEncodeTiled(void* to, int type, unsigned rank, void* base, const unsigned long long* dims, const unsigned long long* strides, const unsigned* box, const unsigned* steps, int interleave, int swizzle, int promotion, int fill) {
    LOCKED;
    TensorMap map{};
    std::string wrong = encode(map, to, type, rank, base, dims, strides, interleave, swizzle, promotion, fill);
    for (unsigned d = 0; d < rank && wrong.empty(); d++) {
        const std::string of = " of dimension " + std::to_string(d);
        if (!box[d] || box[d] > 256) wrong = "a box of " + std::to_string(box[d]) + of + ": from 1 to 256";
        else if (steps[d] != 1) wrong = "a step of " + std::to_string(steps[d]) + of + ", which is not known here";
        map.box[d] = uint16_t(box[d]);
    }
    if (wrong.empty()) wrong = check_rows(map);
    return encoded("cuTensorMapEncodeTiled", wrong, to, map);
}

// Corners and steps come with W first, as dimensions do.
API cuTensorMapEncodeIm2col(void* to, int type, unsigned rank, void* base, const unsigned long long* dims, const unsigned long long* strides, const int* lower, const int* upper, unsigned channels, unsigned pixels, const unsigned* steps, int interleave, int swizzle, int promotion, int fill) {
    LOCKED;
    TensorMap map{};
    std::string wrong = encode(map, to, type, rank, base, dims, strides, interleave, swizzle, promotion, fill);
    if (wrong.empty() && rank < 3) wrong = std::to_string(rank) + " dimensions: from 3 to 5";
    if (wrong.empty() && (!channels || channels > 256 || !pixels || pixels > 1024)) wrong = std::to_string(channels) + " channels a pixel, " + std::to_string(pixels) + " pixels: from 1 to 256 and to 1024";
    const int most = rank == 3 ? 1 << 15 : rank == 4 ? 1 << 7 : 1 << 4;
    for (unsigned d = 0; d < rank && wrong.empty(); d++) {
        const std::string of = " of dimension " + std::to_string(d);
        // A step along C is not looked at.
        if (d && (!steps[d] || steps[d] > 8)) wrong = "a step of " + std::to_string(steps[d]) + of + ": from 1 to 8";
        const bool has_corners = d && d + 1 < rank;
        if (d && !has_corners && steps[d] != 1) wrong = "a step of " + std::to_string(steps[d]) + " from a picture to the next, which is not known here";
        if (!wrong.empty() || !has_corners) continue;
        const unsigned i = d - 1;
        for (int corner : {lower[i], upper[i]})
            if (corner < -most || corner >= most) wrong = "a corner at " + std::to_string(corner) + of + ": from " + std::to_string(-most) + " to " + std::to_string(most - 1);
        if (wrong.empty() && (long long)dims[d] + upper[i] - lower[i] <= 0) wrong = "a bounding box from " + std::to_string(lower[i]) + " to " + std::to_string((long long)dims[d] - 1 + upper[i]) + of + ": it is empty";
        map.lower[i] = int16_t(lower[i]), map.upper[i] = int16_t(upper[i]), map.steps[i] = uint8_t(steps[d]);
    }
    map.is_im2col = true, map.box[0] = uint16_t(channels), map.box[1] = uint16_t(pixels);
    if (wrong.empty()) wrong = check_rows(map);
    return encoded("cuTensorMapEncodeIm2col", wrong, to, map);
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
