#include "streams.h"
#include <algorithm>
#include <map>

namespace sim {
namespace {
std::vector<Stream*>& streams() {
    static std::vector<Stream*> all;
    return all;
}
std::map<const char*, size_t> locked;

void next(Stream& s) {
    const Step step = std::move(s.steps.front());
    s.steps.pop_front();
    // It was recorded before this was put here, so there is no circle.
    if (step.behind) finish(*step.behind);
    step.act();
}
}  // namespace

Stream::Stream() { streams().push_back(this); }
Stream::~Stream() {
    drain(*this);
    std::erase(streams(), this);
}

void put(Stream& s, Step step) {
    s.steps.push_back(std::move(step));
    const auto may_go = [](const Stream* other) {
        if (other->steps.empty()) return false;
        const Step& first = other->steps.front();
        return (!first.behind || first.behind->passed) && (first.is_eager || one_of(2));
    };
    for (Stream* other : streams())
        while (may_go(other) && completes_at_once()) next(*other);
}

void finish(const Moment& moment) {
    while (!moment.passed) next(*moment.stream);
}

void drain(Stream& s) {
    while (!s.steps.empty()) next(s);
}

void drain_all() {
    for (Stream* s : streams()) drain(*s);
}

void* lock_pages(size_t bytes) {
    static const size_t most = getenv("CUDA_ON_CPU_LOCKED") ? strtoull(getenv("CUDA_ON_CPU_LOCKED"), nullptr, 10) : SIZE_MAX;
    size_t taken = 0;
    for (const auto& [at, length] : locked) taken += length;
    void* p = bytes <= most - taken ? malloc(bytes) : nullptr;
    if (p) locked[static_cast<const char*>(p)] = bytes;
    return p;
}

Given give_back(void* p) {
    const auto found = locked.find(static_cast<const char*>(p));
    if (found == locked.end()) return Given::UNKNOWN;
    for (const Stream* s : streams())
        for (const Step& step : s->steps)
            if (step.host && size_t(step.host - found->first) < found->second) return Given::IN_USE;
    locked.erase(found);
    free(p);
    return Given::BACK;
}

bool is_locked(const void* p, size_t bytes) {
    auto behind = locked.upper_bound(static_cast<const char*>(p));
    if (behind == locked.begin()) return false;
    --behind;
    return static_cast<const char*>(p) + bytes <= behind->first + behind->second;
}
}  // namespace sim
