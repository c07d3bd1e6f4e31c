// Product of two tensors element by element, and of each row with one number.
//
//   mul        y = a b                     da = dy b,  db = dy a: the same kernel
//   mul_rows   y[r, d] = x[r, d] g[r]      dx[r, d] = dy[r, d] g[r]: the same kernel;  dg[r] = sum over d of dy[r, d] x[r, d]
//
// One invocation an element. Reads 8 and writes 4 bytes an element, 1 FLOP: bound by memory.

struct Size {
    n: u32,
    // Elements of a row.
    width: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn mul_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    var p: f32;
    var q: f32;
    if A_IN_PLACE {
        p = y[i];
    } else {
        p = a[i];
    }
    if B_IN_PLACE {
        q = y[i];
    } else {
        q = b[i];
    }
    y[i] = p * q;
}

@compute @workgroup_size(WIDTH)
fn mul_rows_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = flat(id, groups, WIDTH);
    if i >= size.n {
        return;
    }
    var p: f32;
    if A_IN_PLACE {
        p = y[i];
    } else {
        p = a[i];
    }
    y[i] = p * b[i / size.width];
}

// One workgroup a row of dy (a) and x (b): n is the number of rows.
@compute @workgroup_size(WIDTH)
fn mul_rows_backward_scale_f32(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = group.x + group.y * groups.x;
    if row >= size.n {
        return;
    }
    var part = 0.0;
    for (var i = lane; i < size.width; i += WIDTH) {
        part += a[row * size.width + i] * b[row * size.width + i];
    }
    let total = group_sum(part, lane);
    if lane == 0u {
        y[row] = total;
    }
}
