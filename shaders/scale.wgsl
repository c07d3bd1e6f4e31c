// Product with a fixed number: y = factor x. The gradient is the same with dy for x.
//
// Reads 4 and writes 4 bytes an element, 1 FLOP: bound by memory.

struct Size {
    n: u32,
    factor: f32,
}

@group(1) @binding(0) var<uniform> size: Size;

fn value(v: f32, i: u32) -> f32 {
    return size.factor * v;
}

@compute @workgroup_size(WIDTH)
fn scale_forward_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    map(id, groups);
}
