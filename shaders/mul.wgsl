// Product of two tensors element by element, and of each row with one number.
//
//   mul        y = x r                     dx = dy r,  dr = dy x: the same kernel
//   mul_rows   y[i, d] = x[i, d] r[i]      dx[i, d] = dy[i, d] r[i]: the same kernel;  dr[i] = sum over d of dy[i, d] x[i, d]
//
// `mul` is a map whose rows have one number. Reads 8 and writes 4 bytes an element, 1 FLOP: bound by memory.

struct Size {
    n: u32,
    // Numbers that share one of r.
    width: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(2) var<storage, read> r: array<Real>;

fn value(v: f32, i: u32) -> f32 {
    return v * f32(r[i / size.width]);
}

@compute @workgroup_size(WIDTH)
fn mul_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map(id, groups);
}

// One workgroup a row of dy, x here, and x, r here: n is the number of rows.
@compute @workgroup_size(WIDTH)
fn mul_rows_backward_scale_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = row_of(group, groups);
    if row >= size.n {
        return;
    }
    var part = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        part += f32(x[row * size.width + i]) * f32(r[row * size.width + i]);
    }
    let total = group_sum(part, lane);
    if lane == 0u {
        y[row] = Real(total);
    }
}
