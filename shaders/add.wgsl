// Sum of two tensors: y = x + r, in place of either: what is done in place is called x.
//
// Reads 8 and writes 4 bytes an element, 1 FLOP: bound by memory.

struct Size {
    n: u32,
}

@group(1) @binding(0) var<uniform> size: Size;
@group(0) @binding(2) var<storage, read> r: array<Real>;

fn value(v: f32, i: u32) -> f32 {
    return v + f32(r[i]);
}

@compute @workgroup_size(WIDTH)
fn add_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map(id, groups);
}
