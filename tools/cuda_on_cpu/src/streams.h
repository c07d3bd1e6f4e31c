// What was put into streams, and when it is done.
//
// All of it is left open that CUDA leaves open: a stream's work is done in its order, but as late as can be, when somebody waits for it; or, by CUDA_ON_CPU_SEED,
// copies from the host's page-locked memory as soon as they may be, or any work by dice. So whoever writes to memory that a copy has yet to read, on the host or
// by another stream, without a wait in between, gets wrong numbers with some seed.
#pragma once
#include "state.h"
#include <chrono>
#include <deque>
#include <functional>
#include <memory>

namespace sim {
struct Stream;
// What an event stands for since it was last recorded.
struct Moment {
    Stream* stream;
    bool passed = false;
    std::chrono::steady_clock::time_point at{};
};
struct Step {
    std::function<void()> act;
    // What it waits for, of another stream.
    std::shared_ptr<Moment> behind{};
    // The page-locked memory that it reads or writes.
    const char* host = nullptr;
    bool is_eager = false;
};
struct Stream {
    std::deque<Step> steps;
    // What is recorded in place of being put into it.
    std::shared_ptr<struct Graph> capture;
    Stream();
    ~Stream();  // does what is left
};
void put(Stream&, Step);
void finish(const Moment&);
void drain(Stream&);
void drain_all();
// Page-locked memory of the host. It cannot be given back while a copy that is not done has to do with it.
void* lock_pages(size_t bytes);
enum class Given { BACK, UNKNOWN, IN_USE };
Given give_back(void*);
bool is_locked(const void*, size_t bytes);
}  // namespace sim
