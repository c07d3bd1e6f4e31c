// One step of beam search or greedy search: see src/ops/beam_step. A block takes one image.
//
// The ranks of all candidates' scores lie in shared memory, 33 KB for the most beams. A candidate counts those that come before it, which is its place among
// them: no rounds, and no barrier between two comparisons. So do the 2 B that are chosen, and these with the finished captions, a thread each. What a thread
// moves it holds in registers while others write over the place that it came from. Some hundred bytes an image: bound by the launch.
#include "common/order.cuh"
#include "common/overlap.cuh"

// The host's.
#define MOST_BEAMS 64
#define IMPOSSIBLE (-1e9f)
#define BARRED (-1e30f)

struct BeamSearch {
    unsigned beams;
    // Candidates of a beam.
    unsigned width;
    // The most tokens of a caption, and the fewest before its end.
    unsigned steps, least;
    int end;
};

namespace of_beam_step {
// A caption that competes to be finished: how many tokens, the running beam that it grew from, the last token.
struct Caption {
    int tokens, beam, last;
};

__device__ __forceinline__ float log_p_of(const BeamSearch& search, float log_p, int token, unsigned taken) {
    return token == search.end && taken < search.least ? BARRED : log_p;
}

// The order of candidates: by rank, beam, id.
__device__ __forceinline__ bool precedes(const unsigned* ranks, const int* tokens, unsigned a, unsigned b, unsigned width) {
    if (ranks[a] != ranks[b]) return ranks[a] < ranks[b];
    if (a / width != b / width || tokens[a] == tokens[b]) return a < b;
    return tokens[a] < tokens[b];
}

// How many of the numbers come before that of this thread; among equals the earlier.
__device__ __forceinline__ unsigned place_of(const float* numbers, unsigned count) {
    const unsigned own = rank_of(numbers[threadIdx.x]);
    unsigned place = 0;
    for (unsigned other = 0; other < count; other++) place += rank_of(numbers[other]) < own + (other < threadIdx.x);
    return place;
}
}  // namespace of_beam_step
using namespace of_beam_step;

// penalties: for each number of tokens. trellis: [images, steps, beams] of token and parent. scores: [images, 2, beams], running and finished.
// status: [images, 2 + 3 beams], done and steps taken, then of each finished caption tokens, beam, last token.
extern "C" __global__ void __launch_bounds__(BLOCK) beam_step_forward_f32(const float* log_probs, const int* tokens, const float* penalties, uint2* trellis,
                                                                         float* scores, int* status, int* ids, int* parents, BeamSearch search) {
    SHARED(ranks, unsigned[MOST_BEAMS * (2 * MOST_BEAMS + 1)]);
    // The candidates that are chosen, the best first; whether each ends a caption.
    SHARED(chosen, unsigned[2 * MOST_BEAMS]);
    SHARED(ends, unsigned[2 * MOST_BEAMS]);
    // What is compared to run on: the chosen. What is compared to be finished: finished captions, then the first of the chosen.
    SHARED(onward, float[2 * MOST_BEAMS]);
    SHARED(closed, float[2 * MOST_BEAMS]);
    SHARED(best_running, float);
    SHARED(worst_finished, float);
    launch_wait(), launch_next();
    const unsigned beams = search.beams, width = search.width, image = blockIdx.x, count = beams * width;
    log_probs += (size_t)image * count;
    tokens += (size_t)image * count;
    scores += (size_t)image * 2 * beams;
    status += (size_t)image * (2 + 3 * beams);
    const unsigned taken = status[1];
    if (status[0] != 0 || taken >= search.steps) return;

    for (unsigned i = threadIdx.x; i < count; i += BLOCK) {
        const float log_p = log_p_of(search, log_probs[i], tokens[i], taken);
        // One beam's tokens go by log p: sums may be rounded to one number.
        ranks[i] = rank_of(beams == 1 ? log_p : scores[i / width] + log_p);
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < count; i += BLOCK) {
        unsigned place = 0;
        for (unsigned other = 0; other < count && place < 2 * beams; other++) place += precedes(ranks, tokens, other, i, width);
        if (place < 2 * beams) chosen[place] = i;
    }
    __syncthreads();
    const float penalty = penalties[taken];
    unsigned parent = 0;
    int token = 0;
    Caption caption = {};
    if (threadIdx.x < 2 * beams) {
        const unsigned own = chosen[threadIdx.x];
        parent = own / width;
        token = tokens[own];
        const float score = scores[parent] + log_p_of(search, log_probs[own], token, taken);
        const bool is_end = token == search.end || taken + 1 == search.steps;
        ends[threadIdx.x] = is_end;
        onward[threadIdx.x] = is_end ? score + IMPOSSIBLE : score;
        if (threadIdx.x < beams) {
            const int* slot = status + 2 + 3 * threadIdx.x;
            caption = {slot[0], slot[1], slot[2]};
            closed[threadIdx.x] = scores[beams + threadIdx.x];
            closed[beams + threadIdx.x] = is_end ? score / penalty : -INFINITY;
        } else {
            const unsigned grown = chosen[threadIdx.x - beams];
            caption = {(int)taken + 1, (int)(grown / width), tokens[grown]};
        }
    }
    __syncthreads();
    if (threadIdx.x < 2 * beams) {
        const unsigned place = place_of(onward, 2 * beams), closed_place = place_of(closed, 2 * beams);
        if (place < beams) {
            const size_t row = (size_t)image * beams + place;
            trellis[((size_t)image * search.steps + taken) * beams + place] = make_uint2(token, parent);
            scores[place] = onward[threadIdx.x];
            ids[row] = token;
            parents[row] = image * beams + parent;
        }
        if (closed_place < beams) {
            int* slot = status + 2 + 3 * closed_place;
            slot[0] = caption.tokens;
            slot[1] = caption.beam;
            slot[2] = caption.last;
            scores[beams + closed_place] = closed[threadIdx.x];
        }
        if (place == 0) best_running = onward[threadIdx.x];
        if (closed_place == beams - 1) worst_finished = closed[threadIdx.x];
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    bool is_stuck = true;
    for (unsigned i = 0; i < 2 * beams && is_stuck; i++) is_stuck = ends[i];
    const bool can_improve = best_running / penalty > worst_finished;
    status[0] = is_stuck || !can_improve;
    status[1] = taken + 1;
}
