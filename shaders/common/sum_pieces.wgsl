// y_i += x_i: what a piece of a node summed, added to what the pieces before it did. Pieces run in their order, so that sums are the same each time.
// Sum is what they are stored as: Real, or f32. One invocation an element, 12 bytes: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read_write> y: array<Sum>;
@group(0) @binding(1) var<storage, read_write> x: array<Sum>;

@compute @workgroup_size(WIDTH)
fn sum_pieces_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i < size.n {
        y[i] = Sum(f32(y[i]) + f32(x[i]));
    }
}
