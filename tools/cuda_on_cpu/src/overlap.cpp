// Launches that may begin before the one before them has ended (programmatic dependent launch): what such a kernel does before griddepcontrol.wait has nothing
// before it.
//
// Launches follow one another here, so that numbers would be right; instead each access to device memory is looked at: the thread that makes it, or tells others
// to, has waited, or knows by a barrier of a thread that has. Where a block waits, all that was launched before is done for it: if each block does, the end of
// a launch is also that of those before it, however many of them overlap.
#include "asynchronous.h"

namespace sim {
namespace {
// Who waited, and when; which threads know of one of these.
std::vector<Moment> waits;
std::vector<bool> is_behind;
bool has_waited[16];
}  // namespace

void launch_wait() {
    if (!checked || !launch->overlaps) return;
    waits.push_back(now());
    is_behind[self->rank] = has_waited[self->block] = true;
}

void look_at_order(const void* p, bool write, const void* pc) {
    if (!launch->overlaps || is_behind[self->rank]) return;
    for (const Moment& wait : waits)
        if (knows(wait)) {
            is_behind[self->rank] = true;
            return;
        }
    fail(LAUNCH_FAILED, pc, "%s %s before griddepcontrol.wait, though the launch may begin before the one before it has ended", write ? "writes" : "reads", place(p).c_str());
}

void begin_overlap() {
    if (!launch->overlaps) return;
    waits.clear(), is_behind.assign(count, false);
    for (bool& waited : has_waited) waited = false;
}

void end_of_overlap() {
    if (!checked || !launch->overlaps) return;
    for (unsigned i = 0; i < count; i++)
        if (!has_waited[fibers[i].block]) {
            self = &fibers[i];
            fail(LAUNCH_FAILED, nullptr, "no thread of its block came to griddepcontrol.wait, though the launch may begin before the one before it has ended");
        }
}
}  // namespace sim
