// The reductions of reduce.wgsl, for GPUs with subgroups.
//
// Every invocation leaves its number in workgroup memory, and then each subgroup reduces all of them by itself: each of its invocations takes every
// n-th, where n is how many there are, and these n results meet in registers. So nothing is relied on of the size of subgroups, nor of which
// invocations make up one. A sum's order depends on that size alone; what the first invocation has is taken, lest subgroups differ.

var<workgroup> agreed_number: f32;

// What an invocation takes of workgroup memory: entries from `first` on, each `step` apart.
struct Turn {
    first: u32,
    step: u32,
}

fn subgroup_turn() -> Turn {
    return Turn(subgroupExclusiveAdd(1u), subgroupAdd(1u));
}

// The number of the first invocation, for all.
fn agree(number: f32, lane: u32) -> f32 {
    if lane == 0u {
        agreed_number = number;
    }
    let same = workgroupUniformLoad(&agreed_number);
    return same;
}

fn group_sum(part: f32, lane: u32) -> f32 {
    lanes[lane] = part;
    workgroupBarrier();
    let own = subgroup_turn();
    var sum = 0.0;
    for (var i = own.first; i < WIDTH; i += own.step) {
        sum += lanes[i];
    }
    return agree(subgroupAdd(sum), lane);
}

fn group_max(part: f32, lane: u32) -> f32 {
    lanes[lane] = part;
    workgroupBarrier();
    let own = subgroup_turn();
    var top = lanes[own.first];
    for (var i = own.first; i < WIDTH; i += own.step) {
        top = max(top, lanes[i]);
    }
    return agree(subgroupMax(top), lane);
}

// The entries of the four quarters that lie at the same place.
fn of_quarters(i: u32) -> vec4f {
    return vec4f(lanes[i], lanes[QUARTER + i], lanes[2u * QUARTER + i], lanes[3u * QUARTER + i]);
}

fn quarter_sum(part: f32, lane: u32) -> f32 {
    workgroupBarrier();
    lanes[lane] = part;
    workgroupBarrier();
    let own = subgroup_turn();
    var sums = vec4f();
    for (var i = own.first; i < QUARTER; i += own.step) {
        sums += of_quarters(i);
    }
    sums = subgroupAdd(sums);
    return sums[lane / QUARTER];
}

fn quarter_max(part: f32, lane: u32) -> f32 {
    workgroupBarrier();
    lanes[lane] = part;
    workgroupBarrier();
    let own = subgroup_turn();
    // A subgroup may have more invocations than a quarter.
    var tops = of_quarters(own.first % QUARTER);
    for (var i = own.first; i < QUARTER; i += own.step) {
        tops = max(tops, of_quarters(i));
    }
    tops = subgroupMax(tops);
    return tops[lane / QUARTER];
}

var<workgroup> agreed_pair: vec2u;

fn group_least(pair: vec2u, lane: u32) -> vec2u {
    pairs[lane] = pair;
    workgroupBarrier();
    let own = subgroup_turn();
    var least = vec2u(0xffffffffu);
    for (var i = own.first; i < WIDTH; i += own.step) {
        if is_less(pairs[i], least) {
            least = pairs[i];
        }
    }
    let x = subgroupMin(least.x);
    let y = subgroupMin(select(0xffffffffu, least.y, least.x == x));
    if lane == 0u {
        agreed_pair = vec2u(x, y);
    }
    let first = workgroupUniformLoad(&agreed_pair);
    return first;
}
