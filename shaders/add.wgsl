// Sum of two tensors: y = a + b.
//
// One invocation an element. Reads 8 and writes 4 bytes an element, 1 FLOP: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WIDTH)
fn add_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
    y[i] = p + q;
}
