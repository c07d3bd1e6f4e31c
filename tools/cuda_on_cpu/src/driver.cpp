// The CUDA driver API as far as the library calls it, on top of the emulator. What a call has to be refused for is refused as the real driver does;
// a kernel that goes wrong leaves an error that every later call returns, as a lost context does.
//
// Work is put into streams, which do it later (streams.h). Captured work is kept, and done when its graph is.
#include "../vendor/device.h"
#include "streams.h"
#include "tensor_map.h"
#include <algorithm>
#include <mutex>

namespace {
using namespace sim;
std::recursive_mutex mutex;
int sticky = OK;
const int version = getenv("CUDA_ON_CPU_DRIVER") ? atoi(getenv("CUDA_ON_CPU_DRIVER")) : 13000;
const int arch = getenv("CUDA_ON_CPU_ARCH") ? atoi(getenv("CUDA_ON_CPU_ARCH")) : 90;

// The dynamic shared memory that a block may have where it asks for it, by compute capability: "Technical Specifications" in the CUDA C++ Programming Guide.
int most_shared() {
    switch (arch) {
        case 80: case 87: return 163 << 10;
        case 86: case 88: case 89: case 120: case 121: return 99 << 10;
        default: return SHARED_MOST;
    }
}

struct Function {
    const Kernel* kernel;
    int arch;  // its module's
    unsigned most_dynamic = 48 << 10;
};
// What was loaded: the compute capability, times ten, of the code that the device takes of it.
struct Module {
    int arch;
};
struct Event {
    std::shared_ptr<Moment> moment;  // null where it was never recorded
};
Stream default_stream;
Stream& stream_of(void* s) { return s ? *static_cast<Stream*>(s) : default_stream; }
// What stands for "nothing yet", by the words that a checked session lays down: reading it is an error, as reading fresh memory is.
bool is_undefined(unsigned word) { return word == 0x7fc07fc0 || word == 0x80008000; }
}  // namespace

namespace sim {
// Some of a parameter, aligned as any of them may want to be.
struct alignas(64) Piece {
    unsigned char bytes[64];
};
// A launch, a copy, a fill or another library's work, with its own copy of all it needs.
struct Work {
    const Kernel* kernel;
    Launch launch;
    std::vector<std::vector<Piece>> parameters;
    void* to;
    const void* from;
    size_t bytes;
    unsigned word;
    std::vector<char> taken;  // from the host, when it was told to
    std::function<void()> act{};
    std::vector<Touched> touched{};
};
struct Graph { std::vector<Work> work; };
}  // namespace sim

namespace {
void broken(int status) {
    fprintf(stderr, "cuda_on_cpu: %s\n", report.c_str());
    sticky = status;
}

void perform(Work& w) {
    if (sticky) return;
    if (w.act) {
        for (const Touched& t : w.touched)
            if (!t.is_written && !is_defined(t.at, t.bytes)) {
                report = "a library reads memory that nobody wrote: " + place(t.at);
                return broken(LAUNCH_FAILED);
            }
        w.act();
        for (const Touched& t : w.touched)
            if (t.is_written) host_wrote(const_cast<void*>(t.at), t.bytes, true);
        return;
    }
    if (!w.kernel) {
        const void* from = w.taken.empty() ? w.from : w.taken.data();
        if (from && is_device(from, 1) && !is_defined(from, w.bytes)) {
            report = "a copy of memory that nobody wrote: " + place(from);
            return broken(LAUNCH_FAILED);
        }
        if (from) memcpy(w.to, from, w.bytes);
        else for (size_t i = 0; i < w.bytes; i += 4) memcpy(static_cast<char*>(w.to) + i, &w.word, 4);
        host_wrote(w.to, w.bytes, from || !is_undefined(w.word));
        return;
    }
    std::vector<void*> pointers;
    for (auto& p : w.parameters) pointers.push_back(p.data());
    w.launch.parameters = pointers.data();
    launched(*w.launch.kernel);
    if (Status status = run(w.launch)) broken(status);
}

int submit(void* stream, Work w, const void* host = nullptr) {
    if (sticky) return sticky;
    Stream& s = stream_of(stream);
    if (s.capture) return s.capture->work.push_back(std::move(w)), OK;
    auto kept = std::make_shared<Work>(std::move(w));
    put(s, {[kept] { perform(*kept); }, nullptr, static_cast<const char*>(host), host != nullptr});
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
API cuDriverGetVersion(int* v) { *v = version; return OK; }
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
API cuDeviceGetPCIBusId(char* s, int n, int) { snprintf(s, size_t(n), "0000:00:00.0"); return OK; }
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
        case 97: *v = most_shared(); break;             // the same, where asked for
        case 115: *v = 1; break;                        // memory pools
        default: *v = 0;
    }
    return OK;
}
API cuDevicePrimaryCtxRetain(void** c, int) { static int context; *c = &context; return OK; }
API cuDevicePrimaryCtxRelease_v2(int) { return OK; }
API cuCtxSetCurrent(void*) { return OK; }
API cuCtxSynchronize() { HEALTHY; drain_all(); return sticky; }
API cuMemGetInfo_v2(size_t* free, size_t* total) { LOCKED; *total = arena_bytes, *free = arena_bytes - in_use(); return OK; }

API cuStreamCreate(void** s, unsigned) { HEALTHY; *s = new Stream; return OK; }
API cuStreamDestroy_v2(void* s) { LOCKED; delete static_cast<Stream*>(s); return OK; }
API cuStreamSynchronize(void* s) {
    HEALTHY;
    if (stream_of(s).capture) return CAPTURE_UNSUPPORTED;
    drain(stream_of(s));
    return sticky;
}
API cuStreamWaitEvent(void* s, void* e, unsigned) {
    HEALTHY;
    if (stream_of(s).capture) return CAPTURE_UNSUPPORTED;
    put(stream_of(s), {[] {}, static_cast<Event*>(e)->moment, nullptr, true});
    return OK;
}
API cuEventCreate(void** e, unsigned) { HEALTHY; *e = new Event; return OK; }
API cuEventDestroy_v2(void* e) { LOCKED; delete static_cast<Event*>(e); return OK; }
API cuEventRecord(void* e, void* s) {
    HEALTHY;
    if (stream_of(s).capture) return CAPTURE_UNSUPPORTED;
    auto moment = std::make_shared<Moment>(Moment{&stream_of(s)});
    put(stream_of(s), {[moment] { moment->passed = true, moment->at = std::chrono::steady_clock::now(); }, nullptr, nullptr, true});
    static_cast<Event*>(e)->moment = moment;
    return OK;
}
API cuEventSynchronize(void* e) {
    HEALTHY;
    if (const auto moment = static_cast<Event*>(e)->moment) finish(*moment);
    return sticky;
}
API cuEventElapsedTime(float* ms, void* from, void* to) {
    HEALTHY;
    const auto first = static_cast<Event*>(from)->moment, last = static_cast<Event*>(to)->moment;
    if (!first || !last) return INVALID_HANDLE;
    if (!first->passed || !last->passed) return NOT_READY;
    *ms = std::chrono::duration<float, std::milli>(last->at - first->at).count();
    return OK;
}

API cuMemAlloc_v2(Pointer* p, size_t bytes) {
    HEALTHY;
    if (!bytes) return INVALID_VALUE;
    void* made = allocate(bytes);
    if (!made) return OUT_OF_MEMORY;
    *p = Pointer(made);
    return OK;
}
API cuMemFree_v2(Pointer p) {
    LOCKED;
    drain_all();
    return !p || release(reinterpret_cast<void*>(p)) ? OK : INVALID_VALUE;
}
API cuMemHostAlloc(void** p, size_t bytes, unsigned) {
    HEALTHY;
    if (!bytes) return INVALID_VALUE;
    *p = lock_pages(bytes);
    return *p ? OK : OUT_OF_MEMORY;
}
API cuMemFreeHost(void* p) {
    LOCKED;
    const Given given = give_back(p);
    return given == Given::BACK ? int(OK) : refuse("cuMemFreeHost", given == Given::UNKNOWN ? "memory that cuMemHostAlloc did not give" : "a copy that is not done uses it");
}
API cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* s) {
    HEALTHY;
    if (!bytes) return OK;
    if (!is_device(reinterpret_cast<void*>(to), bytes)) return INVALID_VALUE;
    if (stream_of(s).capture) return CAPTURE_UNSUPPORTED;
    Work w{nullptr, {}, {}, reinterpret_cast<void*>(to), from, bytes, 0, {}};
    if (is_locked(from, bytes)) return submit(s, std::move(w), from);
    // Memory that is not page-locked has been read when the call returns.
    w.taken.assign(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    return submit(s, std::move(w));
}
API cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* s) {
    HEALTHY;
    if (!bytes) return OK;
    const void* at = reinterpret_cast<const void*>(from);
    if (!is_device(at, bytes)) return INVALID_VALUE;
    if (stream_of(s).capture) return CAPTURE_UNSUPPORTED;
    put(stream_of(s), {[=] { if (!sticky) memcpy(to, at, bytes); }, nullptr, is_locked(to, bytes) ? static_cast<const char*>(to) : nullptr});
    return OK;
}
API cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* s) {
    HEALTHY;
    if (!bytes) return OK;
    if (!is_device(reinterpret_cast<void*>(to), bytes) || !is_device(reinterpret_cast<void*>(from), bytes)) return INVALID_VALUE;
    return submit(s, {nullptr, {}, {}, reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes, 0, {}});
}
API cuMemsetD32Async(Pointer to, unsigned word, size_t n, void* s) {
    LOCKED;
    if (to % 4 || !is_device(reinterpret_cast<void*>(to), 4 * n)) return INVALID_VALUE;
    return n ? submit(s, {nullptr, {}, {}, reinterpret_cast<void*>(to), nullptr, 4 * n, word, {}}) : int(OK);
}

// All kernels are in this library, so an image is looked at only for what it has code for, and to be refused: CUDA_ON_CPU_REFUSE=first the first fatbin of each
// file, machine code, as by a driver that takes PTX alone; =fatbins every fatbin, =all everything.
API cuModuleLoadData(void** m, const void* image) {
    HEALTHY;
    if (!image) return INVALID_VALUE;
    constexpr uint16_t MACHINE_CODE = 2;
    const auto word = [image](size_t at, auto number) { memcpy(&number, static_cast<const char*>(image) + at, sizeof number); return number; };
    const std::string refused = getenv("CUDA_ON_CPU_REFUSE") ? getenv("CUDA_ON_CPU_REFUSE") : "";
    // Behind a header of 16 bytes that ends with their length, entries: kind, length of what stands before the code, length of this, architecture.
    const bool is_fatbin = word(0, uint32_t()) == 0xba55ed50, is_code = is_fatbin && word(16, uint16_t()) == MACHINE_CODE;
    if (refused == "all" || (refused == "fatbins" && is_fatbin) || (refused == "first" && is_code)) return NO_BINARY;
    // What is no fatbin was compiled for this device. A device takes machine code of its generation, and of that the newest; PTX of any that is not newer.
    int taken = is_fatbin ? 0 : arch;
    for (size_t at = 16, end = is_fatbin ? 16 + word(8, uint64_t()) : 0; at < end; at += word(at + 4, uint32_t()) + word(at + 8, uint64_t()))
        if (const int made_for = int(word(at + 28, uint32_t())); made_for <= arch && (!is_code || made_for / 10 == arch / 10)) taken = std::max(taken, made_for);
    *m = new Module{taken};
    return OK;
}
API cuModuleUnload(void* m) { LOCKED; delete static_cast<Module*>(m); return OK; }
API cuModuleGetFunction(void** f, void* m, const char* name) {
    HEALTHY;
    for (const Kernel* k = Kernel::head; k; k = k->next)
        if (!strcmp(k->name, name) && (!k->arch || (k->arch == unsigned(arch) && static_cast<Module*>(m)->arch == arch))) {
            *f = new Function{k, static_cast<Module*>(m)->arch};
            return OK;
        }
    return NOT_FOUND;
}
API cuFuncSetAttribute(void* f, int attribute, int value) {
    HEALTHY;
    if (attribute != 8) return OK;
    if (value < 0 || value > most_shared()) return INVALID_VALUE;
    static_cast<Function*>(f)->most_dynamic = unsigned(value);
    return OK;
}

struct LaunchAttribute {
    int id;
    char pad[4];
    union {
        struct { unsigned x, y, z; } cluster;
        int may_overlap;
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
    uint3 cluster = {1, 1, 1};
    bool overlaps = false;
    for (unsigned i = 0; i < c->count; i++) {
        const LaunchAttribute& a = c->attributes[i];
        if (a.id == 4) cluster = {a.value.cluster.x, a.value.cluster.y, a.value.cluster.z};
        else if (a.id == 6) overlaps = a.value.may_overlap;
        else return refuse(k.name, "the launch attribute " + std::to_string(a.id) + ", which is not known here");
    }
    alter(k.name, altered.grid[0], altered.block[0], altered.dynamic_bytes, overlaps, values);
    c = &altered;
    if (extra) return refuse(k.name, "parameters in one piece are not known here");
    const unsigned long threads = (unsigned long)c->block[0] * c->block[1] * c->block[2];
    const unsigned long blocks = (unsigned long)cluster.x * cluster.y * cluster.z;
    const bool has_cluster = blocks > 1;
    if (!threads || threads > 1024 || c->block[2] > 64) return refuse(k.name, "a block of " + std::to_string(threads) + " threads");
    if (threads > k.bound) return refuse(k.name, "a block of " + std::to_string(threads) + " threads, compiled for " + std::to_string(k.bound));
    if (!c->grid[0] || !c->grid[1] || !c->grid[2] || c->grid[0] > 0x7fffffff || c->grid[1] > 65535 || c->grid[2] > 65535) return refuse(k.name, "a grid of " + std::to_string(c->grid[0]) + " x " + std::to_string(c->grid[1]) + " x " + std::to_string(c->grid[2]));
    if (c->dynamic_bytes > function->most_dynamic) return refuse(k.name, std::to_string(c->dynamic_bytes) + " bytes of dynamic shared memory, allowed are " + std::to_string(function->most_dynamic));
    if (!blocks || blocks > 8 || (has_cluster && arch < 90) || c->grid[0] % cluster.x || c->grid[1] % cluster.y || c->grid[2] % cluster.z) return refuse(k.name, "a cluster that the grid is no multiple of, or the GPU does not have");
    if (overlaps) {
        // A wait is in the code from sm_90 on. Into a graph it goes as the kind of an edge between two kernels, which came with CUDA 12.3.
        if (function->arch < 90) return refuse(k.name, "a launch that overlaps with the one before it, of code for sm_" + std::to_string(function->arch));
        const auto& graph = stream_of(c->stream).capture;
        if (graph && version < 12030) return CAPTURE_UNSUPPORTED;
        if (graph && (graph->work.empty() || !graph->work.back().kernel)) return refuse(k.name, "in a graph, a launch that overlaps with what is no kernel");
    }
    const Launch made{&k, {c->grid[0], c->grid[1], c->grid[2]}, {c->block[0], c->block[1], c->block[2]}, cluster, c->dynamic_bytes, overlaps, nullptr};
    Work w{&k, made, {}, nullptr, nullptr, 0, 0, {}};
    for (unsigned i = 0; i < k.count; i++) {
        memcpy(w.parameters.emplace_back((values[i].size() + 63) / 64).data(), values[i].data(), values[i].size());
        if (!k.parameters[i].is_pointer) continue;
        void* to;
        memcpy(&to, values[i].data(), sizeof to);
        if (to && !is_device(to, 1)) return refuse(k.name, "parameter " + std::to_string(i) + " is a pointer, and was given none of the device's");
    }
    return submit(c->stream, std::move(w));
}

int cuda_on_cpu_work(void* stream, const char* name, std::function<void()> act, std::vector<Touched> touched) {
    HEALTHY;
    for (const Touched& t : touched)
        if (!is_device(t.at, t.bytes)) return refuse(name, "a tensor of " + std::to_string(t.bytes) + " bytes that is not the device's, or ends before them: " + place(t.at));
    return submit(stream, Work{nullptr, {}, {}, nullptr, nullptr, 0, 0, {}, std::move(act), std::move(touched)});
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
    if (stream_of(s).capture) return INVALID_VALUE;
    stream_of(s).capture = std::make_shared<Graph>();
    return OK;
}
// A graph's handle is a share in it: it may be destroyed while it is under way.
using Share = std::shared_ptr<Graph>;
API cuStreamEndCapture(void* s, void** graph) {
    HEALTHY;
    if (!stream_of(s).capture) return INVALID_VALUE;
    *graph = new Share(std::move(stream_of(s).capture));
    return OK;
}
API cuGraphInstantiateWithFlags(void** made, void* graph, unsigned long long) { HEALTHY; *made = new Share(*static_cast<Share*>(graph)); return OK; }
API cuGraphDestroy(void* graph) { LOCKED; delete static_cast<Share*>(graph); return OK; }
API cuGraphExecDestroy(void* graph) { LOCKED; delete static_cast<Share*>(graph); return OK; }
API cuGraphLaunch(void* graph, void* s) {
    HEALTHY;
    put(stream_of(s), {[graph = *static_cast<Share*>(graph)] { for (Work& w : graph->work) perform(w); }});
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
        case INVALID_HANDLE: *s = "CUDA_ERROR_INVALID_HANDLE"; break;
        case NOT_READY: *s = "CUDA_ERROR_NOT_READY"; break;
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
