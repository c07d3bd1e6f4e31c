// What softmax and its logarithm have in common, after common/in_place.wgsl.

struct Size {
    rows: u32,
    width: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
// Of the backward passes: the result, as it came out. Their dy is called x, and their dx y.
@group(0) @binding(2) var<storage, read> saved: array<f32>;

// Of the row that begins at `start`: the largest number, and the sum of e^(x - the largest).
fn largest_and_sum(start: u32, lane: u32) -> vec2f {
    var top = LOWEST;
    for (var i = lane; i < size.width; i += WIDTH) {
        top = max(top, x_at(start + i));
    }
    top = group_max(top, lane);
    var part = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        part += exp(x_at(start + i) - top);
    }
    return vec2f(top, group_sum(part, lane));
}
