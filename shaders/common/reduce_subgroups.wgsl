// The reductions of reduce.wgsl, for GPUs with subgroups.
//
// Every invocation leaves its number in workgroup memory. The subgroup of the first invocation reduces all of them: each of its invocations takes every
// n-th, where n is how many there are, and their results meet in registers. So nothing is relied on of the size of subgroups, nor of which
// invocations make up one, and a sum's order depends on that size alone. Subgroup operations have to be met by all, so the other subgroups come along
// with nothing to do.

// What an invocation takes of workgroup memory: entries from `first` on, each `step` apart.
struct Turn {
    first: u32,
    step: u32,
}

fn subgroup_turn(lane: u32) -> Turn {
    let rank = subgroupExclusiveAdd(1u);
    let count = subgroupAdd(1u);
    return Turn(select(WIDTH, rank, subgroupMin(lane) == 0u), count);
}

var<workgroup> agreed_number: f32;
var<workgroup> agreed_quarters: vec4f;
var<workgroup> agreed_pair: vec2u;

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
    let own = subgroup_turn(lane);
    var sum = 0.0;
    for (var i = own.first; i < WIDTH; i += own.step) {
        sum += lanes[i];
    }
    return agree(subgroupAdd(sum), lane);
}

fn group_max(part: f32, lane: u32) -> f32 {
    lanes[lane] = part;
    workgroupBarrier();
    let own = subgroup_turn(lane);
    var top = part;
    for (var i = own.first; i < WIDTH; i += own.step) {
        top = max(top, lanes[i]);
    }
    return agree(subgroupMax(top), lane);
}

// The entries of the four quarters that lie at the same place.
fn of_quarters(i: u32) -> vec4f {
    return vec4f(lanes[i], lanes[QUARTER + i], lanes[2u * QUARTER + i], lanes[3u * QUARTER + i]);
}

// Its own quarter's number, of those of the first invocation.
fn agree_in_quarters(numbers: vec4f, lane: u32) -> f32 {
    if lane == 0u {
        agreed_quarters = numbers;
    }
    let same = workgroupUniformLoad(&agreed_quarters);
    return same[lane / QUARTER];
}

fn quarter_sum(part: f32, lane: u32) -> f32 {
    lanes[lane] = part;
    workgroupBarrier();
    let own = subgroup_turn(lane);
    var sums = vec4f();
    for (var i = own.first; i < QUARTER; i += own.step) {
        sums += of_quarters(i);
    }
    return agree_in_quarters(subgroupAdd(sums), lane);
}

fn quarter_max(part: f32, lane: u32) -> f32 {
    lanes[lane] = part;
    workgroupBarrier();
    let own = subgroup_turn(lane);
    var tops = of_quarters(lane % QUARTER);
    for (var i = own.first; i < QUARTER; i += own.step) {
        tops = max(tops, of_quarters(i));
    }
    return agree_in_quarters(subgroupMax(tops), lane);
}

fn group_least(pair: vec2u, lane: u32) -> vec2u {
    pairs[lane] = pair;
    workgroupBarrier();
    let own = subgroup_turn(lane);
    var least = pair;
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
