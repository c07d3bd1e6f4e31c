// One step of beam search or greedy search: see src/ops/beam_step. A workgroup takes one image.
//
// A candidate counts those that come before it, which is its place among them, until there are 2 B: no rounds, and no barrier between two comparisons. Sums are
// added up again for each comparison, from the cache: those of 64 beams are 33 KB, more than a workgroup's memory. So do the 2 B that are chosen, and these
// with the finished captions, an invocation each. What an invocation moves it holds in registers while others write over the place that it came from.
// Some hundred bytes an image: bound by the launch.

struct Size {
    images: u32,
    beams: u32,
    // Candidates of a beam.
    width: u32,
    // The most tokens of a caption, and the fewest before its end.
    steps: u32,
    least: u32,
    end: i32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> log_probs: array<f32>;
@group(0) @binding(1) var<storage, read> tokens: array<i32>;
// For each number of tokens.
@group(0) @binding(2) var<storage, read> penalties: array<f32>;
// [images, steps, beams]: token, parent.
@group(0) @binding(3) var<storage, read_write> trellis: array<vec2i>;
// [images, 2, beams]: running, finished.
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;
// [images, 2 + 3 beams]: done, steps taken; of each finished caption tokens, beam, last token.
@group(0) @binding(5) var<storage, read_write> status: array<i32>;
@group(0) @binding(6) var<storage, read_write> ids: array<i32>;
@group(0) @binding(7) var<storage, read_write> parents: array<i32>;

const IMPOSSIBLE = -1e9;
const BARRED = -1e30;

// Steps taken; as many as there may be where the image is done.
var<workgroup> steps_taken: u32;
// The candidates that are chosen, the best first; whether each ends a caption.
var<workgroup> chosen: array<u32, 2u * MOST_BEAMS>;
var<workgroup> ends: array<bool, 2u * MOST_BEAMS>;
// What is compared to run on: the chosen. What is compared to be finished: finished captions, then the first of the chosen.
var<workgroup> onward: array<f32, 2u * MOST_BEAMS>;
var<workgroup> closed: array<f32, 2u * MOST_BEAMS>;
var<workgroup> best_running: f32;
var<workgroup> worst_finished: f32;

fn rank_of(number: f32) -> u32 {
    return rank(bitcast<u32>(number));
}

fn log_p_of(at: u32, taken: u32) -> f32 {
    return select(log_probs[at], BARRED, tokens[at] == size.end && taken < size.least);
}

// What a candidate is chosen by: its rank and its token; beams follow each other.
struct Key {
    rank: u32,
    beam: u32,
    token: i32,
}

// Of candidate `i` of an image whose first one is `first`, and whose scores begin at `own_scores`.
fn key_of(i: u32, first: u32, own_scores: u32, taken: u32) -> Key {
    let log_p = log_p_of(first + i, taken);
    let beam = i / size.width;
    // One beam's tokens go by log p: sums may be rounded to one number.
    let number = select(scores[own_scores + beam] + log_p, log_p, size.beams == 1u);
    return Key(rank_of(number), beam, tokens[first + i]);
}

@compute @workgroup_size(WIDTH)
fn beam_step_forward_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let image = row_of(group, groups);
    if image >= size.images {
        return;
    }
    let beams = size.beams;
    let own_status = image * (2u + 3u * beams);
    let own_scores = image * 2u * beams;
    if lane == 0u {
        steps_taken = select(size.steps, u32(status[own_status + 1u]), status[own_status] == 0);
    }
    let taken = workgroupUniformLoad(&steps_taken);
    if taken >= size.steps {
        return;
    }
    let count = beams * size.width;
    let first = image * count;
    for (var i = lane; i < count; i += WIDTH) {
        let own = key_of(i, first, own_scores, taken);
        var place = 0u;
        for (var other = 0u; other < count && place < 2u * beams; other++) {
            let key = key_of(other, first, own_scores, taken);
            let equal = key.rank == own.rank && key.beam == own.beam;
            let is_before = select(key.rank < own.rank || (key.rank == own.rank && key.beam < own.beam), key.token < own.token, equal);
            // Those with the same token stay as they are.
            place += u32(is_before || (equal && key.token == own.token && other < i));
        }
        if place < 2u * beams {
            chosen[place] = i;
        }
    }
    workgroupBarrier();
    let penalty = penalties[taken];
    // Of the chosen that is this invocation's: its score, token and parent; of the captions that compete to be finished: tokens, beam, last token.
    var token = 0;
    var parent = 0u;
    var caption = vec3i();
    if lane < 2u * beams {
        parent = chosen[lane] / size.width;
        token = tokens[first + chosen[lane]];
        let score = scores[own_scores + parent] + log_p_of(first + chosen[lane], taken);
        let is_end = token == size.end || taken + 1u == size.steps;
        ends[lane] = is_end;
        onward[lane] = select(score, score + IMPOSSIBLE, is_end);
        if lane < beams {
            let slot = own_status + 2u + 3u * lane;
            closed[lane] = scores[own_scores + beams + lane];
            caption = vec3i(status[slot], status[slot + 1u], status[slot + 2u]);
            closed[beams + lane] = select(LOWEST, score / penalty, is_end);
        } else {
            let grown = chosen[lane - beams];
            caption = vec3i(i32(taken) + 1, i32(grown / size.width), tokens[first + grown]);
        }
    }
    workgroupBarrier();
    if lane < 2u * beams {
        // Among equals the earlier.
        var place = 0u;
        var closed_place = 0u;
        for (var other = 0u; other < 2u * beams; other++) {
            let earlier = u32(other < lane);
            place += u32(rank_of(onward[other]) < rank_of(onward[lane]) + earlier);
            closed_place += u32(rank_of(closed[other]) < rank_of(closed[lane]) + earlier);
        }
        if place < beams {
            let row = image * beams + place;
            trellis[(image * size.steps + taken) * beams + place] = vec2i(token, i32(parent));
            scores[own_scores + place] = onward[lane];
            ids[row] = token;
            parents[row] = i32(image * beams + parent);
        }
        if closed_place < beams {
            let slot = own_status + 2u + 3u * closed_place;
            scores[own_scores + beams + closed_place] = closed[lane];
            status[slot] = caption.x;
            status[slot + 1u] = caption.y;
            status[slot + 2u] = caption.z;
        }
        if place == 0u {
            best_running = onward[lane];
        }
        if closed_place == beams - 1u {
            worst_finished = closed[lane];
        }
    }
    workgroupBarrier();
    if lane == 0u {
        var is_stuck = true;
        for (var i = 0u; i < 2u * beams && is_stuck; i++) {
            is_stuck = ends[i];
        }
        let can_improve = best_running / penalty > worst_finished;
        status[own_status] = i32(is_stuck || !can_improve);
        status[own_status + 1u] = i32(taken) + 1;
    }
}
