// What libraries that stand in for NVIDIA's (vendor/*.cpp) know of the device that the stand-in for its driver is.
#pragma once
#include <functional>
#include <vector>

namespace sim {
struct Touched {
    const void* at;
    size_t bytes;
    bool is_written;
};
}  // namespace sim

// Puts work into a stream, which does it in its order, or each time that the graph is replayed which captures it. What it touches has to be the device's, else
// the answer is that of a wrong value; what it reads and nobody wrote is an error when it is done, as in a kernel.
extern "C" __attribute__((visibility("default"))) int cuda_on_cpu_work(void* stream, const char* name, std::function<void()> act, std::vector<sim::Touched> touched);
