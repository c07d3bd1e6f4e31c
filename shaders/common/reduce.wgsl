// Reductions over the WIDTH invocations of a workgroup, put before every shader. All of these must come to them together.
//
//   group_sum, group_max        over the workgroup
//   quarter_sum, quarter_max    over the quarter of it that the invocation is in
//   group_least                 the least pair of the workgroup's, by `is_less`
//
// By halves in workgroup memory, in an order that depends on nothing. Where a GPU has subgroups, reduce_subgroups.wgsl with the same functions stands
// here. What a maximum makes of NaN is open, as it is for WGSL's own: callers have a sum of the same numbers, which is NaN then.

// Leaves in the first lane of each `span` what they all add up to.
fn add_by_halves(part: f32, lane: u32, span: u32) {
    lanes[lane] = part;
    for (var half = span / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane % span < half {
            lanes[lane] += lanes[lane + half];
        }
    }
}

fn max_by_halves(part: f32, lane: u32, span: u32) {
    lanes[lane] = part;
    for (var half = span / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane % span < half {
            lanes[lane] = max(lanes[lane], lanes[lane + half]);
        }
    }
}

fn group_sum(part: f32, lane: u32) -> f32 {
    add_by_halves(part, lane, WIDTH);
    let sum = workgroupUniformLoad(&lanes[0]);
    return sum;
}

fn group_max(part: f32, lane: u32) -> f32 {
    max_by_halves(part, lane, WIDTH);
    let top = workgroupUniformLoad(&lanes[0]);
    return top;
}

fn quarter_sum(part: f32, lane: u32) -> f32 {
    workgroupBarrier();
    add_by_halves(part, lane, QUARTER);
    workgroupBarrier();
    return lanes[lane / QUARTER * QUARTER];
}

fn quarter_max(part: f32, lane: u32) -> f32 {
    workgroupBarrier();
    max_by_halves(part, lane, QUARTER);
    workgroupBarrier();
    return lanes[lane / QUARTER * QUARTER];
}

fn group_least(pair: vec2u, lane: u32) -> vec2u {
    pairs[lane] = pair;
    for (var half = WIDTH / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            if is_less(pairs[lane + half], pairs[lane]) {
                pairs[lane] = pairs[lane + half];
            }
        }
    }
    let least = workgroupUniformLoad(&pairs[0]);
    return least;
}
